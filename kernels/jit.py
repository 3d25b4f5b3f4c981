"""Numba's `njit` with a cache on disk that is never a reason to fail."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache


def cached_njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit(cache=True, **options)`, but what is damaged in the cache is made anew, and a full disk is no error.

    Numba does not sync the files that it writes: a power cut leaves empty ones.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = njit(**options)(function)
        dispatcher._cache = _Cache(function)  # what cache=True does, with Numba's own cache
        return dispatcher

    return decorate


class _Cache(FunctionCache):
    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # unpickling and LLVM raise whatever damaged bytes provoke
            with suppress(OSError):
                self.flush()
            return None  # then it is compiled

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(Exception):  # no space left, or a damaged index that could not be flushed
            super().save_overload(sig, data)
