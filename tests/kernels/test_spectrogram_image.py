"""Images of spectrograms: of the front end that Mocanu et al. describe, resampled as torch does it."""

import numpy as np
import pytest
import scipy.signal
import torch

from kernels import SpectrogramStream, image_from_spectrogram, spectrogram_segments

FRONT_END = {"n_fft": 512, "hop_length": 160, "window": "hamming", "output": "logmag", "standardize": "none"}
"""Mocanu et al. 2023, section 4.2: 256 frequencies, 32 ms every 10 ms, one second, at 16 kHz."""


def sound(seconds=1.6):
    rng = np.random.default_rng(0)
    samples = round(seconds * 16_000)
    return np.rint(3_000 * (rng.normal(0, 0.3, samples) + np.sin(np.arange(samples) ** 1.1 / 3))).astype(np.int16)


@pytest.fixture
def spectrograms():
    return spectrogram_segments(sound(), **FRONT_END)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_front_end_is_the_log_magnitude_that_scipy_computes(backend):
    wave = sound()
    found = spectrogram_segments(wave, backend=backend, **FRONT_END)
    transform = scipy.signal.ShortTimeFFT(scipy.signal.get_window("hamming", 512), 160, 16_000, phase_shift=None)
    assert found.shape == (4, 256, 100)
    for number, segment in enumerate(found):
        end = 16_000 + 3_200 * number
        padded = np.concatenate((np.zeros(512), wave[:end].astype(float)))  # context: frames end on the columns' ends
        columns = [np.abs(np.fft.rfft(padded[e : e + 512] * transform.win))[:256] for e in range(160, end + 1, 160)]
        expected = np.log(np.maximum(np.stack(columns[-100:], 1), np.sqrt(1e-3)))
        np.testing.assert_allclose(np.exp(segment), np.exp(expected), atol=1e-5 * np.exp(expected.max()))


def test_front_end_streams_to_the_same_images():
    wave, stream, images = sound(), SpectrogramStream(**FRONT_END), []
    for start in range(0, len(wave), 333):
        stream.push(wave[start : start + 333])
        images += [image_from_spectrogram(segment[None]) for segment in stream.segments()]
    whole = image_from_spectrogram(spectrogram_segments(wave, **FRONT_END))
    np.testing.assert_allclose(np.concatenate(images), whole, atol=1e-5)


@pytest.mark.parametrize("size", [224, 64, 1])
@pytest.mark.parametrize("shape", [(2, 256, 100), (1, 1, 1), (3, 31, 7)])
def test_images_are_resampled_as_torch_does(shape, size):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    exact = torch.from_numpy(values.astype(np.float64))[:, None]
    expected = torch.nn.functional.interpolate(exact, (size, size), mode="bilinear").flip(2).numpy()
    expected -= expected.mean((2, 3), keepdims=True)
    expected /= np.maximum(expected.std((2, 3), keepdims=True), 0.1)
    found = image_from_spectrogram(values, size)
    assert found.dtype == np.float32
    assert found.shape == (len(values), 3, size, size)
    np.testing.assert_allclose(found, np.repeat(expected, 3, 1), atol=1e-5)


def test_images_have_zero_mean_and_unit_deviation(spectrograms):
    images = image_from_spectrogram(spectrograms)
    np.testing.assert_allclose(images.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(images.std((1, 2, 3)), 1, atol=1e-5)


def test_loudness_does_not_matter(spectrograms):
    louder = spectrograms + np.float32(np.log(4))
    np.testing.assert_allclose(image_from_spectrogram(louder), image_from_spectrogram(spectrograms), atol=1e-4)


def test_unit_of_the_logarithm_does_not_matter(spectrograms):
    decibels = spectrograms * np.float32(20 / np.log(10))
    np.testing.assert_allclose(image_from_spectrogram(decibels), image_from_spectrogram(spectrograms), atol=1e-4)


def test_images_do_not_depend_on_each_other(spectrograms):
    alone = [image_from_spectrogram(each[None]) for each in spectrograms]
    np.testing.assert_allclose(np.concatenate(alone), image_from_spectrogram(spectrograms), atol=1e-5)


def test_high_frequencies_are_at_the_top_and_late_ones_at_the_right():
    click = np.zeros((1, 256, 100), np.float32)
    click[0, 250, 90] = 1
    row, column = np.unravel_index(image_from_spectrogram(click)[0, 0].argmax(), (224, 224))
    assert row < 10
    assert column > 195


@pytest.mark.parametrize("value", [0.0, -6.9, 11.0])
def test_silence_is_a_zero_image(value):
    found = image_from_spectrogram(np.full((2, 256, 100), value, np.float32))
    np.testing.assert_allclose(found, 0, atol=0.01)


def test_no_spectrograms_are_no_images():
    assert image_from_spectrogram(np.zeros((0, 256, 100), np.float32)).shape == (0, 3, 224, 224)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((256, 100), np.float32), np.zeros((1, 256, 100)), np.zeros((1, 0, 100), np.float32),
        np.full((1, 4, 4), np.nan, np.float32), np.full((1, 4, 4), -np.inf, np.float32),
        np.full((1, 4, 4), 3e38, np.float32),
    ],
    ids=["one", "float64", "empty", "NaN", "infinity", "no logarithm"],
)  # fmt: skip
def test_wrong_spectrograms_are_rejected(wrong):
    with pytest.raises(ValueError, match="expected"):
        image_from_spectrogram(wrong)


def test_a_size_below_one_is_rejected():
    with pytest.raises(ValueError, match="size is 0; expected >= 1"):
        image_from_spectrogram(np.zeros((1, 4, 4), np.float32), 0)


def test_a_size_that_is_a_fraction_is_rejected():
    with pytest.raises(ValueError, match=r"size is 48\.0; expected >= 1, a whole number"):
        image_from_spectrogram(np.zeros((1, 4, 4), np.float32), 48.0)
