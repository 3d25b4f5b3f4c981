"""Interest points: each equation is what it says, and what they find is where and when something turns."""

import numpy as np
import pytest
import scipy.ndimage

from kernels import interest_point_features, interest_points
from kernels.space_time_points import (
    corner_response,
    gaussian,
    gradient,
    linear_scale_space,
    normalized_second_moment,
    second_moment,
    weighted_second_moment,
)

IMAGES, SIZE = 40, 48
rows, columns = np.mgrid[:SIZE, :SIZE]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def gray(images):
    return np.rint(np.stack(images)).clip(0, 255).astype(np.uint8)


def spot(y, x, level=200.0):
    return level * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * 2.5**2))


def texture(width):
    pattern = scipy.ndimage.gaussian_filter(noise(SIZE, width), 1.5)
    return 128 + 50 * pattern / pattern.std()


def reversing(turn=20, place=30):
    """A spot that moves to the right until image `turn`, and back."""
    return gray([spot(24, place - abs(t - turn)) for t in range(IMAGES)])


def steady(speed):
    return gray([spot(24, 4 + speed * t) for t in range(IMAGES)])


def square(seen):
    """A square of 5 x 5 pixels around (20, 30), in the images where it is seen."""
    video = np.zeros((IMAGES, SIZE, SIZE), np.uint8)
    video[np.array([seen(t) for t in range(IMAGES)]), 18:23, 28:33] = 200
    return video


def test_gaussian_is_a_factor_of_equation_two():
    taps = gaussian(4.0)
    n = np.arange(-8, 9)
    np.testing.assert_allclose(taps / taps[8], np.exp(-(n**2) / 8), rtol=1e-12)
    assert taps.sum() == pytest.approx(1)


def test_scale_space_of_an_impulse_is_equation_two():
    volume = np.zeros((21, 31, 41))
    volume[10, 15, 20] = 1
    t, y, x = np.meshgrid(np.arange(21) - 10, np.arange(31) - 15, np.arange(41) - 20, indexing="ij")
    kernel = np.exp(-(x**2 + y**2) / (2 * 4.0) - t**2 / (2 * 2.0))
    within = (np.abs(t) <= 6) & (np.abs(y) <= 8) & (np.abs(x) <= 8)
    found = linear_scale_space(volume, 4.0, 2.0)
    np.testing.assert_allclose(found, np.where(within, kernel, 0) / kernel[within].sum(), atol=1e-12)


def test_scale_space_is_the_gaussian_filter_of_scipy():
    volume = noise(12, 17, 23)
    expected = scipy.ndimage.gaussian_filter(volume, (2**0.5, 2, 2), mode="nearest", truncate=4)
    np.testing.assert_allclose(linear_scale_space(volume, 4.0, 2.0), expected, atol=1e-12)


def test_gradient_is_along_x_then_y_then_time():
    t, y, x = np.meshgrid(np.arange(5.0), np.arange(6), np.arange(7), indexing="ij")
    along_x, along_y, along_t = gradient(2 * x - 3 * y + 5 * t)
    np.testing.assert_allclose(along_x, 2)
    np.testing.assert_allclose(along_y, -3)
    np.testing.assert_allclose(along_t, 5)


def test_second_moment_is_the_outer_product_of_equation_three():
    derivatives = noise(3, 2, 3, 4)
    found = second_moment(derivatives)
    for place in np.ndindex(2, 3, 4):
        vector = derivatives[(slice(None), *place)]
        np.testing.assert_allclose(found[(slice(None), slice(None), *place)], np.outer(vector, vector))


def test_weighted_second_moment_is_equation_four():
    video = noise(9, 12, 12)
    smooth = scipy.ndimage.gaussian_filter(video, (2**0.5, 2, 2), mode="nearest", truncate=4)
    lt, ly, lx = np.gradient(smooth)
    found = weighted_second_moment(video)
    for i, one in enumerate((lx, ly, lt)):
        for j, other in enumerate((lx, ly, lt)):
            wide = scipy.ndimage.gaussian_filter(one * other, (2, 8**0.5, 8**0.5), mode="nearest", truncate=4)
            np.testing.assert_allclose(found[i, j], wide, atol=1e-12)


def test_response_is_equation_eight_in_eigenvalues():
    roots = noise(3, 3, 2, 3, 4)
    mu = np.einsum("ij...,kj...->ik...", roots, roots)
    eigenvalues = np.linalg.eigvalsh(np.moveaxis(mu, (0, 1), (-2, -1)))
    expected = eigenvalues.prod(-1) - 0.01 * eigenvalues.sum(-1) ** 3
    np.testing.assert_allclose(corner_response(mu, 0.01), expected, atol=1e-9)


def test_weighted_second_moment_is_symmetric_and_positive():
    mu = normalized_second_moment(gray(128 + 40 * noise(10, 16, 16)))
    np.testing.assert_array_equal(mu, mu.swapaxes(0, 1))
    assert np.linalg.eigvalsh(np.moveaxis(mu, (0, 1), (-2, -1))).min() > -1e-12


@pytest.mark.parametrize(
    ("video", "event"),
    [
        (square(lambda t: t >= 15), (15, 20, 30)),
        (square(lambda t: t < 25), (25, 20, 30)),
        (square(lambda t: t == 18), (18, 20, 30)),
        (reversing(), (20, 24, 30)),
        (gray([spot(min(10 + t, 28), 24) for t in range(IMAGES)]), (18, 28, 24)),
        (gray([spot(24, 8 + max(0, t - 20)) for t in range(IMAGES)]), (20, 24, 8)),
    ],
    ids=["appears", "vanishes", "flashes", "reverses", "stops", "starts"],
)
def test_an_event_is_a_point_there_and_then(video, event):
    ((t, y, x),) = interest_points(video, 1e-4)
    assert abs(t - event[0]) <= 3
    assert np.hypot(y - event[1], x - event[2]) <= 3


@pytest.mark.parametrize(
    "video",
    [
        np.full((IMAGES, SIZE, SIZE), 77, np.uint8),
        gray([texture(SIZE)] * IMAGES),
        gray([np.tile(20.0 * (t % 7), (SIZE, SIZE)) for t in range(IMAGES)]),
        gray([128 + 2 * noise(SIZE, SIZE, seed=t) for t in range(IMAGES)]),
        gray([np.where(columns < 8 + t, 200, 50) for t in range(IMAGES)]),
        gray([np.where(columns < 30 - abs(t - 20), 200, 50) for t in range(IMAGES)]),
    ],
    ids=["uniform", "still", "flicker", "noise", "moving edge", "reversing edge"],
)
def test_without_a_corner_that_turns_there_are_no_points(video):
    assert len(interest_points(video)) == 0


@pytest.mark.parametrize("speed", [0.0, 0.5, 0.8, 1.0])
def test_a_spot_that_moves_steadily_has_no_points(speed):
    assert len(interest_points(steady(speed))) == 0


def test_a_texture_that_moves_steadily_has_a_singular_second_moment():
    """Brightness constancy: its derivative in time is minus velocity times that in space."""
    wide = texture(SIZE + IMAGES)
    mu = normalized_second_moment(gray([wide[:, t : t + SIZE] for t in range(IMAGES)]))
    inner = (..., slice(10, -10), slice(20, -20), slice(20, -20))
    ratio = np.linalg.det(np.moveaxis(mu[inner], (0, 1), (-2, -1))) / np.trace(mu[inner]) ** 3
    assert np.abs(ratio).max() < 1e-4


@pytest.mark.parametrize("change", [lambda v: v // 2 * 2 + 30, lambda v: 255 - v], ids=["brightness", "negative"])
def test_brightness_does_not_matter(change):
    video = reversing() // 2 * 2
    np.testing.assert_array_equal(interest_points(change(video // 2)), interest_points(video // 2))


def test_contrast_does_not_matter():
    dim = reversing() // 3
    np.testing.assert_allclose(normalized_second_moment(3 * dim), normalized_second_moment(dim), atol=1e-12)


def test_a_mirrored_video_has_mirrored_points():
    video = reversing()
    mirrored = interest_points(video[:, :, ::-1])
    np.testing.assert_array_equal(mirrored, interest_points(video) * (1, 1, -1) + (0, 0, SIZE - 1))


def test_features_are_points_per_image_and_mean_second_moments_of_cells():
    video = reversing() + gray([texture(SIZE) / 8] * IMAGES)
    found = interest_point_features(video).reshape(7, 8, 8)
    assert found.dtype == np.float32
    mu, points = normalized_second_moment(video), interest_points(video)
    assert len(points)
    for row, column in np.ndindex(8, 8):
        inside = (points[:, 1] // 6 == row) & (points[:, 2] // 6 == column)
        assert found[0, row, column] == pytest.approx(inside.sum() / IMAGES)
        cell = mu[:, :, :, 6 * row : 6 * row + 6, 6 * column : 6 * column + 6].mean((2, 3, 4))
        np.testing.assert_allclose(found[1:, row, column], cell[np.triu_indices(3)], rtol=1e-5, atol=1e-12)


def test_features_tell_where_something_moves():
    found = interest_point_features(reversing()).reshape(7, 8, 8)
    assert np.unravel_index(found[0].argmax(), (8, 8)) in {(4, 5), (3, 5), (4, 4)}
    assert found[6, :, :].argmax() // 8 in {3, 4}


def test_sizes_that_cells_do_not_divide_are_shared_out():
    assert np.isfinite(interest_point_features(gray(128 + 40 * noise(5, 11, 13)))).all()


def test_a_video_need_not_be_contiguous():
    video = reversing()
    np.testing.assert_array_equal(interest_points(video[::2]), interest_points(video[::2].copy()))


@pytest.mark.parametrize("function", [interest_points, interest_point_features])
@pytest.mark.parametrize(
    "video",
    [
        np.zeros((5, 9, 9)), np.zeros((9, 9), np.uint8), np.zeros((1, 9, 9), np.uint8), np.zeros((5, 7, 9), np.uint8),
        np.zeros((0, 9, 9), np.uint8),
    ],
    ids=["float", "image", "single", "small", "empty"],
)  # fmt: skip
def test_what_is_no_video_is_rejected(function, video):
    with pytest.raises(ValueError, match="expected uint8 with shape"):
        function(video)
