"""The vector transform equals NumPy's, frame by frame."""

import numpy as np
import pytest

from kernels.fft import (
    BINS,
    LOW,
    N_FFT,
    WORK_SIZE,
    bin_place,
    power_of_frames,
    sample_offsets,
    transform_tables,
    transpose_hops,
    transposed_width,
)
from kernels.filters import window_function
from kernels.simd import LANES


def transform(signal, hop_length, first=0, *, frames=16, window="hann", offset=0.0):
    """Power [shape=(BINS, 16)] and low bins [shape=(3, 16)] of 16 frames from frame `first` on."""
    width = transposed_width(hop_length, frames)
    padded = np.append(signal, np.full(16 * hop_length, 1e9)).astype(np.float32)
    transposed = np.zeros((hop_length, width), np.float32)
    transpose_hops(padded, 0, frames, np.float32(offset), transposed)
    work = np.empty(WORK_SIZE, np.float32)
    tables = transform_tables(window_function(window, N_FFT))
    power_of_frames(transposed, sample_offsets(hop_length, width), first, tables, work)
    power = np.stack([work[bin_place(bin_) :][:LANES] for bin_ in range(BINS)])
    return power, work[LOW : LOW + 3 * LANES].reshape(3, LANES)


def spectrum(signal, hop_length, first=0, *, window="hann"):
    frames = np.lib.stride_tricks.sliding_window_view(signal.astype(float), N_FFT)[::hop_length][first : first + 16]
    return np.fft.rfft(frames * window_function(window, N_FFT)).T


@pytest.mark.parametrize("window", ["hann", "hamming"])
@pytest.mark.parametrize("hop_length", [16, 64, 128, 160, 512])
def test_magnitudes_are_numpys(hop_length, window):
    signal = np.random.default_rng(0).normal(size=15 * hop_length + N_FFT)
    power, low = transform(signal, hop_length, window=window)
    expected = spectrum(signal, hop_length, window=window)
    loudest = np.abs(expected).max()
    np.testing.assert_allclose(np.sqrt(power), np.abs(expected[:-1]), atol=1e-6 * loudest)
    found_low = np.stack((expected[0].real, expected[1].real, expected[1].imag))
    np.testing.assert_allclose(low, found_low, atol=1e-6 * loudest)


@pytest.mark.parametrize("position", [0, 1, 2, 63, 64, 255, 256, 510, 511])
def test_a_click_has_the_windows_value_in_every_bin(position):
    signal = np.zeros(15 * 512 + N_FFT)
    signal[position::512] = 1.0
    power, _ = transform(signal, 512)
    np.testing.assert_allclose(np.sqrt(power), window_function("hann", N_FFT)[position], atol=1e-6)


@pytest.mark.parametrize("bin_", [1, 2, 31, 32, 33, 64, 96, 127, 128, 129, 160, 224, 254, 255])
def test_a_tone_is_in_its_bin_and_the_two_beside_it(bin_):
    tone = np.cos(2 * np.pi * bin_ / N_FFT * np.arange(15 * 64 + N_FFT) + 0.3)
    magnitude = np.sqrt(transform(tone, 64)[0])
    np.testing.assert_allclose(magnitude[bin_], np.abs(spectrum(tone, 64)[bin_]), rtol=1e-5)
    others = np.delete(magnitude, [k for k in (bin_ - 1, bin_, bin_ + 1) if k < BINS], axis=0)
    assert others.max() < 1e-6 * magnitude.max()


def test_offset_is_subtracted_before_all_else():
    signal = np.full(15 * 64 + N_FFT, 32_767.0)
    power, low = transform(signal, 64, offset=32_767.0)
    assert not power.any()
    assert not low.any()


def test_later_frames_are_reached_by_their_number():
    signal = np.random.default_rng(1).normal(size=49 * 64 + N_FFT)
    power, _ = transform(signal, 64, 32, frames=50)
    expected = np.abs(spectrum(signal, 64, 32))[:-1]
    np.testing.assert_allclose(np.sqrt(power)[:, : expected.shape[1]], expected, atol=1e-6 * expected.max())
