"""TensorRT's runner without a GPU: its calls against the API of each TensorRT, its copies on a PyCUDA of host memory.

What no test here shows: that a GPU runs it. tests/perception/test_tensorrt_device.py does, where one is.
"""

import gc
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bundle.errors import ArgumentError, ArtefactError, EngineError
from bundle.manifest import DEFAULT_BUNDLE, read_manifest
from perception.engine import Tensors
from perception.gpu import compute_capability
from perception.tensorrt import TensorRtEngine, load_engine, load_flavour, logger
from tests.export.bindings_double import VALUES, VERSIONS, double_of, tensorrt_double
from tests.export.read_bindings import read_installed
from tests.perception.pycuda_double import PyCuda, installed, memory

MAX_BATCH = 4
SHAPES = {"face": (1, 2, 3), "mask": (5,), "embedding": (7,)}
IN, OUT = 1, 2  # TensorIOMode of all versions


class Computation:
    """What the engine's kernels do: face.sum() + mask.sum() + 0..6, read from and written to the addresses given."""

    def __init__(self, cuda: PyCuda) -> None:
        self.works, self._cuda = True, cuda
        self._addresses: dict[str, int] = {}
        self._batch = 0

    def shape(self, name: str) -> tuple[int, ...]:
        return (self._batch, *SHAPES[name])

    def set_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert shape[1:] == SHAPES[name]
        assert 1 <= shape[0] <= MAX_BATCH
        self._batch = shape[0]
        return True

    def set_address(self, name: str, address: int) -> bool:
        assert name not in self._addresses, "an address is given once"
        self._addresses[name] = address
        return True

    def execute(self, stream: int) -> bool:
        if self.works:
            self._cuda.enqueue(stream, lambda: self._compute(self._batch))
        return self.works

    def _compute(self, batch: int) -> None:
        inputs = [memory(self._addresses[name], (batch, *SHAPES[name])) for name in ("face", "mask")]
        total = sum(value.reshape(batch, -1).sum(1, keepdims=True) for value in inputs)
        memory(self._addresses["embedding"], (batch, 7))[:] = total + np.arange(7)


def expected(inputs: Tensors) -> np.ndarray:
    return inputs["face"].sum((1, 2, 3))[:, None] + inputs["mask"].sum(1)[:, None] + np.arange(7)


def noise(batch: int, seed: int = 0) -> Tensors:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal((batch, *SHAPES[name]), np.float32) for name in ("face", "mask")}


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[PyCuda]:
    cuda = PyCuda()
    for name, module in installed(cuda):
        monkeypatch.setitem(sys.modules, name, module)
    yield cuda
    assert not cuda.depth, "a context is left current"


@pytest.fixture
def computation(cuda: PyCuda, monkeypatch: pytest.MonkeyPatch) -> Computation:
    """Behind the doubles of TensorRT's engines and contexts."""
    computation, names = Computation(cuda), list(SHAPES)
    engine = {
        "num_io_tensors": len(names),
        "get_tensor_name": lambda index: names[index],
        "get_tensor_mode": lambda name: OUT if name == "embedding" else IN,
        "get_tensor_dtype": lambda name: 0,
        "get_tensor_profile_shape": lambda name, profile: [(batch, *SHAPES[name]) for batch in (1, 1, MAX_BATCH)],
    }
    context = {
        "set_input_shape": computation.set_shape,
        "get_tensor_shape": computation.shape,
        "set_tensor_address": computation.set_address,
        "execute_async_v3": computation.execute,
    }
    monkeypatch.setitem(VALUES, "ICudaEngine", engine)
    monkeypatch.setitem(VALUES, "IExecutionContext", context)
    return computation


@pytest.fixture(params=[*VERSIONS, "rtx"])
def trt(request: pytest.FixtureRequest) -> tuple[Any, list[Any]]:
    """A double of each TensorRT, and its calls; that of TensorRT-RTX from the bindings that are installed."""
    if request.param != "rtx":
        return tensorrt_double(request.param)
    real = pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX for this platform")
    return double_of(read_installed(real), "tensorrt_rtx")


@pytest.fixture
def engine(trt: tuple[Any, list[Any]], computation: Computation) -> TensorRtEngine:
    return TensorRtEngine(trt[0], b"plan")


def test_each_batch_gives_its_own_outputs(engine: TensorRtEngine) -> None:
    for seed, batch in enumerate((1, 1, 3, 1, MAX_BATCH, 2)):
        inputs = noise(batch, seed)
        outputs = engine.run(inputs)
        np.testing.assert_allclose(outputs["embedding"], expected(inputs), rtol=1e-5)
        assert outputs["embedding"].dtype == np.float32


def test_outputs_are_the_callers(engine: TensorRtEngine) -> None:
    first = engine.run(noise(2, 0))["embedding"]
    kept = first.copy()
    engine.run(noise(2, 1))
    assert (first == kept).all()


def test_inputs_of_any_layout_are_taken(engine: TensorRtEngine) -> None:
    inputs = noise(3)
    strided = {name: np.asfortranarray(value.astype(np.float64)) for name, value in inputs.items()}
    np.testing.assert_array_equal(engine.run(strided)["embedding"], engine.run(inputs)["embedding"])


def test_memory_is_taken_once_for_the_largest_batch(engine: TensorRtEngine, cuda: PyCuda) -> None:
    assert cuda.allocations == 2 * len(SHAPES)
    for batch in 1, MAX_BATCH, 2:
        engine.run(noise(batch))
    assert cuda.allocations == 2 * len(SHAPES)


def test_engine_opened_in_one_thread_runs_and_ends_in_another(
    trt: tuple[Any, list[Any]], computation: Computation, cuda: PyCuda
) -> None:
    opened: list[TensorRtEngine] = []
    thread = threading.Thread(target=lambda: opened.append(TensorRtEngine(trt[0], b"plan")))
    thread.start()
    thread.join()
    np.testing.assert_allclose(opened[0].run(noise(1))["embedding"], expected(noise(1)), rtol=1e-5)
    opened.clear()
    trt[1].clear()
    gc.collect()
    assert cuda.freed == len(SHAPES)


def test_shape_is_set_when_the_batch_changes_only(trt: tuple[Any, list[Any]], engine: TensorRtEngine) -> None:
    engine.run(noise(1))
    trt[1].clear()
    engine.run(noise(1))
    engine.run(noise(2))
    assert [called.split(".")[1] for called, _ in trt[1]] == [
        "execute_async_v3", "set_input_shape", "set_input_shape", "execute_async_v3",
    ]  # fmt: skip


def test_graph_is_recorded_where_the_flavour_does_that(trt: tuple[Any, list[Any]], engine: TensorRtEngine) -> None:
    assert engine.name == trt[0].__name__
    strategies = [given for called, given in trt[1] if called == "IRuntimeConfig.cuda_graph_strategy"]
    wanted = [(trt[0].CudaGraphStrategy.WHOLE_GRAPH_CAPTURE,)] if engine.name == "tensorrt_rtx" else []
    assert strategies == wanted


@pytest.mark.parametrize(
    ("inputs", "found"),
    [
        (noise(MAX_BATCH + 1), r"face has shape \(5, 1, 2, 3\); the engine expects a batch of 1 to 4 of \(1, 2, 3\)"),
        (noise(0), r"face has shape \(0, 1, 2, 3\)"),
        ({**noise(2), "mask": noise(1)["mask"]}, r"mask has shape \(1, 5\)"),
        ({**noise(1), "face": np.zeros((1, 1, 1, 1), np.float32)}, r"face has shape \(1, 1, 1, 1\)"),
    ],
)
def test_other_shapes_are_refused(engine: TensorRtEngine, inputs: Tensors, found: str) -> None:
    with pytest.raises(ArgumentError, match=found):
        engine.run(inputs)


def test_a_run_that_tensorrt_refuses_is_an_error_and_leaves_no_context(
    engine: TensorRtEngine, computation: Computation, cuda: PyCuda
) -> None:
    computation.works = False
    with pytest.raises(EngineError, match="does not run its engine"):
        engine.run(noise(1))
    assert not cuda.depth


def test_tensors_of_other_types_are_refused(
    computation: Computation, monkeypatch: pytest.MonkeyPatch, cuda: PyCuda
) -> None:
    monkeypatch.setitem(VALUES["ICudaEngine"], "get_tensor_dtype", lambda name: 1)
    trt, _ = tensorrt_double(VERSIONS[0])
    with pytest.raises(ArtefactError, match="expected float32"):
        TensorRtEngine(trt, b"plan")


def test_log_does_not_grow_while_engines_run(trt: tuple[Any, list[Any]]) -> None:
    log, severity = logger(trt[0]), trt[0].ILogger.Severity
    log.clear()
    for number in range(1000):
        log.log(severity.WARNING, "slow stream")
        log.log(severity.ERROR, f"failed {number}")
    assert (len(log.messages), len(log.errors), log.reason()) == (0, 8, "failed 999")


def test_missing_pycuda_is_explained(computation: Computation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    trt, _ = tensorrt_double(VERSIONS[0])
    with pytest.raises(ArtefactError, match=r"PyCUDA cannot be loaded .* pip install -e '\.\[pycuda\]'"):
        TensorRtEngine(trt, b"plan")


def test_a_flavour_that_is_not_installed_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ArtefactError, match=r"no TensorRT can be loaded \(tensorrt: .*docs/jetson\.md"):
        load_flavour("tensorrt")


@pytest.mark.skipif(compute_capability() is not None, reason="this machine has a GPU")
@pytest.mark.parametrize("spoil", [lambda plan: plan, lambda plan: plan[: len(plan) // 2], lambda plan: b"no engine"])
def test_real_engine_without_a_gpu_is_explained(spoil: Any, built_for_sm89: bytes) -> None:
    """TensorRT-RTX itself refuses it, with its own reason, and the process goes on."""
    with pytest.raises(ArtefactError, match=r"GPU does not take the engine \(tensorrt_rtx \d.*: .*\); expected one"):
        load_engine(load_flavour("tensorrt_rtx"), spoil(built_for_sm89))


@pytest.fixture(scope="module")
def built_for_sm89() -> bytes:
    trt = pytest.importorskip("tensorrt_rtx", reason="no TensorRT-RTX for this platform")
    from export.engine_from_onnx import BuildOptions, build_engine

    part = read_manifest(DEFAULT_BUNDLE).parts["head"]
    return build_engine(trt, DEFAULT_BUNDLE / part.files["float32"], BuildOptions(89, "float32"), part.inputs).plan
