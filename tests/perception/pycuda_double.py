"""A PyCUDA of host memory, which refuses what the real one refuses without a current context.

What is put on a stream happens when that is synchronised, in order: a buffer that is reused too early shows.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np


class PyCuda:
    """Stands in for `pycuda.driver`. allocations : of the device and of page-locked memory, made so far."""

    def __init__(self) -> None:
        self.allocations = self.freed = 0
        self._initialised = False
        self._current = threading.local()
        self._streams: dict[int, list[Callable[[], None]]] = {}

    def init(self) -> None:
        self._initialised = True

    def Device(self, number: int) -> Any:  # noqa: N802 (PyCUDA's name)
        assert self._initialised
        assert number == 0
        return SimpleNamespace(retain_primary_context=lambda: SimpleNamespace(push=self._push, pop=self._pop))

    def Stream(self) -> Any:  # noqa: N802 (PyCUDA's name)
        self.require_context()
        handle = 0x1000 + len(self._streams)
        self._streams[handle] = []
        return SimpleNamespace(handle=handle, synchronize=lambda: self._synchronize(handle))

    def mem_alloc(self, size: int) -> "Allocation":
        self.require_context()
        self.allocations += 1
        return Allocation(self, size)

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self.require_context()
        assert isinstance(shape, tuple)
        self.allocations += 1
        return np.full(shape, np.nan, dtype)

    def memcpy_htod_async(self, dest: "Allocation", src: np.ndarray, stream: Any) -> None:
        assert src.flags.c_contiguous
        assert src.nbytes <= dest.size
        self.enqueue(stream.handle, lambda: ctypes.memmove(int(dest), src.ctypes.data, src.nbytes))

    def memcpy_dtoh_async(self, dest: np.ndarray, src: "Allocation", stream: Any) -> None:
        assert dest.flags.c_contiguous
        assert dest.nbytes <= src.size
        self.enqueue(stream.handle, lambda: ctypes.memmove(dest.ctypes.data, int(src), dest.nbytes))

    def enqueue(self, handle: int, work: Callable[[], Any]) -> None:
        """Put work on a stream."""
        self.require_context()
        self._streams[handle].append(work)

    def require_context(self) -> None:
        assert self.depth, "no context is current in this thread"

    @property
    def depth(self) -> int:
        """Contexts on this thread's stack."""
        return getattr(self._current, "depth", 0)

    def _push(self) -> None:
        self._current.depth = self.depth + 1

    def _pop(self) -> None:
        self.require_context()
        self._current.depth -= 1

    def _synchronize(self, handle: int) -> None:
        self.require_context()
        for work in self._streams[handle]:
            work()
        self._streams[handle].clear()


class Allocation:
    """Memory of the device; freed with a context current, or never."""

    def __init__(self, cuda: PyCuda, size: int) -> None:
        self.size, self._cuda = size, cuda
        self._bytes = ctypes.create_string_buffer(size)

    def __int__(self) -> int:
        return ctypes.addressof(self._bytes)

    def __del__(self) -> None:
        self._cuda.freed += bool(self._cuda.depth)


def memory(address: int, shape: tuple[int, ...]) -> np.ndarray:
    """float32 at an address."""
    return np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_float)), shape)


def installed(cuda: PyCuda) -> Iterator[tuple[str, Any]]:
    """Entries of `sys.modules`."""
    yield "pycuda", SimpleNamespace(driver=cuda)
    yield "pycuda.driver", cuda
