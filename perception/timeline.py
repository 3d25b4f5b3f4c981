"""Capture times of sound: jittery ones in, ones that count samples out."""

import numpy as np
import numpy.typing as npt

from bundle.features import NS_PER_S
from perception.chunks import AudioChunk
from perception.resample import SAMPLE_RATE_HZ, Resampler

CLOCK_TOLERANCE_NS = 50_000_000
"""Capture times of PulseAudio 16 jitter by ±17 ms."""

BLOCKS_TO_TRUST = 5
"""One late block is a busy interpreter; so many in succession are a gap."""


class AudioTimeline:
    """Blocks with jittery capture times in, 16-kHz chunks out whose times count samples.

    Blocks that lie more than 50 ms off the count, as the first ones do, are held until five in succession do. If they
    are late, samples were lost before them, and the chunks' time jumps. If they are early, the device's crystal runs
    fast and the count ahead of the clock: blocks are dropped until it fits, for time must not run back. With a crystal
    that is 100 ppm off, either happens every few minutes.
    """

    def __init__(self, rate_hz: int, lost_samples: int = 0) -> None:
        self.lost_samples = lost_samples
        self._rate_hz = rate_hz
        self._resampler = Resampler(rate_hz)
        self._held: list[tuple[npt.NDArray[np.int16], int]] = []  # (samples, how late)
        self._start_ns = 0  # of the first sample after the last loss; 0 before any
        self._n_in = self._n_out = 0  # samples since then, at the device's rate and at 16 kHz

    def push(self, samples: npt.NDArray[np.int16], captured_ns: int) -> list[AudioChunk]:
        """Chunks that are complete by now; captured_ns is the device's time of the block's first sample."""
        late_ns = captured_ns - self._start_ns - self._n_in * NS_PER_S // self._rate_hz
        self._held.append((samples, late_ns))
        self._n_in += len(samples)
        if abs(late_ns) <= CLOCK_TOLERANCE_NS:
            return self._release()
        if len(self._held) < BLOCKS_TO_TRUST:
            return []
        # A callback can be late, not early: the smallest lateness is the truest.
        late_ns = min(late_ns for _, late_ns in self._held)
        if late_ns < 0:
            self._drop_oldest()
            return []
        return self._jump(late_ns)

    def _drop_oldest(self) -> None:
        samples, _ = self._held.pop(0)
        self._n_in -= len(samples)
        self.lost_samples += len(samples) * SAMPLE_RATE_HZ // self._rate_hz

    def _jump(self, missing_ns: int) -> list[AudioChunk]:
        if self._start_ns:
            self.lost_samples += missing_ns * SAMPLE_RATE_HZ // NS_PER_S
        before = self._chunks(np.empty(0, np.int16), last=True)
        n_held = sum(len(samples) for samples, _ in self._held)
        self._start_ns += missing_ns + (self._n_in - n_held) * NS_PER_S // self._rate_hz
        self._n_in, self._n_out = n_held, 0
        return before + self._release()

    def _release(self) -> list[AudioChunk]:
        samples = np.concatenate([samples for samples, _ in self._held])
        self._held.clear()
        return self._chunks(samples)

    def _chunks(self, samples: npt.NDArray[np.int16], *, last: bool = False) -> list[AudioChunk]:
        resampled = self._resampler.push(samples, last=last)
        captured_ns = self._start_ns + self._n_out * NS_PER_S // SAMPLE_RATE_HZ
        self._n_out += len(resampled)
        return [AudioChunk(resampled, captured_ns)] if len(resampled) else []
