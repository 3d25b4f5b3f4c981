"""Pitch of a voice by autocorrelation (Srinivas & Mishra 2022, Eq. 11-13; Boersma 1993)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from kernels.arrays import is_whole
from kernels.filters import window_function
from kernels.samples import float_from_samples

Backend = Literal["numba", "numpy"]
Floats = npt.NDArray[np.float64]

OCTAVE_COST = 0.05
"""What a peak loses for each octave that it lies lower: a period's multiples correlate as well as the period does.
Boersma 1993, Eq. 24; his 0.01 takes more voices for an octave too low."""


@dataclass(frozen=True)
class PitchSpec:
    """Validated parameters of `PitchStream`, which explains them."""

    sample_rate: int = 16_000
    frame_length: int = 1_024
    hop_length: int = 160
    fmin: float = 60.0
    fmax: float = 500.0
    voicing: float = 0.5
    silence: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("frame_length", "hop_length"):
            if not is_whole(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected a whole number of samples.")
            object.__setattr__(self, name, int(getattr(self, name)))  # NumPy's small integers overflow
        if not 0 < self.fmin < self.fmax <= self.sample_rate / 4:
            raise ValueError(
                f"pitch range is {self.fmin}..{self.fmax} Hz; expected 0 < fmin < fmax <= {self.sample_rate / 4:g} Hz."
            )
        if self.frame_length < 2 * self.sample_rate / self.fmin or self.hop_length < 1:
            raise ValueError(
                f"frame_length is {self.frame_length}, hop_length is {self.hop_length}; expected two periods of "
                f"{self.fmin:g} Hz, {2 * self.sample_rate / self.fmin:.0f} samples, or more, and a hop > 0."
            )
        if not (0 < self.voicing < 1 and 0 < self.silence < np.inf):
            raise ValueError(
                f"voicing is {self.voicing}, silence is {self.silence}; expected 0 < voicing < 1 and silence > 0."
            )

    @property
    def lags(self) -> tuple[int, int]:
        """First and last lag that is looked at: those of the range, and a neighbour on either side."""
        return int(self.sample_rate / self.fmax) - 1, int(np.ceil(self.sample_rate / self.fmin)) + 1

    @cached_property
    def window(self) -> Floats:
        return window_function("hann", self.frame_length)

    @cached_property
    def window_autocorrelation(self) -> Floats:
        """By which the autocorrelation of a windowed frame falls off, from lag 0 on; for a rectangle, Eq. 13."""
        correlation = autocorrelation(self.window)
        return correlation / correlation[0]


class PitchStream:
    """Fundamental frequency of frames from audio pushed in chunks of any size.

    Frame k holds samples k * hop_length .. k * hop_length + frame_length, so its pitch is that of the frame's middle
    and known when its last sample is: nothing before or after the sound is made up, as librosa's center=False. A frame
    is freed of its mean and windowed (Hann), its autocorrelation (Eq. 12) divided by its energy and by the window's
    autocorrelation (Boersma 1993, Eq. 9), which makes it 1 at each period of a periodic sound. The period is the
    highest peak, the shorter of two alike, placed between samples by a parabola.

    Parameters
    ----------
    sample_rate : Hz. frame_length, hop_length : samples. fmin, fmax : Hz, the range of the pitch, to
        half a sample of its period.
    voicing : 0..1, the least normalised autocorrelation of a voiced frame; white noise stays below 0.3.
    silence : root mean square, of full scale 1, below which a frame is unvoiced; -60 dB.
    backend : "numba" or "numpy", both float64; the latter is the definition, `frame_pitch`.

    Raises
    ------
    ValueError : not 0 < fmin < fmax <= sample_rate / 4; frame_length < 2 * sample_rate / fmin; hop_length < 1; voicing
        not between 0 and 1; silence <= 0; a length that is not whole; an unknown backend.

    Examples
    --------
    >>> tone = np.sin(2 * np.pi * 200 * np.arange(1_600) / 16_000).astype(np.float32)
    >>> PitchStream(backend="numpy").push(tone).round(1).tolist()
    [200.0, 200.0, 200.0, 200.0]
    """

    def __init__(
        self, *, sample_rate: int = 16_000, frame_length: int = 1_024, hop_length: int = 160, fmin: float = 60.0,
        fmax: float = 500.0, voicing: float = 0.5, silence: float = 1e-3, backend: Backend = "numba",
    ) -> None:  # fmt: skip
        self._spec = PitchSpec(sample_rate, frame_length, hop_length, fmin, fmax, voicing, silence)
        self._frame_pitch = _frame_pitch_of(backend)
        self.reset()

    def reset(self) -> None:
        """Forget all audio."""
        self._history = np.zeros(0)
        self._skip = 0  # samples to come before the next frame's first, where frames do not overlap

    def push(self, chunk: npt.NDArray[np.int16 | np.float32]) -> npt.NDArray[np.float32]:
        """Append audio; return the pitch of each frame it completes, float32 Hz [shape=(n,)], 0 where unvoiced.

        Parameters
        ----------
        chunk : int16, or float32 with full scale at -1..1, ndarray [shape=(n,)], any n, also 0.

        Raises
        ------
        ValueError : another dtype or number of dimensions; a float32 sample that is NaN, infinite or beyond a million.
            Nothing is appended then.
        """
        spec = self._spec
        history = np.concatenate((self._history, float_from_samples(chunk)))
        frames = max(0, (len(history) - self._skip - spec.frame_length) // spec.hop_length + 1)
        starts = self._skip + spec.hop_length * np.arange(frames)
        pitches = [self._frame_pitch(history[start : start + spec.frame_length], spec) for start in starts]
        used = self._skip + frames * spec.hop_length
        self._history, self._skip = history[used:].copy(), max(0, used - len(history))
        return np.array(pitches, np.float32)


def pitch(wave: npt.NDArray[np.int16 | np.float32], **options: Any) -> npt.NDArray[np.float32]:
    """Fundamental frequency of each frame of a wave, float32 Hz [shape=(n,)], 0 where unvoiced.

    Options, and what is raised, are those of `PitchStream`. A wave shorter than a frame has no frames.

    Examples
    --------
    >>> pitch(np.zeros(16_000, np.int16), backend="numpy").any()
    np.False_
    """
    return PitchStream(**options).push(wave)


def frame_pitch(frame: Floats, spec: PitchSpec) -> float:
    """Pitch of one frame, Hz, or 0: the definition."""
    centred = frame - frame.mean()
    if np.sqrt(np.mean(centred**2)) < spec.silence:
        return 0.0
    correlation = autocorrelation(centred * spec.window)
    first, last = spec.lags
    normalised = (correlation / correlation[0] / spec.window_autocorrelation)[first : last + 1]
    before, here, after = normalised[:-2], normalised[1:-1], normalised[2:]
    peaks = np.flatnonzero((before < here) & (here >= after))
    peaks = peaks[here[peaks] >= spec.voicing]
    if not len(peaks):
        return 0.0
    peak = peaks[np.argmax(here[peaks] - OCTAVE_COST * np.log2(first + 1 + peaks))]
    return spec.sample_rate / (first + 1 + peak + parabola_peak(before[peak], here[peak], after[peak]))


def autocorrelation(samples: Floats) -> Floats:
    """Sum of samples[n] * samples[n + lag] for each lag >= 0 (Eq. 12, but for its factor), [shape=samples.shape]."""
    spectrum = np.fft.rfft(samples, 2 * len(samples))
    return np.fft.irfft(spectrum.real**2 + spectrum.imag**2)[: len(samples)]


def parabola_peak(before: float, here: float, after: float) -> float:
    """Where the parabola through values at -1, 0 and 1 has its vertex."""
    return 0.5 * (before - after) / (before - 2 * here + after)


def _frame_pitch_of(backend: Backend) -> "_FramePitch":
    if backend == "numpy":
        return frame_pitch
    if backend == "numba":
        from kernels.pitch_cpu import frame_pitch as compiled

        return compiled
    raise ValueError(f"backend is {backend!r}; expected 'numba' or 'numpy'.")


class _FramePitch(Protocol):
    def __call__(self, frame: Floats, spec: PitchSpec, /) -> float: ...
