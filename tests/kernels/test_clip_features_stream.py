"""The 162 features are librosa's, at any time of the clip, however the sound is cut."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import ClipFeatures, clip_features
from kernels.clip_features_reference import CHROMA, MEL, MFCC, RMS, ZERO_CROSSING_RATE, zero_crossings

RATE = 16_000
FRAME = {"n_fft": 2_048, "hop_length": 512}


@pytest.fixture(params=["numba", "numpy"])
def backend(request):
    return request.param


def sound(samples, seed=0):
    """A tone in noise, float32; it begins below zero, where padding with zeros would add a crossing."""
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 0.1, samples) - 0.3 * np.cos(np.arange(samples) / 9)).astype(np.float32)


def features_by_librosa(wave, sample_rate=RATE):
    wave = wave.astype(np.float64)
    with pytest.warns(UserWarning, match="n_fft") if len(wave) < 2_048 else np.errstate():
        mel = librosa.feature.melspectrogram(y=wave, sr=sample_rate, **FRAME)
        chroma = librosa.feature.chroma_stft(y=wave, sr=sample_rate, tuning=0, **FRAME)
    decibels = librosa.power_to_db(mel, top_db=None)
    parts = (
        librosa.feature.zero_crossing_rate(wave),
        chroma,
        librosa.feature.mfcc(S=decibels, sr=sample_rate, n_mfcc=20),
        librosa.feature.rms(y=wave, dtype=np.float64),
        mel,
    )
    return np.concatenate([part.mean(1) for part in parts])


def assert_librosa(found, wave, sample_rate=RATE):
    """librosa's filters are float32, hence not more than its seven digits."""
    assert found.dtype == np.float32
    assert found.shape == (162,)
    np.testing.assert_allclose(found, features_by_librosa(wave, sample_rate), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("samples", [511, 512, 1_024, 1_025, 2_047, 2_048, 50_000, 50_176])
def test_features_are_those_of_librosa(backend, samples):
    wave = sound(samples)
    assert_librosa(clip_features(wave, backend=backend), wave)


def test_speech_has_the_features_of_librosa(backend, espeak):
    assert_librosa(clip_features(espeak, backend=backend), espeak / 32_768)


@pytest.mark.parametrize("sample_rate", [22_050, 48_000])
def test_other_sample_rates_are_those_of_librosa(backend, sample_rate):
    wave = sound(9_000)
    assert_librosa(clip_features(wave, sample_rate=sample_rate, backend=backend), wave, sample_rate)


@pytest.mark.parametrize(
    "wave",
    [
        np.sign(sound(9_000)),  # clipped
        sound(9_000) * 0.01 + 0.9,  # a constant offset
        np.concatenate((np.zeros(5_000, np.float32), sound(4_000))),  # begins after silence
        np.where(np.arange(6_000) % 7 == 0, 0, sound(6_000)).astype(np.float32),  # zeros count as positive
        sound(6_000) * 1e-10,  # what is nearly zero counts as zero
    ],
    ids=["clipped", "offset", "late", "zeros", "tiny"],
)
def test_extreme_sound_has_the_features_of_librosa(backend, wave):
    assert_librosa(clip_features(wave, backend=backend), wave)


def test_backends_are_equal():
    wave = sound(30_000)
    fast, definition = (clip_features(wave, backend=name) for name in ("numba", "numpy"))
    np.testing.assert_allclose(fast, definition, rtol=1e-6, atol=1e-9)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(cuts=st.lists(st.integers(0, 9_000), max_size=12), name=st.sampled_from(["numba", "numpy"]))
def test_chunks_do_not_matter(cuts, name):
    wave = sound(9_000)
    features = ClipFeatures(backend=name)
    for chunk in np.split(wave, sorted(cuts)):
        features.push(chunk)
    np.testing.assert_array_equal(features.value(), clip_features(wave, backend=name))


def test_value_is_that_of_the_clip_so_far(backend):
    wave = sound(6_000)
    features = ClipFeatures(backend=backend)
    for start in range(0, 6_000, 320):
        features.push(wave[start : start + 320])
        np.testing.assert_array_equal(features.value(), clip_features(wave[: start + 320], backend=backend))


def test_reset_begins_a_new_clip(backend):
    features = ClipFeatures(backend=backend)
    features.push(sound(5_000, seed=1))
    features.reset()
    features.push(sound(5_000))
    np.testing.assert_array_equal(features.value(), clip_features(sound(5_000), backend=backend))


def test_a_value_already_returned_stays_as_it_was(backend):
    features = ClipFeatures(backend=backend)
    features.push(sound(3_000))
    value = features.value()
    kept = value.copy()
    features.push(sound(3_000))
    features.value()
    np.testing.assert_array_equal(value, kept)


def test_int16_is_float32_of_full_scale_one(backend):
    whole = np.rint(sound(5_000) * 10_000).astype(np.int16)
    scaled = (whole / 32_768).astype(np.float32)
    np.testing.assert_array_equal(clip_features(whole, backend=backend), clip_features(scaled, backend=backend))


def test_samples_need_not_be_contiguous(backend):
    wave = sound(8_000)
    np.testing.assert_array_equal(
        clip_features(wave[::2], backend=backend), clip_features(wave[::2].copy(), backend=backend)
    )


def test_silence_is_defined(backend):
    found = clip_features(np.zeros(4_000, np.int16), backend=backend)
    assert found[MFCC][0] == pytest.approx(-100 * np.sqrt(128))  # 10 log10(1e-10) in each band
    np.testing.assert_allclose(found[MFCC][1:], 0, atol=1e-4)
    for part in (ZERO_CROSSING_RATE, CHROMA, RMS, MEL):
        assert not found[part].any()


def test_a_long_stream_keeps_little():
    features = ClipFeatures(backend="numpy")
    for _ in range(10):
        features.push(np.zeros(4_096, np.int16))
    assert len(features._history) < 2_048


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2e6])
def test_samples_that_are_no_sound_are_rejected_and_not_appended(backend, bad):
    wave = sound(3_000)
    features = ClipFeatures(backend=backend)
    features.push(wave)
    broken = wave.copy()
    broken[7] = bad
    with pytest.raises(ValueError, match="NaN, infinity or a value beyond a million"):
        features.push(broken)
    np.testing.assert_array_equal(features.value(), clip_features(wave, backend=backend))


@pytest.mark.parametrize(
    "wave", [np.zeros(10), np.zeros(10, np.int32), np.zeros((10, 2), np.int16), np.zeros((), np.float32)], ids=str
)
def test_wrong_dtypes_and_shapes_are_rejected(wave):
    with pytest.raises(ValueError, match=r"expected int16 or float32 with shape \(n,\)"):
        clip_features(wave, backend="numpy")


def test_no_audio_is_rejected():
    with pytest.raises(ValueError, match="at least one sample"):
        clip_features(np.zeros(0, np.int16), backend="numpy")


@pytest.mark.parametrize(
    "options", [{"sample_rate": 0}, {"sample_rate": np.nan}, {"sample_rate": np.inf}, {"backend": "fortran"}], ids=str
)
def test_bad_options_are_rejected(options):
    with pytest.raises(ValueError, match=r"expected"):
        clip_features(sound(100), **options)


def test_zero_crossings_are_changes_of_sign():
    assert zero_crossings(np.array([1.0, -1, -1, 0, 0.5, -2])) == 3
    assert zero_crossings(np.array([-1.0])) == 0
