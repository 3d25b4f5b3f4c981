"""The high-pass filter: its definition by SciPy, and that chunks do not matter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal

from kernels import HighPass, high_pass
from kernels.high_pass_cpu import filter_in_place

RATE = 16_000
NOISE = np.random.default_rng(0).integers(-20_000, 20_000, RATE).astype(np.int16)


@pytest.mark.parametrize("cutoff_hz", [20.0, 200.0, 3_000.0, 7_900.0])
def test_it_is_a_butterworth_filter_of_order_4(cutoff_hz):
    wave = NOISE.astype(np.float32) / 32_768
    expected = signal.sosfilt(signal.butter(4, cutoff_hz, "highpass", fs=RATE, output="sos"), wave.astype(np.float64))
    np.testing.assert_allclose(high_pass(wave, cutoff_hz), expected, atol=1e-6)


def test_its_cutoff_follows_the_sample_rate():
    expected = signal.sosfilt(signal.butter(4, 500, "highpass", fs=48_000, output="sos"), NOISE.astype(np.float64))
    np.testing.assert_allclose(high_pass(NOISE, 500.0, 48_000), expected, atol=0.51)


@given(cuts=st.lists(st.integers(0, len(NOISE)), max_size=6))
def test_result_does_not_depend_on_how_the_sound_is_cut(cuts):
    stream = HighPass(200.0)
    parts = [stream.push(part) for part in np.split(NOISE, sorted(cuts))]
    found = np.concatenate(parts)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, high_pass(NOISE, 200.0))


def test_after_a_reset_it_has_heard_nothing():
    stream = HighPass(200.0)
    stream.push(NOISE)
    stream.reset()
    np.testing.assert_array_equal(stream.push(NOISE), high_pass(NOISE, 200.0))


def test_its_state_dies_away_in_silence():
    """Else it ends in denormal numbers, with which processors compute ten times slower."""
    sections = np.array([[-2.0, 1.0, -1.9, 0.905, 1.0]] * 2)
    state = np.ones((2, 2))
    filter_in_place(np.zeros(16_000), sections, state)
    assert not state.any()


def test_what_is_too_loud_is_clipped_not_wrapped():
    square = np.where(np.arange(RATE) % 160 < 80, 32_767, -32_768).astype(np.int16)
    found = high_pass(square, 200.0)
    exact = high_pass((square / 32_768).astype(np.float32), 200.0) * 32_768
    assert np.abs(exact).max() > 40_000
    np.testing.assert_allclose(found, np.clip(exact, -32_768, 32_767), atol=0.6)


def test_cutoff_zero_leaves_the_sound_as_it_is():
    assert HighPass(0.0).push(NOISE) is NOISE


def test_given_sound_is_not_changed():
    before = NOISE.copy()
    high_pass(NOISE, 200.0)
    np.testing.assert_array_equal(NOISE, before)


@pytest.mark.parametrize("cutoff_hz", [-1.0, 8_000.0, float("nan")])
def test_impossible_cutoff_is_rejected(cutoff_hz):
    with pytest.raises(ValueError, match="cutoff_hz"):
        HighPass(cutoff_hz)


@pytest.mark.parametrize("chunk", [np.zeros((2, 2), np.int16), np.zeros(3), np.array([np.nan], np.float32)])
def test_what_is_no_sound_is_rejected(chunk):
    with pytest.raises(ValueError, match="chunk"):
        HighPass(200.0).push(chunk)


@pytest.mark.parametrize("cutoff_hz", [0, 200])
def test_another_dtype_than_before_is_refused_until_a_reset(cutoff_hz):
    stream = HighPass(cutoff_hz)
    stream.push(np.full(4_000, 20_000, np.int16))
    with pytest.raises(ValueError, match="chunk is float32, the audio before it int16"):
        stream.push(np.zeros(800, np.float32))
    stream.reset()
    assert not stream.push(np.zeros(800, np.float32)).any()
