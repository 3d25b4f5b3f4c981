"""What the CUDA kernel computes equals the readable reference: on a device, or, started by test_cuda.py, simulated.

The simulator starts a Python thread for each of a GPU's: shapes are tiny there.
"""

import numpy as np
import pytest
from numba import cuda

from kernels import SpectrogramStream, preprocess_faces
from kernels.cuda import CudaFaces, CudaTick
from kernels.spec import SpectrogramSpec

pytestmark = pytest.mark.skipif(not cuda.is_available(), reason="no CUDA device; test_cuda.py simulates one")

GRAY_LEVELS = 0.05  # largest difference from the reference, of 0..255
RAW = {"mean": 0.0, "std": 1.0}
SMALL = {"n_mels": 8, "segment": 960, "step": 480, "statistics": 1_440}


def sound(samples, *, level=3_000.0, offset=400.0, seed=0):
    """A tone in noise on an offset, int16."""
    wave = offset + level * (np.random.default_rng(seed).normal(0, 0.3, samples) + np.sin(np.arange(samples) / 3))
    return np.rint(wave).clip(-32_768, 32_767).astype(np.int16)


def segments(wave, backend, **options):
    stream = SpectrogramStream(backend=backend, **options)
    stream.push(wave)
    return np.stack(list(stream.segments()))


def assert_same_segments(found, expected, output="logmel"):
    """float32 is held to the loudest bin, before the logarithm."""
    assert found.dtype == np.float32
    magnitudes = {"logmel": lambda x: np.exp(x / 2), "logmag": np.exp, "mag": lambda x: x, "power": np.sqrt}[output]
    found, expected = magnitudes(found.astype(float)), magnitudes(expected.astype(float))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.max())


def placed(scale, angle, center, size):
    """A transform that turns and scales the crop, and puts its middle at `center`."""
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    rotation = np.array([[a, -b], [b, a]])
    return np.column_stack((rotation, center - rotation @ np.full(2, (size - 1) / 2)))


@pytest.fixture(scope="module")
def noise():
    """The hardest image for sampling positions: neighbours differ by up to 255."""
    return np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (720, 1280, 3))


def test_default_mel_bands_equal_the_reference():
    options = {"segment": 960, "step": 480, "statistics": 1_440}  # three columns to a step: the block is not full
    wave = sound(1_440)
    assert_same_segments(segments(wave, "cuda", **options), segments(wave, "numpy", **options))


def test_log_magnitudes_of_mrpn_equal_the_reference():
    options = {"output": "logmag", "hop_length": 64, "segment": 320, "step": 320, "statistics": 640}
    wave = sound(320)
    assert_same_segments(segments(wave, "cuda", **options), segments(wave, "numpy", **options), "logmag")


def test_low_bands_lose_each_segments_own_mean():
    options = {**SMALL, "fmin": 0.0, "n_mels": 16}  # the lowest bands hold bins 0 and 1
    wave = np.concatenate((sound(1_440, offset=-20_000), sound(960, offset=-17_000, seed=1)))
    assert_same_segments(segments(wave, "cuda", **options), segments(wave, "numpy", **options))


def test_quiet_sound_on_a_large_offset_survives():
    wave = sound(1_440, level=5.0, offset=-30_000)
    assert_same_segments(segments(wave, "cuda", **SMALL), segments(wave, "numpy", **SMALL))


@pytest.mark.parametrize("standardize", ["segment", "none"])
def test_other_standardisations_and_float_sound_equal_the_reference(standardize):
    options = {**SMALL, "standardize": standardize, "window": "hamming", "power_floor": 1e-9}
    wave = sound(1_440).astype(np.float32) / 32_768
    assert_same_segments(segments(wave, "cuda", **options), segments(wave, "numpy", **options))


@pytest.mark.slow
@pytest.mark.parametrize("output", ["mag", "power"])
def test_outputs_without_logarithm_equal_the_reference(output):
    options = {"output": output, "hop_length": 64, "segment": 320, "step": 320}
    wave = sound(320)
    assert_same_segments(segments(wave, "cuda", **options), segments(wave, "numpy", **options), output)


def test_stream_starts_anew_after_reset():
    stream = SpectrogramStream(backend="cuda", **SMALL)
    stream.push(sound(960, offset=9_000, seed=2))
    list(stream.segments())
    stream.reset()
    wave = sound(960)
    stream.push(wave)
    assert_same_segments(stream.tick(), segments(wave, "numpy", **SMALL)[0])


@pytest.mark.parametrize("supersample", [1, 2, 3])
@pytest.mark.parametrize("gray", [True, False])
def test_faces_equal_the_reference_inside_across_and_outside_the_image(noise, gray, supersample):
    size = 7
    matrices = [
        placed(300 / size, 0.3, (600, 360), size),
        placed(100 / size, -1.2, (1_270, 700), size),
        placed(100 / size, 2.0, (3, 2), size),
        placed(1, 0, (-500, 900), size),
    ]
    found, expected = (
        preprocess_faces(noise, matrices, size, gray=gray, supersample=supersample, backend=backend, **RAW)
        for backend in ("cuda", "numpy")
    )
    np.testing.assert_allclose(found, expected, atol=GRAY_LEVELS)


def test_faces_in_half_precision_are_the_rounded_ones(noise):
    matrices = [placed(20, 0.3, (600, 360), 5)]
    options = {"mean": (100, 120, 140), "std": (50, 60, 70), "gray": False, "backend": "cuda"}
    half, single = (preprocess_faces(noise, matrices, 5, dtype=kind, **options) for kind in (np.float16, np.float32))
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, single.astype(np.float16))


def test_crop_wider_than_a_warp_is_whole(noise):
    matrices = [placed(2, 0.1, (640, 360), 34)]
    found, expected = (preprocess_faces(noise, matrices, 34, backend=backend, **RAW) for backend in ("cuda", "numpy"))
    np.testing.assert_allclose(found, expected, atol=GRAY_LEVELS)


def test_no_faces_give_no_crops(noise):
    assert preprocess_faces(noise, np.zeros((0, 2, 3)), 48, backend="cuda").shape == (0, 1, 48, 48)


def test_faces_of_an_image_that_is_not_contiguous_equal_the_reference(noise):
    view = noise[::-1, ::2, ::-1]
    found, expected = (
        preprocess_faces(view, [placed(10, 0, (300, 300), 4)], 4, gray=False, backend=backend, **RAW)
        for backend in ("cuda", "numpy")
    )
    np.testing.assert_allclose(found, expected, atol=GRAY_LEVELS)


def test_tick_leaves_segment_and_faces_on_the_device(noise):
    spec = SpectrogramSpec(**SMALL)
    tick = CudaTick(spec, CudaFaces(size=6, count=2))
    wave, matrices = sound(1_440), [placed(30, 0.2, (640, 360), 6), placed(10, 0.0, (50, 600), 6)]
    whole = [tick.tick(wave[at : at + 480], noise, matrices[: 1 + at // 960]) for at in range(0, 1_440, 480)]
    assert whole == [False, True, True]
    assert_same_segments(tick.log_spectrogram.copy_to_host(), segments(wave, "numpy", **SMALL)[-1])
    expected = preprocess_faces(noise, matrices, 6, backend="numpy")
    np.testing.assert_allclose(tick.faces.copy_to_host(), expected, atol=GRAY_LEVELS / 64)


def test_tick_without_sound_or_without_faces_leaves_the_other_as_it_was(noise):
    tick = CudaTick(SpectrogramSpec(**SMALL), CudaFaces(size=4))
    wave = sound(1_440)
    for at in range(0, 960, 480):
        tick.tick(wave[at : at + 480])
    segment = tick.log_spectrogram.copy_to_host()
    assert not tick.tick(image=noise, matrices=[placed(9, 0, (300, 300), 4)])
    face = tick.faces.copy_to_host()
    np.testing.assert_array_equal(tick.log_spectrogram.copy_to_host(), segment)
    assert tick.tick(wave[960:])
    np.testing.assert_array_equal(tick.faces.copy_to_host(), face)
    assert_same_segments(tick.log_spectrogram.copy_to_host(), segments(wave, "numpy", **SMALL)[-1])


def test_tick_starts_anew_after_reset():
    tick = CudaTick(SpectrogramSpec(**SMALL))
    for part in sound(960, offset=9_000, seed=2).reshape(2, 480):
        tick.tick(part)
    tick.reset()
    wave = sound(960)
    assert [tick.tick(part) for part in wave.reshape(2, 480)] == [False, True]
    assert_same_segments(tick.log_spectrogram.copy_to_host(), segments(wave, "numpy", **SMALL)[0])


def test_tick_refuses_what_its_memory_cannot_hold(noise):
    tick = CudaTick(SpectrogramSpec(**SMALL), CudaFaces(size=4, image_shape=(480, 640)))
    inside = [placed(9, 0, (300, 300), 4)]
    with pytest.raises(ValueError, match="at most 1"):
        tick.tick(image=noise[:480, :640], matrices=inside * 2)
    with pytest.raises(ValueError, match="921600"):
        tick.tick(image=noise, matrices=inside)
    with pytest.raises(ValueError, match="int16"):
        tick.tick(sound(479))
    with pytest.raises(ValueError, match="int16"):
        tick.tick(sound(480).astype(np.float32))
