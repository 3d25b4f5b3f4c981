"""What a spectrogram segment is, in NumPy and float64: each computed anew, to be read and to be compared with."""

from collections import deque

import numpy as np
import numpy.typing as npt

from kernels.filters import window_function
from kernels.spec import SpectrogramSpec

Moments = tuple[float, float]
"""Mean and deviation by which a wave is standardised."""


def spectrogram_segment(
    samples: npt.NDArray[np.floating], spec: SpectrogramSpec, moments: Moments = (0.0, 1.0)
) -> npt.NDArray[np.float64]:
    """One segment, float64 [shape=(spec.bins, spec.columns)].

    Parameters
    ----------
    samples : the segment and at least the n_fft samples before it.
    moments : (mean, deviation) to standardise by: (x - mean) / deviation.

    Examples
    --------
    >>> spec = SpectrogramSpec(output="power", segment=3_200, step=3_200)
    >>> spectrogram_segment(np.zeros(3_200 + 512), spec).shape
    (256, 20)
    """
    mean, deviation = moments
    frames = _frames((samples.astype(np.float64) - mean) / deviation, spec)
    spectrum = np.fft.rfft(frames * window_function(spec.window, spec.n_fft)).T
    power = spectrum.real**2 + spectrum.imag**2
    if spec.output == "logmel":
        return np.log(np.maximum(spec.mel_filters() @ power, spec.power_floor))
    power = power[:-1]
    if spec.output == "logmag":
        return 0.5 * np.log(np.maximum(power, spec.power_floor))
    return np.sqrt(power) if spec.output == "mag" else power


def mean_and_deviation(total: float, squares: float, count: int) -> Moments:
    """Mean and standard deviation from the sums of `count` samples and of their squares.

    Sums of int16 samples are integers, and stay so until the one division: nothing is lost however long the wave.

    Examples
    --------
    >>> mean_and_deviation(32_000 + 32_001, 32_000**2 + 32_001**2, 2)
    (32000.5, 0.5)
    """
    variance = (count * squares - total * total) / count**2
    return total / count, float(max(variance, 0.0) ** 0.5)


def sums_of(samples: npt.NDArray[np.integer | np.floating], *, integer: bool) -> tuple[float, float]:
    """Sum of the samples and of their squares: Python integers, which do not overflow, if the samples are `integer`."""
    values = samples.astype(np.int64 if integer else np.float64)
    total, squares = values.sum(), (values * values).sum()
    return (int(total), int(squares)) if integer else (float(total), float(squares))


class ReferenceSpectrogram:
    """The backend that is the definition. Its methods are those of every backend."""

    def __init__(self, spec: SpectrogramSpec) -> None:
        self._spec = spec
        self.moments: Moments | None = None  # of a wave known as a whole
        self._sums: deque[tuple[float, float]] = deque(maxlen=spec.statistics_steps)
        self.reset()

    def reset(self, *, integer: bool = True) -> None:
        """Forget all audio; `integer`: what follows are whole numbers, whose sums are to be exact."""
        self._integer = integer
        self._sums.clear()

    def steps(
        self, history: npt.NDArray[np.float32], end: int, skipped: int, count: int, out: npt.NDArray[np.floating]
    ) -> None:
        """Take in steps, the first of which ends at history[end]: `skipped` ones, then `count` with segments.

        Those are written to `out` [shape=(>= count * bins, columns)], one below the other.
        """
        bins = self._spec.bins
        for number in range(skipped + count):
            row = (number - skipped) * bins
            self.step(history, end + number * self._spec.step, out[row : row + bins] if row >= 0 else None)

    def step(self, history: npt.NDArray[np.float32], end: int, out: npt.NDArray[np.floating] | None) -> None:
        """Take in the step that ends at history[end]; write the segment that ends there to `out`, if any."""
        spec = self._spec
        if spec.statistics_steps:
            self._sums.append(sums_of(history[end - spec.step : end], integer=self._integer))
        if out is not None:
            out[:] = spectrogram_segment(history[end - spec.lookback : end], spec, self._current_moments())

    def _current_moments(self) -> Moments:
        if self.moments is not None:
            return self.moments
        if not self._sums:
            return 0.0, 1.0
        totals, squares = zip(*self._sums, strict=True)
        mean, deviation = mean_and_deviation(sum(totals), sum(squares), len(self._sums) * self._spec.step)
        return mean, max(deviation, self._spec.std_floor)


def _frames(samples: npt.NDArray[np.float64], spec: SpectrogramSpec) -> npt.NDArray[np.float64]:
    """Overlapping frames of a segment, [shape=(columns, n_fft)], as `spec.edge` places them."""
    if spec.edge == "context":
        samples = samples[len(samples) - spec.segment - spec.n_fft + spec.hop_length :]
    else:
        segment = samples[-spec.segment :]
        reach = spec.n_fft // 2
        samples = np.pad(segment, reach, mode="reflect") if spec.edge == "reflect" else np.pad(segment, reach)
    return np.lib.stride_tricks.sliding_window_view(samples, spec.n_fft)[:: spec.hop_length][: spec.columns]
