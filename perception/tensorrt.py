"""TensorRT and TensorRT-RTX: engines that were built ahead, run on PyCUDA's memory and stream."""

import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bundle.errors import ArgumentError, ArtefactError, EngineError
from perception.engine import Tensors

Flavour = Literal["tensorrt", "tensorrt_rtx"]


@dataclass(frozen=True)
class Tensor:
    """Memory of an input or output for the largest batch, at the same address all the time.

    host : page-locked float32 [shape=(max_batch, ...)]. device : PyCUDA's allocation of as many bytes.
    """

    host: npt.NDArray[np.float32]
    device: Any


class TensorRtEngine:
    """Runs an engine with float32 inputs and outputs, batch first. Not yet run on hardware.

    A run copies in, computes and copies out on one stream, and waits once; it takes no memory of the GPU. It may be
    opened in one thread and run in another. The GPU's primary context is used, which numba-cuda shares, and is current
    only while a run lasts. TensorRT-RTX records the run as a CUDA graph by itself; TensorRT has no switch for that.

    Parameters
    ----------
    trt : the package, as `load_flavour` gives it. plan : what edge-export built.

    Raises
    ------
    ArtefactError : this machine's GPU does not take the engine, it is not for float32, or PyCUDA is not installed.
    """

    def __init__(self, trt: Any, plan: bytes) -> None:
        self.name = trt.__name__
        self._engine = load_engine(trt, plan)
        self._cuda = _pycuda()
        self._primary = _primary_context(self._cuda)
        # PyCUDA frees in the thread of the context only, or where that is current: it must be, whoever lets go of this.
        weakref.finalize(self, _free, self._primary, vars(self))
        with _current(self._primary):
            self._open(trt)

    def run(self, inputs: Tensors) -> Tensors:
        """As `perception.engine.Engine.run`.

        Raises
        ------
        ArgumentError : an input has another shape, or a larger batch, than the engine takes.
        EngineError : TensorRT does not run it.
        """
        batch = len(next(iter(inputs.values())))
        self._check(batch, inputs)
        with _current(self._primary):
            self._set_batch(batch)
            for name, tensor in self._inputs.items():
                tensor.host[:batch] = inputs[name]
                self._cuda.memcpy_htod_async(tensor.device, tensor.host[:batch], self._stream)
            if not self._execution.execute_async_v3(self._stream.handle):
                raise EngineError(f"{self.name} does not run its engine. Build it again: edge-export engine --rebuild.")
            for tensor in self._outputs.values():
                self._cuda.memcpy_dtoh_async(tensor.host[:batch], tensor.device, self._stream)
            self._stream.synchronize()
        return {name: tensor.host[:batch].copy() for name, tensor in self._outputs.items()}

    def _open(self, trt: Any) -> None:
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        others = {name: engine.get_tensor_dtype(name) for name in names}
        if any(dtype != trt.DataType.FLOAT for dtype in others.values()):
            raise ArtefactError(f"the engine has tensors of {others}; expected float32. Export the bundle again.")
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self._execution, self._stream = _execution_context(trt, engine), self._cuda.Stream()
        self._inputs = {name: self._tensor(name, engine.get_tensor_profile_shape(name, 0)[2]) for name in inputs}
        self._batch = 0
        self._set_batch(min(len(tensor.host) for tensor in self._inputs.values()))
        outputs = [name for name in names if name not in inputs]
        self._outputs = {name: self._tensor(name, self._execution.get_tensor_shape(name)) for name in outputs}

    def _tensor(self, name: str, shape: Any) -> Tensor:
        host = self._cuda.pagelocked_empty(tuple(shape), np.float32)
        device = self._cuda.mem_alloc(host.nbytes)
        self._execution.set_tensor_address(name, int(device))
        return Tensor(host, device)

    def _set_batch(self, batch: int) -> None:
        if batch != self._batch:
            for name, tensor in self._inputs.items():
                self._execution.set_input_shape(name, (batch, *tensor.host.shape[1:]))
            self._batch = batch

    def _check(self, batch: int, inputs: Tensors) -> None:
        for name, tensor in self._inputs.items():
            largest, *shape = tensor.host.shape
            if inputs[name].shape != (batch, *shape) or not 0 < batch <= largest:
                raise ArgumentError(
                    f"{name} has shape {inputs[name].shape}; the engine expects a batch of 1 to {largest} of "
                    f"{tuple(shape)}. Build it with another edge-export engine --max-batch."
                )


def load_flavour(flavour: Flavour | None = None) -> Any:
    """The Python package of a flavour, or of the first that is installed: TensorRT, then TensorRT-RTX.

    Raises
    ------
    ArtefactError : it is not installed, or its libraries cannot be loaded.
    """
    reasons = []
    for name in (flavour,) if flavour else ("tensorrt", "tensorrt_rtx"):
        try:
            if name == "tensorrt":
                import tensorrt as trt
            else:
                import tensorrt_rtx as trt
        except (ImportError, OSError) as error:
            reasons.append(f"{name}: {error}")
        else:
            return trt
    raise ArtefactError(
        f"no TensorRT can be loaded ({'; '.join(reasons)}). On a Jetson install nvidia-jetpack and make the virtual "
        "environment with --system-site-packages (docs/jetson.md); on a PC pip install -e '.[tensorrt]'."
    )


def load_engine(trt: Any, plan: bytes) -> Any:
    """An engine on the GPU of this machine; ArtefactError, with TensorRT's reason, where that does not take it."""
    log = logger(trt)
    log.clear()
    engine = trt.Runtime(log).deserialize_cuda_engine(plan)
    if engine is None:
        raise ArtefactError(
            f"the GPU does not take the engine ({trt.__name__} {trt.__version__}: {log.reason()}); expected one built "
            "for it. Build it there: edge-export engine --rebuild."
        )
    return engine


@cache
def logger(trt: Any) -> Any:
    """One for each flavour: TensorRT keeps the first that it is given."""

    class Logger(trt.ILogger):
        """Keeps the newest errors, and all that is said during a build, which lists the layers."""

        def __init__(self) -> None:
            super().__init__()
            self.messages: list[str] = []
            self.errors: deque[str] = deque(maxlen=8)
            self._keeps_all = False

        def log(self, severity: Any, message: str) -> None:
            if self._keeps_all:
                self.messages.append(message)
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self.errors.append(message)

        def clear(self, *, keep_all: bool = False) -> None:
            self._keeps_all = keep_all
            self.messages.clear()
            self.errors.clear()

        def reason(self) -> str:
            return self.errors[-1] if self.errors else "it gave no reason"

    return Logger()


def _execution_context(trt: Any, engine: Any) -> Any:
    if not hasattr(trt, "CudaGraphStrategy"):
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(config)


def _pycuda() -> Any:
    try:
        import pycuda.driver as cuda
    except ImportError as error:  # not installed, or without the driver's library
        raise ArtefactError(f"PyCUDA cannot be loaded ({error}); expected it. pip install -e '.[pycuda]'") from error
    return cuda


@cache
def _primary_context(cuda: Any) -> Any:
    cuda.init()
    return cuda.Device(0).retain_primary_context()


@contextmanager
def _current(context: Any) -> Iterator[None]:
    """The context is this thread's own; PyCUDA aborts a process that ends while one is."""
    context.push()
    try:
        yield
    finally:
        context.pop()


def _free(context: Any, attributes: dict[str, Any]) -> None:
    with _current(context):
        attributes.clear()
