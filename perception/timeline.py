"""Capture times of sound: jittery ones in, ones that count samples out, in step with the clock of the images."""

import numpy as np
import numpy.typing as npt

from bundle.features import NS_PER_S
from perception.chunks import AudioChunk
from perception.resample import HIGHEST_RATE_HZ, LOWEST_RATE_HZ, SAMPLE_RATE_HZ, AdaptiveResampler

CLOCK_TOLERANCE_NS = 50_000_000
"""Capture times of PulseAudio 16 jitter by ±17 ms."""

BLOCKS_TO_TRUST = 5
"""One late block is a busy interpreter; so many in succession are a gap."""

BLOCKS_TO_START = 25
"""The first blocks wait for half a second, so that the least late of them is truly in time."""

STANDARD_RATES_HZ = (
    8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000,
)  # fmt: skip


class AudioTimeline:
    """Blocks with jittery capture times in, 16-kHz chunks out whose times count samples.

    The count follows the clock of the capture times: the device's crystal is never quite right, so the rate at which
    samples are resampled is corrected, smoothly, by up to 1 000 ppm (`DriftEstimate`).

    Blocks that lie more than 50 ms off the count, as the first ones do, are held until five in succession do. If they
    are late, samples were lost before them, and the chunks' time jumps. If they are early, blocks are dropped until
    the count fits, for time must not run back. A device that goes on like that has another rate than it claims
    (`RateMeter`): then the sound begins anew at the rate that it has, `rate_hz`.
    """

    def __init__(self, rate_hz: int, lost_samples: int = 0) -> None:
        self.lost_samples, self.rate_hz = lost_samples, rate_hz
        self._meter = RateMeter()
        self._drift = DriftEstimate()
        self._resampler = AdaptiveResampler(rate_hz)
        self._held: list[tuple[npt.NDArray[np.int16], int]] = []  # (samples, how late)
        self._start_ns = 0  # of the first sample after the last loss; 0 before any
        self._in_ns = 0.0  # from there to the next sample in, by the corrected rate
        self._n_out = 0  # samples since then, at 16 kHz

    def push(self, samples: npt.NDArray[np.int16], captured_ns: int) -> list[AudioChunk]:
        """Chunks that are complete by now; captured_ns is the device's time of the block's first sample."""
        measured_hz = self._meter.update(len(samples), captured_ns, self.rate_hz)
        before = self._change_rate(measured_hz) if measured_hz else []
        late_ns = captured_ns - self._start_ns - round(self._in_ns)
        self._held.append((samples, late_ns))
        self._in_ns += self._duration_ns(samples)
        if abs(late_ns) <= CLOCK_TOLERANCE_NS:
            return before + self._release(late_ns)
        if len(self._held) < (BLOCKS_TO_TRUST if self._start_ns else BLOCKS_TO_START):
            return before
        # A callback can be late, not early: the smallest lateness is the truest.
        late_ns = min(late_ns for _, late_ns in self._held)
        if late_ns < 0:
            self._drop_oldest()
            return before
        return before + self._jump(late_ns)

    def _duration_ns(self, samples: npt.NDArray[np.int16]) -> float:
        return len(samples) * NS_PER_S / self._resampler.rate_hz

    def _drop_oldest(self) -> None:
        samples, _ = self._held.pop(0)
        self._in_ns -= self._duration_ns(samples)
        self.lost_samples += len(samples) * SAMPLE_RATE_HZ // self.rate_hz

    def _jump(self, missing_ns: int) -> list[AudioChunk]:
        if self._start_ns:
            self.lost_samples += missing_ns * SAMPLE_RATE_HZ // NS_PER_S
        before = self._chunks(np.empty(0, np.int16), last=True)
        held_ns = sum(self._duration_ns(samples) for samples, _ in self._held)
        self._start_ns += missing_ns + round(self._in_ns - held_ns)
        self._in_ns, self._n_out = held_ns, 0
        return before + self._release(0)

    def _change_rate(self, rate_hz: int) -> list[AudioChunk]:
        """Begin anew at another rate, with what was held, at the time of the next block."""
        before = self._chunks(np.empty(0, np.int16), last=True)
        self._start_ns += round(self._in_ns)
        self.rate_hz, self._resampler, self._drift = rate_hz, AdaptiveResampler(rate_hz), DriftEstimate()
        self._held.clear()
        self._in_ns, self._n_out = 0.0, 0
        return before

    def _release(self, late_ns: int) -> list[AudioChunk]:
        samples = np.concatenate([samples for samples, _ in self._held])
        self._held.clear()
        correction = self._drift.update(late_ns, self._in_ns)
        chunks = self._chunks(samples)
        if correction is not None:
            self._resampler.correct(-correction)
        return chunks

    def _chunks(self, samples: npt.NDArray[np.int16], *, last: bool = False) -> list[AudioChunk]:
        resampled = self._resampler.push(samples, last=last)
        captured_ns = self._start_ns + self._n_out * NS_PER_S // SAMPLE_RATE_HZ
        self._n_out += len(resampled)
        return [AudioChunk(resampled, captured_ns)] if len(resampled) else []


class DriftEstimate:
    """By how much a device's crystal is slow, from how late its blocks are: a phase-locked loop of second order.

    A block can be late by jitter, not early, so the least late of each second counts. Critically damped, with a time
    constant of 20 s: 100 ppm are found within a minute, and the sound is off by less than 1 ms meanwhile (Adriaensen,
    "Using a DLL to filter time", LAC 2005, has the same loop on every block).
    """

    PROPORTIONAL_PER_S = 0.1
    INTEGRAL_PER_S2 = PROPORTIONAL_PER_S**2 / 4
    MAX_SLOWNESS = AdaptiveResampler.MAX_CORRECTION
    MAX_LATE_S = 3e-3
    """What is later is caught up with at 300 ppm, so that no tone is bent audibly."""

    def __init__(self) -> None:
        self._slowness = 0.0
        self._least_ns: int | None = None
        self._second = 0

    def update(self, late_ns: int, at_ns: float) -> float | None:
        """A new estimate once a second, 1e-4 for 100 ppm slow; `at_ns` counts from the start of the sound."""
        self._least_ns = late_ns if self._least_ns is None else min(self._least_ns, late_ns)
        second = int(at_ns // NS_PER_S)
        if second == self._second:
            return None
        late_s = min(max(self._least_ns / NS_PER_S, -self.MAX_LATE_S), self.MAX_LATE_S)
        self._least_ns, self._second = None, second
        limit = self.MAX_SLOWNESS
        self._slowness = min(max(self._slowness + self.INTEGRAL_PER_S2 * late_s, -limit), limit)
        return min(max(self._slowness + self.PROPORTIONAL_PER_S * late_s, -limit), limit)


class RateMeter:
    """The rate at which samples really come, where it is plainly not the one claimed."""

    SPAN_NS = 2 * NS_PER_S
    DIFFERS, AGREES = 0.05, 0.03
    """Of the rate: standard rates lie 8 % apart and more; jitter is up to 1.7 % of a span."""

    GAP_NS = 150_000_000
    """Samples were lost where a block comes so late: spans begin anew, for a gap is no rate."""

    def __init__(self) -> None:
        self._start_ns = self._due_ns = 0
        self._samples = 0
        self._before_hz = 0.0

    def update(self, samples: int, captured_ns: int, rate_hz: int) -> int | None:
        """The rate after two spans that agree on another than `rate_hz`, a standard rate if near one; else None."""
        if captured_ns > self._due_ns + self.GAP_NS:
            self._start_ns, self._samples, self._before_hz = captured_ns, 0, 0.0
        self._due_ns = captured_ns + samples * NS_PER_S // rate_hz
        span_ns = captured_ns - self._start_ns
        if span_ns < self.SPAN_NS:
            self._samples += samples
            return None
        measured_hz, before_hz = self._samples * NS_PER_S / span_ns, self._before_hz
        self._start_ns, self._samples, self._before_hz = captured_ns, samples, measured_hz
        mean_hz = (measured_hz + before_hz) / 2
        if abs(measured_hz - before_hz) > self.AGREES * mean_hz or abs(mean_hz / rate_hz - 1) < self.DIFFERS:
            return None
        nearest_hz = min(STANDARD_RATES_HZ, key=lambda standard_hz: abs(standard_hz - mean_hz))
        found_hz = nearest_hz if abs(nearest_hz - mean_hz) < self.AGREES * mean_hz else round(mean_hz)
        return found_hz if LOWEST_RATE_HZ <= found_hz <= HIGHEST_RATE_HZ else None
