"""The transform of a single frame equals NumPy's."""

import numpy as np
import pytest

from kernels.fft import BINS, N_FFT, transform_tables
from kernels.fft_frame import FIRST_BINS, FRAME_WORK_SIZE, POWERS, power_of_frame
from kernels.filters import window_function
from kernels.simd import LANES


def transform(signal, start=0, *, window="hann", offset=0.0):
    """Power [shape=(BINS,)], and bins 0 .. 15, of the frame from `start` on."""
    work = np.full(FRAME_WORK_SIZE, np.nan, np.float32)
    tables = transform_tables(window_function(window, N_FFT))
    power_of_frame(signal.astype(np.float32), start, np.float32(offset), tables, work)
    first = work[FIRST_BINS:].reshape(2, LANES)
    return work[POWERS : POWERS + BINS], first[0] + 1j * first[1]


@pytest.mark.parametrize("window", ["hann", "hamming"])
@pytest.mark.parametrize("start", [0, 1, 77])
def test_spectrum_is_numpys(start, window):
    signal = np.random.default_rng(0).normal(size=N_FFT + 77)
    power, first = transform(signal, start, window=window, offset=0.5)
    expected = np.fft.rfft((signal[start : start + N_FFT] - 0.5) * window_function(window, N_FFT))[:BINS]
    loudest = np.abs(expected).max()
    np.testing.assert_allclose(np.sqrt(power), np.abs(expected), atol=1e-6 * loudest)
    np.testing.assert_allclose(first, expected[:LANES], atol=1e-6 * loudest)


@pytest.mark.parametrize("position", [0, 1, 2, 31, 32, 255, 256, 510, 511])
def test_a_click_has_the_windows_value_in_every_bin(position):
    power, _ = transform(np.eye(1, N_FFT, position)[0])
    np.testing.assert_allclose(np.sqrt(power), window_function("hann", N_FFT)[position], atol=1e-6)


@pytest.mark.parametrize("bin_", [1, 15, 16, 17, 127, 128, 129, 240, 255])
def test_a_tone_is_in_its_bin_and_the_two_beside_it(bin_):
    tone = np.cos(2 * np.pi * bin_ / N_FFT * np.arange(N_FFT) + 0.3)
    magnitude = np.sqrt(transform(tone)[0])
    others = np.delete(magnitude, [k for k in (bin_ - 1, bin_, bin_ + 1) if k < BINS])
    assert others.max() < 1e-6 * magnitude.max()


def test_offset_is_subtracted_before_all_else():
    power, first = transform(np.full(N_FFT, 32_767.0), offset=32_767.0)
    assert not power.any()
    assert not first.any()
