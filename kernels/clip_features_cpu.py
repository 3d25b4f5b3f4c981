"""The 162 features by Numba: NumPy's Fourier transform, and all that follows it compiled, over non-zero weights only.

In float64 like the definition: of its 162 means none needs to be faster than the transform.
"""

import math

import numpy as np
from numba import njit

from kernels.clip_features_reference import (
    CHROMA,
    FRAME_LENGTH,
    MEL,
    MFCC,
    N_CHROMA,
    N_MELS,
    N_MFCC,
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
from kernels.simd import JIT_OPTIONS

_ZCR_AT, _CHROMA_AT, _MFCC_AT, _RMS_AT, _MEL_AT = (part.start for part in (ZERO_CROSSING_RATE, CHROMA, MFCC, RMS, MEL))


class NumbaFeatures:
    """As `kernels.clip_features_reference.ReferenceFeatures`."""

    def __init__(self, sample_rate: int) -> None:
        mel = slaney_filterbank(sample_rate)
        self._window = window_function("hann", FRAME_LENGTH)
        self._tables = mel, _band_limits(mel), chroma_filterbank(sample_rate), cosine_basis()

    def add_frame(self, frame: Floats, begin: int, end: int, sums: Floats) -> None:
        spectrum = np.fft.rfft(frame * self._window)
        _add_waveform(frame, begin, end, sums)
        _add_spectrum(spectrum, *self._tables, sums)


def _band_limits(filters: Floats) -> np.ndarray:
    """First bin with a weight of each band, and the bin after the last, [shape=(bands, 2)]."""
    inside = [np.flatnonzero(weights) for weights in filters]
    return np.array([(bins[0], bins[-1] + 1) if len(bins) else (0, 0) for bins in inside])


@njit(cache=True, **JIT_OPTIONS)
def _add_waveform(frame, begin, end, sums):
    crossings = 0
    for i in range(begin + 1, end):
        crossings += (frame[i] < -SMALLEST_SAMPLE) != (frame[i - 1] < -SMALLEST_SAMPLE)
    energy = 0.0
    for sample in frame:
        energy += sample * sample
    sums[_ZCR_AT] += crossings / FRAME_LENGTH
    sums[_RMS_AT] += math.sqrt(energy / FRAME_LENGTH)


@njit(cache=True, **JIT_OPTIONS)
def _add_spectrum(spectrum, mel_filters, limits, chroma_filters, cosines, sums):
    power = spectrum.real**2 + spectrum.imag**2
    chroma = np.zeros(N_CHROMA)
    for pitch_class in range(N_CHROMA):
        for k in range(len(power)):
            chroma[pitch_class] += chroma_filters[pitch_class, k] * power[k]
    loudest = chroma.max()
    if loudest > 0:
        for pitch_class in range(N_CHROMA):
            sums[_CHROMA_AT + pitch_class] += chroma[pitch_class] / loudest
    decibels = np.empty(N_MELS)
    for band in range(N_MELS):
        mel = 0.0
        for k in range(limits[band, 0], limits[band, 1]):
            mel += mel_filters[band, k] * power[k]
        sums[_MEL_AT + band] += mel
        decibels[band] = 10 * math.log10(max(mel, POWER_FLOOR))
    for coefficient in range(N_MFCC):
        for band in range(N_MELS):
            sums[_MFCC_AT + coefficient] += cosines[coefficient, band] * decibels[band]
