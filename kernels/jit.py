"""Numba's `njit` with a cache on disk that is never a reason to fail, nor to run another function."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from numba import njit
from numba.core import event
from numba.core.caching import FunctionCache, IndexDataCacheFile


def cached_njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit(cache=True, **options)`, but a power cut leaves no half-written file, and a full disk is no error.

    A file that cannot be read all the same, or that holds other code than is asked for, is made anew.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = njit(**options)(function)
        dispatcher._cache = _Cache(function)  # what cache=True does, with Numba's own cache
        return dispatcher

    return decorate


@contextmanager
def compilation_told(tell: Callable[[], None]) -> Iterator[None]:
    """Call `tell` once, before the first function that is compiled meanwhile; what the cache holds is not compiled."""
    with event.install_listener("numba:compile", _FirstStart(tell)):
        yield


class _FirstStart(event.Listener):
    def __init__(self, tell: Callable[[], None]) -> None:
        self._untold = [tell]

    def on_start(self, _: event.Event) -> None:
        while self._untold:
            self._untold.pop()()

    def on_end(self, _: event.Event) -> None:
        pass


class _Cache(FunctionCache):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        locator, name = self._impl.locator, self._impl.filename_base
        self._cache_file = _CacheFile(self._cache_path, name, locator.get_source_stamp())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unpickling and LLVM raise whatever damaged bytes provoke
            try:
                self.flush()
            except OSError:  # not ours to write
                self.disable()
            return None  # then it is compiled

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):  # no space left
            super().save_overload(sig, data)


class _CacheFile(IndexDataCacheFile):
    """Numba's index and code, each on the disk before it takes its name, and the code with a note of what it is.

    The index names the code's file before that is written, and two processes that compile at once choose the same
    name: so the file can hold the code of an older source, or of other argument types.
    """

    def save(self, key: Any, data: Any) -> None:
        super().save(key, (self._source_stamp, key, data))

    def load(self, key: Any) -> Any:
        stamp, of, data = super().load(key) or (None, None, None)
        return data if (stamp, of) == (self._source_stamp, key) else None

    @contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[BinaryIO]:
        with super()._open_for_write(filepath) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
