"""Runs an engine on the GPU, for comparing; the car's runner keeps its memory and streams instead."""

from typing import Any

import numpy as np

from bundle.errors import ArtefactError
from perception.engine import Tensors


class GpuEngine:
    """An engine with float32 inputs and outputs. Not yet run on hardware.

    Raises
    ------
    ArtefactError : the GPU does not take the engine.
    """

    def __init__(self, trt: Any, plan: bytes) -> None:
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise ArtefactError("the GPU does not take the engine; expected one built for it. Use --rebuild.")
        self._context = self._engine.create_execution_context()
        self._outputs = [
            name for name in self._names() if self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT
        ]
        self.name = trt.__name__

    def run(self, inputs: Tensors) -> Tensors:
        from cuda.bindings import runtime as cuda

        copied = {name: np.ascontiguousarray(value, np.float32) for name, value in inputs.items()}
        for name, value in copied.items():
            self._context.set_input_shape(name, value.shape)
        arrays = copied | {
            name: np.empty(tuple(self._context.get_tensor_shape(name)), np.float32) for name in self._outputs
        }
        memory = {name: _checked(cuda.cudaMalloc(array.nbytes)) for name, array in arrays.items()}
        try:
            for name, address in memory.items():
                self._context.set_tensor_address(name, int(address))
            for name, value in copied.items():
                _copy(cuda, memory[name], value.ctypes.data, value.nbytes)
            if not self._context.execute_async_v3(0):
                raise ArtefactError(f"{self.name} could not run the engine. Use --rebuild.")
            _checked(cuda.cudaDeviceSynchronize())
            for name in self._outputs:
                _copy(cuda, arrays[name].ctypes.data, memory[name], arrays[name].nbytes)
        finally:
            for address in memory.values():
                cuda.cudaFree(address)
        return {name: arrays[name] for name in self._outputs}

    def _names(self) -> list[str]:
        return [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]


def _copy(cuda: Any, target: int, source: int, size: int) -> None:
    _checked(cuda.cudaMemcpy(target, source, size, cuda.cudaMemcpyKind.cudaMemcpyDefault))


def _checked(result: tuple[Any, ...]) -> Any:
    """What a CUDA call returned beside its status."""
    status, *values = result
    if int(status):
        raise ArtefactError(f"CUDA says {status.name}; expected success. Check the GPU with nvidia-smi or tegrastats.")
    return values[0] if values else None
