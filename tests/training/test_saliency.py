"""Saliency maps: what stands out is bright, and any source of them will do."""

import numpy as np
import pytest

from bundle.errors import ArgumentError
from training.saliency import saliency_maps, spectral_residual


def texture_with_a_spot(row, column):
    """A regular texture, broken in one place."""
    y, x = np.mgrid[:48, :48]
    image = (128 + 40 * np.sin(2 * np.pi * x / 8) * np.sin(2 * np.pi * y / 8)).astype(np.uint8)
    image[row : row + 5, column : column + 5] = 250
    return image


@pytest.mark.parametrize(("row", "column"), [(8, 30), (32, 10)])
def test_what_breaks_a_texture_stands_out(row, column):
    saliency = spectral_residual(texture_with_a_spot(row, column))
    assert saliency.shape == (48, 48)
    assert saliency.dtype == np.float32
    found = np.unravel_index(saliency.argmax(), saliency.shape)
    assert np.hypot(found[0] - row - 2, found[1] - column - 2) < 6


@pytest.mark.parametrize("gray", [0, 200, 255])
def test_nothing_stands_out_of_one_gray(gray):
    assert not spectral_residual(np.full((48, 48), gray, np.uint8)).any()


def test_maps_reach_one_and_belong_to_their_images():
    images = np.stack([texture_with_a_spot(8, 30), np.zeros((48, 48), np.uint8), texture_with_a_spot(32, 10)])
    maps = saliency_maps(images, spectral_residual)
    assert maps.dtype == np.float32
    np.testing.assert_array_equal(maps.max((1, 2)), [1, 0, 1])
    assert maps.min() >= 0
    for image, found in zip(images[::2], maps[::2], strict=True):
        expected = spectral_residual(image)
        np.testing.assert_allclose(found, expected / expected.max(), rtol=1e-6)


@pytest.mark.parametrize("found", [np.zeros((3, 4)), np.full((4, 4), np.nan), np.full((4, 4), -0.1)], ids=str)
def test_what_is_no_saliency_is_refused(found):
    with pytest.raises(ArgumentError, match=r"of \(4, 4\).*expected the image's shape, and finite values of 0 or more"):
        saliency_maps(np.ones((1, 4, 4), np.uint8), lambda image: found.astype(np.float32))


def test_another_source_of_maps_is_asked_once_for_each_new_image():
    asked = []

    def brightness(image):
        asked.append(image[0, 0])
        return image.astype(np.float32)

    images = np.array([4, 4, 9, 4], np.uint8)[:, None, None] * np.array([[0, 0.5], [0.5, 1]])
    images = images.astype(np.uint8)
    maps = saliency_maps(images, brightness)
    assert len(asked) == 3
    np.testing.assert_allclose(maps, images / images.max((1, 2), keepdims=True))
