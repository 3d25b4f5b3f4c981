"""Face crops: the eyes land where promised, and every pixel is what other implementations say it is."""

import cv2
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kernels import preprocess_faces, similarity_from_eyes
from kernels.face import LUMA, MOUTH_BELOW_EYES

SIZE = 48
RAW = {"mean": 0.0, "std": 1.0}
EYES = ((230.0, 118.0), (257.0, 112.0))  # anywhere in the portrait, a little tilted

coordinates = st.tuples(st.floats(-2_000, 2_000), st.floats(-2_000, 2_000))
fractions = st.floats(0.1, 0.45)


def crop(image, matrix, size=SIZE, **options):
    return preprocess_faces(image, [matrix], size, **{"supersample": 1, **RAW, **options})[0]


def positions(matrix, size):
    """Image coordinates (x, y) of each crop pixel."""
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    return np.tensordot(matrix, np.stack((x, y, np.ones_like(x))), 1)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(left=coordinates, right=coordinates, size=st.integers(16, 256), eye_x=fractions, eye_y=fractions)
def test_eyes_land_where_promised(left, right, size, eye_x, eye_y):
    assume(np.hypot(*np.subtract(right, left)) >= 1)
    matrix = similarity_from_eyes(left, right, size, eye_x=eye_x, eye_y=eye_y)
    np.testing.assert_allclose(matrix @ (eye_x * size - 0.5, eye_y * size - 0.5, 1), left, atol=1e-6)
    np.testing.assert_allclose(matrix @ ((1 - eye_x) * size - 0.5, eye_y * size - 0.5, 1), right, atol=1e-6)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(left=coordinates, right=coordinates, mouth=st.none() | coordinates)
def test_transform_turns_scales_and_shifts_but_neither_shears_nor_mirrors(left, right, mouth):
    assume(np.hypot(*np.subtract(right, left)) >= 1)
    (a, b, _), (c, d, _) = similarity_from_eyes(left, right, SIZE, mouth=mouth)
    assert (a, b) == pytest.approx((d, -c))
    assert a * d - b * c > 0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(left=coordinates, right=coordinates, mouth=coordinates)
def test_with_a_mouth_the_crop_shows_the_wider_of_both_framings(left, right, mouth):
    across, middle = np.subtract(right, left), np.add(left, right) / 2
    assume(np.hypot(*across) >= 1)
    matrix = similarity_from_eyes(left, right, SIZE, mouth=mouth)
    np.testing.assert_allclose(matrix @ (0.5 * SIZE - 0.5, 0.40 * SIZE - 0.5, 1), middle, atol=1e-6)
    by_eyes = np.hypot(*across) / (1 - 2 * 0.32)
    by_mouth = np.hypot(*(mouth - middle)) / MOUTH_BELOW_EYES
    assert np.hypot(*matrix[:, 0]) * SIZE == pytest.approx(max(by_eyes, by_mouth))


def test_a_distant_mouth_lands_where_promised():
    matrix = similarity_from_eyes((90, 50), (110, 50), SIZE, mouth=(100, 120))  # a head turned aside
    np.testing.assert_allclose(matrix @ (0.5 * SIZE - 0.5, (0.40 + MOUTH_BELOW_EYES) * SIZE - 0.5, 1), (100, 120))


def test_a_near_mouth_changes_nothing():
    eyes = (90, 50), (110, 50)
    np.testing.assert_array_equal(similarity_from_eyes(*eyes, SIZE, mouth=(100, 51)), similarity_from_eyes(*eyes, SIZE))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((5, 5), (5, 5)),
        ((5, 5), (5.7, 5.7)),
        ((np.nan, 5), (50, 5)),
        ((np.inf, 5), (50, 5)),
        ((-np.inf, 0), (np.inf, 0)),
    ],
)
def test_eyes_in_one_place_or_nowhere_are_rejected(left, right):
    with pytest.raises(ValueError, match="expected >= 1 px"):
        similarity_from_eyes(left, right, SIZE)


@pytest.mark.parametrize("mouth", [(np.nan, 60), (np.inf, 60)])
def test_a_mouth_that_is_nowhere_is_rejected(mouth):
    with pytest.raises(ValueError, match="expected finite coordinates"):
        similarity_from_eyes((90, 50), (110, 50), SIZE, mouth=mouth)


@pytest.mark.parametrize(
    "options", [{"eye_x": 0.5}, {"eye_x": 0.7}, {"eye_x": np.nan}, {"eye_y": np.nan}, {"eye_y": np.inf}, {"size": 0}]
)
def test_a_crop_without_a_place_for_the_eyes_is_rejected(options):
    with pytest.raises(ValueError, match=r"expected 0 <= eye_x < 0\.5, 0 <= eye_y <= 1, size >= 1"):
        similarity_from_eyes((90, 50), (110, 50), **{"size": SIZE, **options})


@pytest.mark.parametrize("name", ["left_eye", "right_eye", "mouth"])
@pytest.mark.parametrize("landmark", [(100,), (100, 60, 0.9), 100])
def test_landmarks_that_are_not_x_and_y_are_rejected(name, landmark):
    landmarks = {"left_eye": (90, 50), "right_eye": (110, 50), name: landmark}
    with pytest.raises(ValueError, match=rf"{name} has shape .* expected \(x, y\)"):
        similarity_from_eyes(**landmarks, size=SIZE)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("size", [32, 48, 150])
@pytest.mark.parametrize("gray", [True, False])
def test_crop_equals_opencvs_warp(portrait, size, gray, backend):
    matrix = np.round(similarity_from_eyes(*EYES, size) * 32) / 32  # OpenCV 4 rounds coordinates to 1/32 px
    picture = (portrait @ LUMA)[..., None] if gray else portrait.astype(np.float32)
    expected = cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    found = crop(portrait, matrix, size, gray=gray, mean=127.0, std=64.0, backend=backend)
    expected = (np.atleast_3d(expected).transpose(2, 0, 1) - 127) / 64
    np.testing.assert_allclose(found, expected, atol=0.05 / 64)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("eyes", [EYES, ((20.0, 30.0), (60.0, 20.0)), ((-300.0, 400.0), (700.0, 500.0))])
def test_crop_equals_scipys_interpolation_out_to_the_black_around_the_image(portrait, eyes, backend):
    matrix = similarity_from_eyes(*eyes, SIZE)
    x, y = positions(matrix, SIZE)
    colours = crop(portrait, matrix, gray=False, backend=backend)
    for found, channel in zip(colours, portrait.transpose(2, 0, 1), strict=True):
        expected = scipy.ndimage.map_coordinates(channel.astype(float), (y, x), order=1, mode="grid-constant")
        np.testing.assert_allclose(found, expected, atol=0.05)


def test_supersampled_pixel_is_the_mean_of_samples_within_it(portrait):
    matrix = similarity_from_eyes(*EYES, SIZE)
    finer = matrix @ np.array([[1 / 3, 0, -1 / 3], [0, 1 / 3, -1 / 3], [0, 0, 1]])  # pixels a third as large
    fine = crop(portrait, finer, 3 * SIZE)
    expected = fine.reshape(1, SIZE, 3, SIZE, 3).mean((2, 4))
    np.testing.assert_allclose(crop(portrait, matrix, supersample=3), expected, atol=0.05)


def test_supersampling_reduces_aliasing():
    image = np.random.default_rng(0).integers(0, 256, (384, 384, 3), np.uint8)
    matrix = [[8, 0, 3.5], [0, 8, 3.5]]  # a crop pixel is a block of 8 x 8
    ideal = (image @ LUMA).reshape(SIZE, 8, SIZE, 8).mean((1, 3))
    errors = [np.std(crop(image, matrix, supersample=n)[0] - ideal) for n in (1, 2, 4)]
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < 0.01


def test_supersampling_keeps_a_face_of_300_pixels_from_aliasing_at_48(portrait):
    """Its figure, printed by `pytest -s -k aliasing_at_48`: peak signal to the error against the mean of all pixels."""
    scale = 300 / 48
    matrix = [[scale, 0, 80 + scale / 2], [0, scale, 20 + scale / 2]]
    ideal = crop(portrait, matrix, 48, supersample=24)
    psnr_db = []
    for supersample in (1, 2, 3):
        error = crop(portrait, matrix, 48, supersample=supersample) - ideal
        psnr_db.append(float(20 * np.log10(255 / np.sqrt(np.mean(error**2)))))
    print("supersample 1, 2, 3:", ", ".join(f"{value:.1f} dB" for value in psnr_db))
    assert psnr_db[0] < 30
    assert psnr_db[1] > 35
    assert psnr_db[2] > 40


def test_image_passes_the_identity_untouched(portrait):
    found = crop(portrait, [[1, 0, 100], [0, 1, 60]], gray=False)
    np.testing.assert_array_equal(found, portrait[60 : 60 + SIZE, 100 : 100 + SIZE].transpose(2, 0, 1))


def test_crop_turns_with_the_head(portrait):
    turned = np.ascontiguousarray(np.rot90(portrait))  # (x, y) -> (y, width - 1 - x)
    eyes = [(y, portrait.shape[1] - 1 - x) for x, y in EYES]
    found = crop(turned, similarity_from_eyes(*eyes, SIZE), supersample=2)
    np.testing.assert_allclose(found, crop(portrait, similarity_from_eyes(*EYES, SIZE), supersample=2), atol=0.05)


@pytest.mark.parametrize(
    "corner", [(-48, 0), (0, -48), (512, 0), (0, 512), (-10_000, 300), (300, 10_000), (-1_000, -1_000)]
)
def test_outside_the_image_it_is_black(portrait, corner):
    found = crop(portrait, [[1, 0, corner[0]], [0, 1, corner[1]]], mean=127.0, std=64.0)
    np.testing.assert_array_equal(found, np.float32(-127 / 64))


def test_only_what_lies_outside_is_black():
    white = np.full((30, 20, 3), 255, np.uint8)
    found = crop(white, [[1, 0, -5], [0, 1, -7]])[0]
    expected = np.pad(np.full((30, 20), 255.0), ((7, 11), (5, 23)))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_gray_is_the_luma_of_the_colours(portrait):
    matrix = similarity_from_eyes(*EYES, SIZE)
    colours = crop(portrait, matrix, gray=False)
    np.testing.assert_allclose(crop(portrait, matrix)[0], np.tensordot(LUMA, colours, 1), atol=0.01)
    found = crop(portrait, [[1, 0, 100], [0, 1, 60]])[0]
    expected = cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY)[60 : 60 + SIZE, 100 : 100 + SIZE]
    np.testing.assert_allclose(found, expected, atol=0.51)  # OpenCV rounds


def test_values_are_normalised(portrait):
    matrix = similarity_from_eyes(*EYES, SIZE)
    found = crop(portrait, matrix, mean=100.0, std=50.0)
    np.testing.assert_allclose(found * 50 + 100, crop(portrait, matrix), atol=1e-3)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_each_channel_has_its_own_mean_and_std(portrait, backend):
    matrix, mean, std = similarity_from_eyes(*EYES, SIZE), (124, 116, 104), (58, 57, 59)
    found = crop(portrait, matrix, gray=False, mean=mean, std=std, backend=backend)
    expected = (crop(portrait, matrix, gray=False).transpose(1, 2, 0) - mean) / std
    np.testing.assert_allclose(found.transpose(1, 2, 0), expected, atol=1e-4)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_crops_are_written_where_the_caller_says(portrait, backend):
    out = np.empty((1, 1, SIZE, SIZE), np.float16)
    matrix = similarity_from_eyes(*EYES, SIZE)
    assert preprocess_faces(portrait, [matrix], SIZE, out=out, dtype=np.float16, backend=backend) is out
    np.testing.assert_allclose(out, preprocess_faces(portrait, [matrix], SIZE), atol=1e-3)


@pytest.mark.parametrize("gray", [True, False])
def test_faces_of_one_image_do_not_mix(portrait, gray):
    matrices = [similarity_from_eyes(*EYES, SIZE), [[1, 0, 20], [0, 1, 20]], [[3, 1, -40], [-1, 3, 60]]]
    together = preprocess_faces(portrait, matrices, SIZE, gray=gray)
    alone = [preprocess_faces(portrait, [matrix], SIZE, gray=gray)[0] for matrix in matrices]
    np.testing.assert_array_equal(together, alone)
    assert together.shape == (3, 1 if gray else 3, SIZE, SIZE)
    assert together.dtype == np.float32


@pytest.mark.parametrize("matrices", [[], np.empty((0, 2, 3))], ids=["list", "array"])
def test_no_face_gives_no_crop(portrait, matrices):
    assert preprocess_faces(portrait, matrices, SIZE).shape == (0, 1, SIZE, SIZE)


def test_the_image_is_left_alone(portrait):
    before = portrait.copy()
    preprocess_faces(portrait, [similarity_from_eyes(*EYES, SIZE)], SIZE)
    np.testing.assert_array_equal(portrait, before)


@pytest.mark.parametrize(
    "image",
    [np.zeros((60, 60), np.uint8), np.zeros((60, 60, 4), np.uint8), np.zeros((60, 60, 3), np.float32)],
    ids=["gray", "rgba", "float"],
)
def test_anything_but_uint8_rgb_is_rejected(image):
    with pytest.raises(ValueError, match=r"expected uint8 with shape \(H, W, 3\)"):
        preprocess_faces(image, [[[1, 0, 0], [0, 1, 0]]], SIZE)


def test_numpys_small_integers_do_not_overflow(portrait):
    matrices = [[[1, 0, 20], [0, 1, 20]]]
    expected = preprocess_faces(portrait, matrices, 16, supersample=20)
    found = preprocess_faces(portrait, matrices, np.int8(16), supersample=np.uint8(20))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 3, 3)])
def test_matrices_of_another_shape_are_rejected(portrait, shape):
    with pytest.raises(ValueError, match=r"expected \(n, 2, 3\)"):
        preprocess_faces(portrait, np.zeros(shape), SIZE)


@pytest.mark.parametrize("entry", [np.nan, np.inf, -np.inf, 1e10])
def test_matrices_that_are_not_finite_are_rejected(portrait, entry):
    with pytest.raises(ValueError, match="expected finite numbers"):
        preprocess_faces(portrait, [[[1, 0, 0], [0, entry, 0]]], SIZE)


@pytest.mark.parametrize("shape", [(0, 60, 3), (60, 0, 3)])
def test_an_empty_image_is_rejected(shape):
    with pytest.raises(ValueError, match="expected H >= 1 and W >= 1"):
        preprocess_faces(np.zeros(shape, np.uint8), [[[1, 0, 0], [0, 1, 0]]], SIZE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "expected whole numbers >= 1"),
        ({"size": "48"}, "size is '48'.*expected whole numbers >= 1"),
        ({"supersample": 0}, "expected whole numbers >= 1"),
        ({"supersample": 2.0}, "supersample 2.0; expected whole numbers >= 1"),
        ({"image": [[[0, 0, 0]]]}, "image is of type list; expected a NumPy array"),
        ({"mean": (1, 2, 3)}, "mean is .* expected one number"),
        ({"gray": False, "std": (1, 2)}, "std is .* expected one number, or with gray=False one or three"),
        ({"mean": np.nan}, "mean is nan; expected finite numbers"),
        ({"std": "64"}, "std is '64'; expected"),
        ({"mean": None}, "mean is None; expected"),
        ({"out": [1]}, "out is of type list; expected a NumPy array"),
        ({"std": 0}, "expected > 0"),
        ({"dtype": np.float64}, "expected float32 or float16"),
        ({"dtype": "image"}, "dtype is image; expected float32 or float16"),
        ({"backend": "opencl"}, "expected one of .*numba.*cuda.*numpy"),
        ({"out": np.empty((1, 3, SIZE, SIZE), np.float32)}, "expected float32 with shape"),
        ({"out": np.empty((1, 1, SIZE, SIZE))}, "expected float32 with shape"),
        ({"out": np.empty((1, 1, SIZE, 2 * SIZE), np.float32)[..., ::2]}, "not C-contiguous"),
    ],
)
def test_arguments_outside_their_range_are_rejected(portrait, options, message):
    with pytest.raises(ValueError, match=message):
        preprocess_faces(**{"image": portrait, "matrices": [[[1, 0, 0], [0, 1, 0]]], "size": SIZE, **options})
