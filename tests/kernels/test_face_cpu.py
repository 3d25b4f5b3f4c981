"""The compiled face crops equal the readable reference, wherever the face lies, and shrink without aliasing."""

import subprocess
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import preprocess_faces

ROOT = Path(__file__).parents[2]
GRAY_LEVELS = 0.05  # largest difference from the reference, of 0..255
RAW = {"mean": 0.0, "std": 1.0}


def placed(scale, angle, center, size):
    """A transform that turns and scales the crop, and puts its middle at `center`."""
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    rotation = np.array([[a, -b], [b, a]])
    return np.column_stack((rotation, center - rotation @ np.full(2, (size - 1) / 2)))


def both(image, matrices, size, **options):
    """The same crops of both backends, in gray levels."""
    options = {**RAW, **options}
    return [preprocess_faces(image, matrices, size, backend=backend, **options) for backend in ("numba", "numpy")]


@pytest.fixture(scope="module")
def noise():
    """The hardest image for sampling positions: neighbours differ by up to 255."""
    return np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (720, 1280, 3))


@pytest.mark.parametrize("supersample", [1, 2, 3])
@pytest.mark.parametrize(("size", "gray"), [(224, False), (112, False), (48, True)])
def test_compiled_equals_reference_inside_across_and_outside_the_image(noise, size, gray, supersample):
    extent = 300 / size
    matrices = [
        placed(extent, 0, (600, 360), size),
        placed(extent, 0.3, (600, 360), size),
        placed(extent, -1.2, (700, 300), size),
        placed(extent, np.pi, (640, 360), size),
        placed(0.4 * extent, np.pi / 2, (1000, 500), size),
        placed(2 * extent, 0.1, (60, 40), size),
        placed(extent, -0.2, (1270, 700), size),
        placed(extent, 0.5, (-2_000, 5_000), size),
        placed(8 * extent, 0.5, (640, 360), size),
    ]
    found, expected = both(noise, matrices, size, gray=gray, supersample=supersample)
    np.testing.assert_allclose(found, expected, atol=GRAY_LEVELS)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 70),
    size=st.integers(1, 50),
    supersample=st.integers(1, 3),
    scale=st.floats(0.01, 30),
    angle=st.floats(-4, 4),
    center=st.tuples(st.floats(-100, 100), st.floats(-100, 100)),
)
def test_compiled_equals_reference_for_images_and_crops_of_any_size(
    height, width, size, supersample, scale, angle, center
):
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    matrix = placed(scale, angle, center, size)
    found, expected = both(image, [matrix], size, gray=False, supersample=supersample)
    np.testing.assert_allclose(found, expected, atol=GRAY_LEVELS)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(entries=st.lists(st.floats(-1e9, 1e9), min_size=6, max_size=6))
def test_compiled_equals_reference_for_absurd_transforms(entries):
    image = np.full((40, 60, 3), 200, np.uint8)
    found, expected = both(image, np.reshape(entries, (1, 2, 3)), 20)
    np.testing.assert_allclose(found, expected, atol=GRAY_LEVELS)


@pytest.mark.parametrize("width", [2_000, 8_000])
def test_compiled_equals_reference_in_large_images(width):
    image = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (300, width, 3))
    matrices = [placed(4, 0, (width - 500, 150), 224), placed(width / 224, 0.01, (width / 2, 150), 224)]
    found, expected = both(image, matrices, 224, supersample=1)
    np.testing.assert_allclose(found, expected, atol=GRAY_LEVELS)


def test_crops_next_to_the_images_end_read_nothing_beyond_it():
    """Behind the image lies a page that ends a process which reads it."""
    code = """
import ctypes, mmap
import numpy as np
from kernels import preprocess_faces

pages, size = 8, 60 * 80 * 3
memory = mmap.mmap(-1, pages * mmap.PAGESIZE)
end = (pages - 1) * mmap.PAGESIZE
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + end), mmap.PAGESIZE, 0) == 0
image = np.frombuffer(memory, np.uint8, size, end - size).reshape(60, 80, 3)
image[:] = 7
for x in np.arange(40, 50, 0.25):
    crop = preprocess_faces(image, [[[1, 0, x], [0, 1, 28]]], 32, gray=False, supersample=1, mean=0, std=1)
    np.testing.assert_allclose(crop[..., : 79 - int(x)], 7, atol=1e-5)
print(crop.shape)
"""
    assert python(code).strip() == "(1, 3, 32, 32)"


@pytest.mark.parametrize("gray", [True, False])
def test_float16_is_the_rounded_float32(portrait, gray):
    matrices = [placed(3, 0.2, (240, 120), 48), placed(3, 0.2, (0, 0), 48)]
    half = preprocess_faces(portrait, matrices, 48, gray=gray, dtype=np.float16)
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, preprocess_faces(portrait, matrices, 48, gray=gray).astype(np.float16))


@pytest.mark.parametrize("view", ["crop", "columns mirrored", "turned", "channels swapped", "Fortran", "read-only"])
def test_images_in_any_memory_layout_are_accepted(portrait, view):
    image = {
        "crop": portrait[100:400, 50:450],
        "columns mirrored": portrait[:, ::-1],
        "turned": np.rot90(portrait),
        "channels swapped": portrait[..., ::-1],
        "Fortran": np.asfortranarray(portrait),
        "read-only": portrait.copy(),
    }[view]
    image.flags.writeable = view != "read-only" and image.flags.writeable
    matrix = placed(2, 0.2, (150, 120), 48)
    found = preprocess_faces(image, [matrix], 48)
    np.testing.assert_array_equal(found, preprocess_faces(np.array(image, order="C"), [matrix], 48))


def test_supersampling_a_large_face_helps_by_more_than_8_db(portrait):
    face = cv2.resize(portrait[20:220, 130:330], (384, 384), interpolation=cv2.INTER_CUBIC)  # the face is 300 px high
    rng = np.random.default_rng(0)
    texture = rng.standard_normal(face.shape[:2])
    texture -= cv2.GaussianBlur(texture, (0, 0), 1.2)  # hair and skin, which the enlarged portrait lacks
    image = (face + 8 * texture[..., None] + 4 * rng.standard_normal(face.shape)).clip(0, 255).astype(np.uint8)
    averaged = image.reshape(48, 8, 48, 8, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    block = [[8, 0, 3.5], [0, 8, 3.5]]  # a crop pixel is a block of 8 x 8
    psnr_db = []
    for supersample in (1, 2, 3):
        found = preprocess_faces(image, [block], 48, gray=False, supersample=supersample, **RAW)[0]
        psnr_db.append(10 * np.log10(255**2 / np.mean((found - averaged) ** 2)))
    print("PSNR in dB for 1, 2, 3 samples:", *np.round(psnr_db, 1))
    assert psnr_db[1] > psnr_db[0] + 8
    assert psnr_db[2] > psnr_db[1]


def test_other_threads_run_meanwhile(portrait):
    """Each of two threads makes a long call; while one computes, the main thread counts."""
    matrices = np.repeat([placed(2, 0.2, (250, 250), 224)], 100, axis=0)
    preprocess_faces(portrait, matrices[:1], 224)
    thread = threading.Thread(target=preprocess_faces, args=(portrait, matrices, 224))
    ticks = 0
    thread.start()
    while thread.is_alive():
        ticks += 1
    assert ticks > 1_000


def python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_numba_is_imported_by_the_first_crop_only():
    code = """
import sys
import numpy as np
import kernels, edge.run
image = np.zeros((60, 60, 3), np.uint8)
kernels.preprocess_faces(image, [[[1, 0, 0], [0, 1, 0]]], 48, backend="numpy")
print("numba" in sys.modules)
"""
    assert python(code).strip() == "False"


def test_a_new_process_finds_the_compiled_crops_in_the_cache(portrait):
    preprocess_faces(portrait, [placed(2, 0.2, (250, 250), 48)], 48)
    code = """
import numpy as np
import kernels, kernels.face_cpu
kernels.preprocess_faces(np.zeros((60, 60, 3), np.uint8), [[[1, 0, 0], [0, 1, 0]]], 48)
print(sum(kernels.face_cpu._sample_faces.stats.cache_misses.values()))
"""
    assert python(code).strip() == "0"
