"""The 162 features by Numba: NumPy's Fourier transform, and all that follows it compiled, over non-zero weights only.

In float64 like the definition. What the compiled functions need is handed to them: Numba's cache would not notice that
a constant of another file has changed.
"""

import math

import numpy as np

from kernels.clip_features_reference import (
    CHROMA,
    FRAME_LENGTH,
    MEL,
    MFCC,
    POWER_FLOOR,
    RMS,
    SMALLEST_SAMPLE,
    ZERO_CROSSING_RATE,
    Floats,
    chroma_filterbank,
    cosine_basis,
    slaney_filterbank,
)
from kernels.filters import window_function
from kernels.jit import cached_njit
from kernels.simd import JIT_OPTIONS


class NumbaFeatures:
    """As `kernels.clip_features_reference.ReferenceFeatures`."""

    def __init__(self, sample_rate: int) -> None:
        self._window = window_function("hann", FRAME_LENGTH)
        self._chroma, self._cosines = chroma_filterbank(sample_rate), cosine_basis()
        self._mel = slaney_filterbank(sample_rate)
        self._limits = _band_limits(self._mel)

    def add_frame(self, frame: Floats, begin: int, end: int, sums: Floats) -> None:
        spectrum = np.fft.rfft(frame * self._window)
        sums[ZERO_CROSSING_RATE] += _zero_crossings(frame[begin:end], SMALLEST_SAMPLE) / FRAME_LENGTH
        sums[RMS] += np.sqrt(np.mean(frame**2))
        bands = self._chroma, self._mel, self._limits, self._cosines, POWER_FLOOR
        _add_bands(spectrum, *bands, sums[CHROMA], sums[MFCC], sums[MEL])


def _band_limits(filters: Floats) -> np.ndarray:
    """First bin with a weight of each band, and the bin after the last, [shape=(bands, 2)]."""
    inside = [np.flatnonzero(weights) for weights in filters]
    return np.array([(bins[0], bins[-1] + 1) if len(bins) else (0, 0) for bins in inside])


@cached_njit(**JIT_OPTIONS)
def _zero_crossings(samples, smallest):
    crossings = 0
    for i in range(1, len(samples)):
        crossings += (samples[i] < -smallest) != (samples[i - 1] < -smallest)
    return crossings


@cached_njit(**JIT_OPTIONS)
def _add_bands(spectrum, chroma_filters, mel_filters, limits, cosines, power_floor, chroma_sums, mfcc_sums, mel_sums):
    power = spectrum.real**2 + spectrum.imag**2
    chroma = np.zeros(len(chroma_sums))
    for pitch_class in range(len(chroma)):
        for k in range(len(power)):
            chroma[pitch_class] += chroma_filters[pitch_class, k] * power[k]
    loudest = chroma.max()
    if loudest > 0:
        chroma_sums += chroma / loudest
    decibels = np.empty(len(mel_sums))
    for band in range(len(mel_sums)):
        mel = 0.0
        for k in range(limits[band, 0], limits[band, 1]):
            mel += mel_filters[band, k] * power[k]
        mel_sums[band] += mel
        decibels[band] = 10 * math.log10(max(mel, power_floor))
    for coefficient in range(len(mfcc_sums)):
        for band in range(len(decibels)):
            mfcc_sums[coefficient] += cosines[coefficient, band] * decibels[band]
