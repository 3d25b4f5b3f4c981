"""High-pass filter of a stream: a Butterworth filter of order 4, the same however the audio is cut into chunks."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.samples import INT16, check_same_dtype, check_samples

Samples = npt.NDArray[np.int16 | np.float32]

_QUALITIES = tuple(1 / (2 * math.cos(angle * math.pi / 8)) for angle in (1, 3))
"""Of the two second-order sections of a Butterworth filter of order 4, whose poles lie 45 degrees apart."""


class HighPass:
    """Sound without what lies below `cutoff_hz`, where it is 3 dB down; 24 dB per octave below that.

    A car's tyres, wind and engine are loudest where speech has next to nothing.

    Parameters
    ----------
    cutoff_hz : 0 leaves the sound as it is.

    Raises
    ------
    ValueError : a cutoff that is not below half the sample rate.

    Examples
    --------
    >>> hum = (8_000 * np.sin(2 * np.pi * 25 * np.arange(16_000) / 16_000)).astype(np.int16)
    >>> int(np.abs(HighPass(200).push(hum)[8_000:]).max()) < 5
    True
    """

    def __init__(self, cutoff_hz: float, sample_rate: int = 16_000) -> None:
        if not 0 <= cutoff_hz < sample_rate / 2:
            raise ValueError(f"cutoff_hz is {cutoff_hz}; expected 0 <= cutoff_hz < {sample_rate / 2:g}.")
        self._sections = _sections(cutoff_hz, sample_rate) if cutoff_hz else None
        self.reset()

    def reset(self) -> None:
        """Forget all audio, as if there had been silence."""
        self._state = np.zeros((len(_QUALITIES), 2))
        self._dtype: np.dtype[Any] | None = None

    def push(self, chunk: Samples) -> Samples:
        """The filtered chunk, of its own dtype; int16 is rounded and clipped.

        Parameters
        ----------
        chunk : int16 or float32 ndarray [shape=(n,)], any n, also 0.

        Raises
        ------
        ValueError : as `SpectrogramStream.push`.
        """
        check_samples(chunk, "chunk")
        check_same_dtype(chunk, self._dtype)
        self._dtype = chunk.dtype
        if self._sections is None:
            return chunk
        from kernels.high_pass_cpu import filter_in_place  # Numba takes a while to import

        filtered = chunk.astype(np.float64)
        filter_in_place(filtered, self._sections, self._state)
        if chunk.dtype == INT16:
            filtered = np.rint(filtered).clip(-32_768, 32_767)
        return filtered.astype(chunk.dtype)


def high_pass(wave: Samples, cutoff_hz: float, sample_rate: int = 16_000) -> Samples:
    """A whole wave, filtered by `HighPass`."""
    return HighPass(cutoff_hz, sample_rate).push(wave)


def _sections(cutoff_hz: float, sample_rate: int) -> npt.NDArray[np.float64]:
    """b1 / b0, b2 / b0, a1, a2 and b0 of each section [shape=(2, 5)], by the bilinear transform."""
    tangent = math.tan(math.pi * cutoff_hz / sample_rate)
    rows = []
    for quality in _QUALITIES:
        scale = 1 / (1 + tangent / quality + tangent**2)
        rows.append((-2, 1, 2 * (tangent**2 - 1) * scale, (1 - tangent / quality + tangent**2) * scale, scale))
    return np.array(rows, np.float64)
