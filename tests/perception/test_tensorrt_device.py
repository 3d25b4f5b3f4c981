"""TensorRT on a real GPU: built here, held against ONNX Runtime. Skipped where there is none."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from bundle.errors import ArtefactError
from bundle.manifest import DEFAULT_BUNDLE, read_manifest
from edge.canary import check_values, golden_outputs
from export.engine_from_onnx import BuildOptions, build_engine
from perception.gpu import compute_capability
from perception.onnxrt import OnnxRuntimeEngine
from perception.parity import ENGINE_DB, random_inputs, sqnr_db
from perception.tensorrt import TensorRtEngine, load_flavour

pytestmark = pytest.mark.gpu

PARTS = read_manifest(DEFAULT_BUNDLE).parts
MAX_BATCH = 4


@pytest.fixture(scope="module")
def cuda() -> Any:
    if compute_capability() is None:
        pytest.skip("no NVIDIA GPU")
    return pytest.importorskip("pycuda.driver", reason="PyCUDA is not installed: pip install -e '.[pycuda]'")


@pytest.fixture(scope="module", params=["tensorrt", "tensorrt_rtx"])
def trt(request: pytest.FixtureRequest, cuda: Any) -> Any:
    try:
        return load_flavour(request.param)
    except ArtefactError as error:
        pytest.skip(str(error))


def opened(trt: Any, name: str, file: str = "float32") -> TensorRtEngine:
    part = PARTS[name]
    options = BuildOptions(compute_capability() or 0, file.partition("-")[0], MAX_BATCH)  # type: ignore[arg-type]
    return TensorRtEngine(trt, build_engine(trt, DEFAULT_BUNDLE / part.files[file], options, part.inputs).plan)


@pytest.mark.parametrize("file", ["float32", "float16", "int8-tensorrt"])
@pytest.mark.parametrize("name", PARTS)
def test_engine_passes_the_canary(trt: Any, name: str, file: str) -> None:
    if file not in PARTS[name].files:
        pytest.skip(f"{name} has no {file} file")
    reference = PARTS[name].files["float32" if file == "float16" else file]
    expected, _ = golden_outputs(OnnxRuntimeEngine(DEFAULT_BUNDLE / reference, optimize=False), PARTS[name])
    found, took_ns = golden_outputs(opened(trt, name, file), PARTS[name])
    print(f"{trt.__name__} {name} {file}: {took_ns / 1e6:.2f} ms")
    check_values(found, expected, ENGINE_DB[file.partition("-")[0]])


@pytest.mark.parametrize("name", PARTS)
def test_every_batch_equals_onnx_runtime_whatever_ran_before(trt: Any, name: str) -> None:
    """Inputs follow each other at once: a copy that did not wait for the run before it would show."""
    engine = opened(trt, name)
    reference = OnnxRuntimeEngine(DEFAULT_BUNDLE / PARTS[name].files["float32"])
    for number, batch in enumerate((1, 3, 1, MAX_BATCH, 2, 1, 1, 1, 1, 1)):
        inputs = {tensor: np.roll(value, number) for tensor, value in random_inputs(PARTS[name].inputs, batch).items()}
        found = engine.run(inputs)
        for tensor, value in reference.run(inputs).items():
            assert sqnr_db(value, found[tensor]) >= ENGINE_DB["float32"]


def test_a_run_takes_no_memory_of_the_gpu(trt: Any, cuda: Any) -> None:
    engine, inputs = opened(trt, "visual"), random_inputs(PARTS["visual"].inputs, 1)
    for _ in range(10):  # kernels are loaded, a graph is recorded
        engine.run(inputs)
    context = cuda.Device(0).retain_primary_context()
    context.push()
    try:
        before, _ = cuda.mem_get_info()
        for _ in range(1000):
            engine.run(inputs)
        after, _ = cuda.mem_get_info()
    finally:
        context.pop()
    assert after == before


def test_engine_opened_in_one_thread_runs_in_another_beside_numba(trt: Any) -> None:
    numba_cuda = pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    part = PARTS["head"]
    with ThreadPoolExecutor(1) as pool:
        engine = pool.submit(opened, trt, "head").result()
    inputs = random_inputs(part.inputs, 1)
    before = engine.run(inputs)
    array = numba_cuda.to_device(np.arange(5))  # in the same primary context
    after = engine.run(inputs)
    assert (array.copy_to_host() == np.arange(5)).all()
    assert all((before[name] == after[name]).all() for name in before)
