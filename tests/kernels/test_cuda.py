"""The CUDA backend without a device: it refuses clearly, is right when simulated, and compiles for what cars carry."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import cuda

from kernels import SpectrogramStream, preprocess_faces
from kernels.cuda import CudaFaces, CudaTick
from kernels.cuda_face import visible_box
from kernels.face_reference import sample_faces
from kernels.spec import SpectrogramSpec

ROOT = Path(__file__).parents[2]
CAPABILITIES = [87, 89, 90, 110]  # Jetson Orin, desktop Ada, Hopper, Jetson Thor
REGISTERS = 64
"""Of a thread, at most: four blocks of 256 then share a multiprocessor's 65,536."""
SHARED_BYTES = 12_304
"""Of a block: four frames of 256 complex points, their power in rows of 257, and what alignment adds."""
SYSTEM_SHARED_BYTES = 1_024
"""Which the driver takes of each block from capability 9.0 on, and some assemblers count."""

without_device = pytest.mark.skipif(cuda.is_available(), reason="there is a CUDA device")


def run(*arguments, **environment):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)


@pytest.mark.slow  # most of a minute
def test_kernel_equals_the_reference_in_the_simulator():
    result = run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/kernels/test_cuda_equality.py", NUMBA_ENABLE_CUDASIM="1"
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\d+ passed", result.stdout)
    assert "skipped" not in result.stdout


@pytest.mark.parametrize(
    "capability", [CAPABILITIES[0], *(pytest.param(other, marks=pytest.mark.slow) for other in CAPABILITIES[1:])]
)
def test_kernel_compiles_without_spills_and_without_double_precision(capability):
    result = run("tests/kernels/compile_cuda.py", capability)
    assert result.returncode == 0, result.stderr
    reports = json.loads(result.stdout)
    assert set(reports) == {"float32", "float16"}
    for report in reports.values():
        assert report["cubin"] == b"\x7fELF".hex()
        assert [report[name] for name in ("stack", "local", "spill_stores", "spill_loads", "double")] == [0] * 5
        assert report["registers"] <= REGISTERS
        assert report["shared"] - SHARED_BYTES in (0, SYSTEM_SHARED_BYTES)


def test_report_would_show_spills():
    result = run("tests/kernels/compile_cuda.py", CAPABILITIES[0], 24)
    assert result.returncode == 0, result.stderr
    for report in json.loads(result.stdout).values():
        assert report["registers"] <= 24
        assert min(report["spill_stores"], report["spill_loads"], report["stack"]) > 0


@without_device
def test_missing_device_is_named_with_a_remedy():
    image = np.zeros((9, 9, 3), np.uint8)
    for ask in (
        lambda: SpectrogramStream(backend="cuda"),
        lambda: preprocess_faces(image, [np.eye(2, 3)], 4, backend="cuda"),
        lambda: CudaTick(SpectrogramSpec()),
    ):
        with pytest.raises(RuntimeError, match=r"no device was found; expected an NVIDIA GPU.*backend='numba'"):
            ask()


def test_missing_package_is_named_with_a_remedy():
    code = (
        "import sys; sys.modules['numba_cuda'] = None\n"
        "from kernels import SpectrogramStream\n"
        "try: SpectrogramStream(backend='cuda')\n"
        "except RuntimeError as error: print(error)"
    )
    result = run("-c", code)
    assert "numba-cuda is not installed" in result.stdout, result.stderr
    assert "edge-emotion[cuda]" in result.stdout


def test_numba_backend_imports_no_cuda():
    code = (
        "import sys, numpy as np, kernels\n"
        "kernels.SpectrogramStream()\n"
        "kernels.preprocess_faces(np.zeros((9, 9, 3), np.uint8), [np.eye(2, 3)], 4)\n"
        "print([name for name in ('numba.cuda', 'cuda.bindings') if name in sys.modules])"
    )
    result = run("-c", code)
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize("options", [{"edge": "reflect"}, {"edge": "zero"}, {"n_fft": 1_024}])
def test_spectrogram_that_the_kernel_does_not_serve_is_rejected(options):
    with pytest.raises(ValueError, match="expects 512 and 'context'"):
        SpectrogramStream(backend="cuda", **options)
    with pytest.raises(ValueError, match="expects 512 and 'context'"):
        CudaTick(SpectrogramSpec(**options))


def test_default_stream_is_rejected():
    with pytest.raises(ValueError, match="stream is 0"):
        CudaTick(SpectrogramSpec(), stream=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size"),
        ({"count": 0}, "count"),
        ({"image_shape": (0, 4)}, "image_shape"),
        ({"dtype": "float64"}, "float16"),
        ({"std": 0}, "std"),
        ({"mean": (1, 2, 3)}, "mean"),
    ],
)
def test_faces_that_cannot_be_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        CudaFaces(**options)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    entries=st.lists(st.floats(-3, 3), min_size=8, max_size=8),
    corners=st.lists(st.floats(-60, 90), min_size=4, max_size=4),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.integers(1, 9),
    supersample=st.integers(1, 3),
)
def test_visible_box_holds_all_that_the_crops_see(entries, corners, shape, size, supersample):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    transforms = np.concatenate((np.reshape(entries, (2, 2, 2)), np.reshape(corners, (2, 2, 1))), axis=2)
    left, top, right, bottom = visible_box(transforms, size, *shape)
    assert 0 <= left < right <= shape[1]
    assert 0 <= top < bottom <= shape[0]
    moved = transforms - np.array([[0, 0, left], [0, 0, top]])
    whole, part = np.empty((2, 2, 3, size, size))
    sample_faces(image, transforms, supersample, np.ones(3), np.zeros(3), whole)
    sample_faces(image[top:bottom, left:right], moved, supersample, np.ones(3), np.zeros(3), part)
    np.testing.assert_allclose(part, whole, atol=1e-9)


def test_visible_box_is_no_larger_than_needed():
    assert visible_box(np.array([[[1.0, 0, 20], [0, 1, 30]]]), 10, 100, 100) == (18, 28, 32, 42)
    assert visible_box(np.array([[[1.0, 0, 500], [0, 1, -500]]]), 10, 100, 100) == (99, 0, 100, 1)
