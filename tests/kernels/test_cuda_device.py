"""The CUDA backend at full size on a device, and what a tick costs there: run with -s to see the figures."""

import numpy as np
import pytest
from numba import cuda

from kernels import SpectrogramStream, preprocess_faces
from kernels.cuda import CudaFaces, CudaTick
from kernels.cuda_spectrogram import THREADS
from kernels.cuda_tick import tick_kernel
from kernels.spec import SpectrogramSpec

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not cuda.is_available(), reason="no CUDA device")]

GRAY_LEVELS = 0.05  # largest difference from the reference, of 0..255
MRPN = {"output": "logmag", "hop_length": 64}
TICK_MS = 200
ROUNDS = 500


def sound(samples, *, offset=400.0):
    """A tone that comes and goes in noise on an offset, int16."""
    time = np.arange(samples) / 16_000
    tone = np.sin(np.arange(samples) / 3) * (0.5 + 0.5 * np.sin(3 * time))
    wave = offset + 3_000 * (tone + np.random.default_rng(0).normal(0, 0.3, samples))
    return np.rint(wave).astype(np.int16)


def placed(scale, angle, center, size):
    """A transform that turns and scales the crop, and puts its middle at `center`."""
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    rotation = np.array([[a, -b], [b, a]])
    return np.column_stack((rotation, center - rotation @ np.full(2, (size - 1) / 2)))


def assert_same_segment(found, expected, power):
    """float32 is held to the loudest bin; the logarithm is of magnitudes to this power."""
    found, expected = np.exp(found.astype(float) / power), np.exp(expected.astype(float) / power)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * expected.max())


def milliseconds(repeated, stream):
    """Of one of ROUNDS calls, as the stream's events see them; the first calls are not counted."""
    begin, end = cuda.event(), cuda.event()
    for _ in range(20):
        repeated()
    begin.record(stream)
    for _ in range(ROUNDS):
        repeated()
    end.record(stream)
    end.synchronize()
    return begin.elapsed_time(end) / ROUNDS


def bytes_per_ms(stream):
    """That the device's memory reads and writes, by copying within it."""
    source, target = cuda.device_array(2**27, np.uint8), cuda.device_array(2**27, np.uint8)
    return 2 * 2**27 / milliseconds(lambda: target.copy_to_device(source, stream=stream), stream)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (720, 1280, 3))


@pytest.mark.parametrize("options", [{}, MRPN], ids=["default", "MRPN"])
@pytest.mark.parametrize("offset", [0, -15_000])
def test_each_segment_of_a_long_stream_equals_the_reference(options, offset):
    wave = sound(12 * 16_000, offset=offset)
    found, expected = (SpectrogramStream(backend=backend, **options) for backend in ("cuda", "numpy"))
    found.push(wave)
    expected.push(wave)
    for one, other in zip(found.segments(), expected.segments(), strict=True):
        assert_same_segment(one, other, 1 if options else 2)


@pytest.mark.parametrize("supersample", [1, 2, 3])
@pytest.mark.parametrize(("size", "gray"), [(224, False), (112, False), (48, True)])
def test_faces_of_full_size_equal_the_reference(noise, size, gray, supersample):
    extent = 300 / size
    matrices = [
        placed(extent, 0.3, (600, 360), size),
        placed(extent, np.pi, (640, 360), size),
        placed(2 * extent, 0.1, (60, 40), size),
        placed(extent, -0.2, (1_270, 700), size),
        placed(extent, 0.5, (-2_000, 5_000), size),
    ]
    options = {"gray": gray, "supersample": supersample, "mean": 0.0, "std": 1.0}
    found, expected = (preprocess_faces(noise, matrices, size, backend=b, **options) for b in ("cuda", "numpy"))
    np.testing.assert_allclose(found, expected, atol=GRAY_LEVELS)
    half = preprocess_faces(noise, matrices, size, backend="cuda", dtype=np.float16, **options)
    np.testing.assert_array_equal(half, found.astype(np.float16))


def test_ticks_on_the_stream_of_another_equal_the_reference(noise):
    stream = cuda.stream()
    tick = CudaTick(SpectrogramSpec(), CudaFaces(), stream=int(stream.handle))
    address = tick.log_spectrogram.__cuda_array_interface__["data"]
    wave, expected = sound(48_000), SpectrogramStream(backend="numpy")
    for at, part in enumerate(wave.reshape(-1, 3_200)):
        matrices = [placed(6, 0.1 * at, (400 + 30 * at, 300), 48)]
        expected.push(part)
        segment = expected.tick()
        assert tick.tick(part, noise, matrices) == (segment is not None)
        if segment is not None:
            stream.synchronize()
            assert_same_segment(tick.log_spectrogram.copy_to_host(), segment, 2)
            faces = preprocess_faces(noise, matrices, 48, backend="numpy")
            np.testing.assert_allclose(tick.faces.copy_to_host(), faces, atol=GRAY_LEVELS / 64)
    assert tick.log_spectrogram.__cuda_array_interface__["data"] == address


@pytest.mark.parametrize(
    ("name", "options", "faces"),
    [
        ("default", {}, CudaFaces()),
        ("MRPN", MRPN, CudaFaces(size=112, gray=False, dtype="float16")),
    ],
)
def test_tick_keeps_pace_and_fits_the_device(name, options, faces, noise):
    spec = SpectrogramSpec(**options)
    tick = CudaTick(spec, faces)
    stream, part = tick.stream, sound(spec.step)
    matrices = [placed(300 / faces.size, 0.2, (640, 360), faces.size)]
    whole = milliseconds(lambda: tick.tick(part, noise, matrices), stream)
    graph = milliseconds(tick._device.run, stream)
    old, new = spec.columns - spec.step // spec.hop_length, spec.step // spec.hop_length
    spectrogram_bytes = 4 * spec.bins * (2 * old + 2 * new) + 4 * spec.step  # read, written; kept, written
    face_bytes = 3 * 300 * 300 + tick.faces.nbytes
    floor = (spectrogram_bytes + face_bytes) / bytes_per_ms(stream)
    registers, shared, local = (
        max(of().values())
        for of in (
            tick_kernel.get_regs_per_thread,
            tick_kernel.get_shared_mem_per_block,
            tick_kernel.get_local_mem_per_thread,
        )
    )
    device = cuda.get_current_device()
    blocks = min(
        device.MAX_REGISTERS_PER_MULTIPROCESSOR // (registers * THREADS),
        device.MAX_SHARED_MEMORY_PER_MULTIPROCESSOR // (shared + 1_024),
        device.MAX_THREADS_PER_MULTIPROCESSOR // THREADS,
    )
    print(
        f"\n{device.name}, {name}: {1e3 * whole:.1f} us a tick, {1e3 * graph:.1f} us of it the graph; by bandwidth "
        f"{1e3 * floor:.1f} us. {registers} registers, {shared} bytes shared, {blocks} blocks of {THREADS} threads to "
        f"each of {device.MULTIPROCESSOR_COUNT} multiprocessors "
        f"({blocks * THREADS / device.MAX_THREADS_PER_MULTIPROCESSOR:.0%} of its threads)."
    )
    assert local == 0
    assert registers <= 64
    assert whole < TICK_MS
