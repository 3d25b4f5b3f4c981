"""Libraries in C that write to the process's standard error, silenced for a moment."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from threading import Lock

_lock = Lock()
_silencing: list[int] = []
"""The real standard error, once for each that silences it now; the last one out restores it."""

_still_heard = ExitStack()
"""While somebody silences: what Python prints goes to the real standard error."""


@contextmanager
def native_stderr_silenced() -> Iterator[None]:
    """Send file descriptor 2 to nowhere; what Python prints to `sys.stderr` meanwhile, in any thread, is still heard.

    Several threads may be in here at once. Where there is no descriptor 2, nothing is done.
    """
    try:
        os.fstat(2)
    except OSError:
        yield
        return
    with _lock:
        if not _silencing and _writes_to_descriptor_2():
            heard = _still_heard.enter_context(os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8"))
            _still_heard.enter_context(redirect_stderr(heard))
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
                _still_heard.close()
            os.close(stderr)


def _writes_to_descriptor_2() -> bool:
    try:
        return sys.stderr.fileno() == 2
    except (AttributeError, OSError, io.UnsupportedOperation):  # closed at start, or replaced
        return False
