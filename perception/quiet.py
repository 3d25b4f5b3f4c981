"""Libraries in C that write to the process's standard error, silenced for a moment."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()
_silencing: list[int] = []
"""The real standard error, once for each that silences it now; the last one out restores it."""


@contextmanager
def native_stderr_silenced() -> Iterator[None]:
    """Send file descriptor 2 to nowhere; what else is written there meanwhile is lost too, so keep it short.

    Several threads may be in here at once.
    """
    with _lock:
        _silencing.append(os.dup(_silencing[0] if _silencing else 2))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)
    try:
        yield
    finally:
        with _lock:
            stderr = _silencing.pop()
            if not _silencing:
                os.dup2(stderr, 2)
            os.close(stderr)
