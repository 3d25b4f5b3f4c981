"""Pitch: right for tones and voices, absent in noise and silence, the same however the sound is cut."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import PitchStream, pitch
from kernels.filters import window_function
from kernels.pitch_stream import PitchSpec, autocorrelation, parabola_peak

RATE = 16_000
TIME = np.arange(RATE // 2) / RATE


@pytest.fixture(params=["numba", "numpy"])
def backend(request):
    return request.param


def tone(hz, amplitudes=(1,)):
    """Harmonics of `hz` with these amplitudes, out of phase, float32."""
    parts = [a * np.sin(2 * np.pi * hz * n * TIME + n * n) for n, a in enumerate(amplitudes, 1)]
    return (0.1 * sum(parts)).astype(np.float32)


def noise(seconds=2.0, level=0.1):
    return np.random.default_rng(0).normal(0, level, round(seconds * RATE)).astype(np.float32)


@pytest.mark.parametrize("hz", [60, 61.3, 100, 123.4, 200, 333.3, 440, 500])
def test_pitch_of_a_pure_tone_is_its_frequency(backend, hz):
    np.testing.assert_allclose(pitch(tone(hz), backend=backend), hz, rtol=3e-4)


@pytest.mark.parametrize("hz", [80, 120, 210, 300])
@pytest.mark.parametrize(
    "amplitudes",
    [[1 / n for n in range(1, 12)], [0, 1, 1, 1, 1], [0.3, 1]],
    ids=["sawtooth", "no fundamental", "strong octave"],
)
def test_pitch_of_harmonics_is_their_fundamental(backend, hz, amplitudes):
    np.testing.assert_allclose(pitch(tone(hz, amplitudes), backend=backend), hz, rtol=3e-4)


def test_pitch_follows_a_glide(backend):
    rising = np.sin(2 * np.pi * (100 * TIME + 100 * TIME**2)).astype(np.float32)  # 100 Hz, 200 Hz more each second
    found = pitch(rising, backend=backend)
    middles = (160 * np.arange(len(found)) + 512) / RATE
    np.testing.assert_allclose(found, 100 + 200 * middles, rtol=0.01)


def test_a_tone_in_noise_has_a_pitch_within_five_percent(backend):
    found = pitch(tone(150) + noise(0.5, 0.035), backend=backend)  # 6 dB above the noise
    np.testing.assert_allclose(found, 150, rtol=0.05)


def test_noise_has_no_pitch(backend):
    assert not pitch(noise(), voicing=0.3, backend=backend).any()


@pytest.mark.parametrize(
    "wave",
    [
        np.zeros(4_000, np.int16),
        np.full(4_000, 20_000, np.int16),
        np.full(4_000, 0.3, np.float32),  # whose mean is not exactly itself
        tone(200) * 1e-3,
    ],
    ids=["zeros", "constant", "fraction", "quiet"],
)
def test_silence_has_no_pitch(backend, wave):
    assert not pitch(wave, backend=backend).any()


@pytest.mark.parametrize("change", [lambda w: w + 0.5, lambda w: 3 * w, lambda w: -w], ids=["offset", "gain", "sign"])
def test_offset_gain_and_sign_do_not_matter(backend, change):
    np.testing.assert_allclose(pitch(change(tone(137)), backend=backend), 137, rtol=3e-4)


def test_a_clipped_tone_keeps_its_pitch(backend):
    np.testing.assert_allclose(pitch(np.sign(tone(137)), backend=backend), 137, rtol=2e-3)


def test_speech_has_the_pitch_that_yin_finds(backend, espeak):
    found = pitch(espeak, backend=backend)
    expected = librosa.yin(
        espeak / 32_768, fmin=60, fmax=500, sr=RATE, frame_length=1_024, hop_length=160, center=False
    )
    voiced = found > 0
    assert len(found) == len(expected)
    assert 0.4 < voiced.mean() < 0.95
    assert np.mean(np.abs(found / expected - 1)[voiced] < 0.05) > 0.9


def test_backends_are_equal(espeak):
    fast, definition = (pitch(espeak, backend=name) for name in ("numba", "numpy"))
    np.testing.assert_allclose(fast, definition, rtol=1e-6)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(cuts=st.lists(st.integers(0, 8_000), max_size=12), hop_length=st.sampled_from([160, 1_500]))
@pytest.mark.parametrize("name", ["numba", "numpy"])
def test_chunks_do_not_matter(name, cuts, hop_length):
    wave = tone(100) + noise(0.5, 0.05)
    stream = PitchStream(hop_length=hop_length, backend=name)
    found = np.concatenate([stream.push(chunk) for chunk in np.split(wave, sorted(cuts))])
    np.testing.assert_array_equal(found, pitch(wave, hop_length=hop_length, backend=name))


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (1_023, 0), (1_024, 1), (1_183, 1), (1_184, 2)])
def test_a_frame_is_complete_with_its_last_sample(backend, samples, frames):
    found = pitch(tone(100)[:samples], backend=backend)
    assert found.shape == (frames,)
    assert found.dtype == np.float32


def test_reset_begins_anew(backend):
    stream = PitchStream(backend=backend)
    stream.push(noise(0.1))
    stream.reset()
    np.testing.assert_array_equal(stream.push(tone(100)), pitch(tone(100), backend=backend))


def test_int16_is_float32_of_full_scale_one(backend):
    whole = np.rint(tone(100) * 32_768).astype(np.int16)
    scaled = (whole / 32_768).astype(np.float32)
    np.testing.assert_array_equal(pitch(whole, backend=backend), pitch(scaled, backend=backend))


def test_samples_need_not_be_contiguous(backend):
    np.testing.assert_allclose(pitch(np.repeat(tone(100), 2)[::2], backend=backend), 100, rtol=3e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2e6])
def test_samples_that_are_no_sound_are_rejected_and_not_appended(backend, bad):
    stream = PitchStream(backend=backend)
    with pytest.raises(ValueError, match="NaN, infinity or a value beyond a million"):
        stream.push(np.full(2_000, bad, np.float32))
    np.testing.assert_array_equal(stream.push(tone(100)), pitch(tone(100), backend=backend))


@pytest.mark.parametrize("wave", [np.zeros(2_000), np.zeros((2_000, 2), np.int16)], ids=["float64", "stereo"])
def test_wrong_dtypes_and_shapes_are_rejected(wave):
    with pytest.raises(ValueError, match="expected int16 or float32"):
        pitch(wave, backend="numpy")


@pytest.mark.parametrize(
    "options",
    [
        {"fmin": 0.0}, {"fmin": 500.0}, {"fmax": 4_001.0}, {"frame_length": 533}, {"frame_length": 1e4},
        {"hop_length": 0}, {"hop_length": 1.5}, {"voicing": 0.0}, {"voicing": 1.0}, {"silence": 0.0},
        {"backend": "fortran"},
    ],
    ids=str,
)  # fmt: skip
def test_bad_options_are_rejected(options):
    with pytest.raises(ValueError, match="expected"):
        PitchStream(**options)


def test_autocorrelation_is_its_definition():
    x = np.random.default_rng(0).normal(size=33)
    expected = [sum(x[n] * x[n + lag] for n in range(33 - lag)) for lag in range(33)]
    np.testing.assert_allclose(autocorrelation(x), expected, atol=1e-12)


def test_autocorrelation_of_a_cosine_falls_off_as_equation_13_says():
    """E{R[t]} = (1 - |t| / S) cos(w0 t) / 2, here as the mean over phases."""
    length, w0 = 400, 0.3
    n, lags = np.arange(length), np.arange(length)
    phases = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    found = np.mean([autocorrelation(np.cos(w0 * n + phase)) for phase in phases], 0) / length
    np.testing.assert_allclose(found, (1 - lags / length) * np.cos(w0 * lags) / 2, atol=1e-12)


def test_window_autocorrelation_is_that_of_the_window():
    spec = PitchSpec()
    window = window_function("hann", 1_024)
    expected = [np.dot(window[: 1_024 - lag], window[lag:]) / np.dot(window, window) for lag in range(300)]
    np.testing.assert_allclose(spec.window_autocorrelation[:300], expected, atol=1e-12)


def test_parabola_peak_is_the_vertex():
    values = [-2 * (x - 0.3) ** 2 + 5 for x in (-1, 0, 1)]
    assert parabola_peak(*values) == pytest.approx(0.3)


def test_numpys_small_integers_do_not_overflow(backend):
    wave = np.tile(tone(137), 8)  # as many samples as no int16 counts
    found = pitch(wave, backend=backend, frame_length=np.int16(1_024), hop_length=np.uint8(160))
    np.testing.assert_array_equal(found, pitch(wave, backend=backend))
