"""How a command ends: in order, or with one line on stderr that says why. Its standard output may fail at any time."""

import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from bundle.errors import ArgumentError, EdgeEmotionError

SOON_MS = 200
"""So long is waited for a reader that may just be slow."""


def exit_status(name: str, work: Callable[[], int | None], *, stopped: str, extra: str = "train") -> int:
    """Do a command's work.

    Parameters
    ----------
    name : of the command, before each line. work : returns the exit status; None is 0.
    stopped : what Ctrl-C leaves. extra : of this project, with which packages come that `work` finds missing.

    Returns
    -------
    That of `work`, also where whoever read standard output has seen enough; 2 after an ArgumentError, 1 after any other
    error that a user can mend, and after Ctrl-C.
    """
    status = None
    try:
        status = work()
        if sys.stdout is not None:  # closed, as by >&-
            sys.stdout.flush()
    except BrokenPipeError:
        drop_unwritten()
    except (EdgeEmotionError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        drop_unwritten()
        return 2 if isinstance(error, ArgumentError) else 1
    except ModuleNotFoundError as error:
        print(f"{name}: {error.name} is not installed; expected it. pip install -e '.[{extra}]'", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{name}: stopped; {stopped}", file=sys.stderr)
        return 1
    return status or 0


def tell(text: str) -> None:
    """Print, where the exit status is a verdict: a reader that has gone does not keep it from being given."""
    try:
        print(text)
    except BrokenPipeError:
        drop_unwritten()


def warn(text: str) -> None:
    """Print to standard error, where that is no reason to end or to wait.

    Its reader may have gone or take nothing, its disk may be full: then the text is left out.
    """
    with suppress(OSError):
        if sys.stderr is not None and _has_room(sys.stderr):  # it may be closed, as by 2>&-
            print(text, file=sys.stderr)


def _has_room(stream: TextIO) -> bool:
    """Whether a line can be written now, or soon: where a pipe has room at all, it is for 4096 bytes."""
    room = select.poll()
    try:
        room.register(stream, select.POLLOUT)
    except (OSError, ValueError):  # a stream in memory has no descriptor
        return True
    return bool(room.poll(SOON_MS))


def drop_unwritten() -> None:
    """Give up what the standard streams do not take: Python would try once more at exit, and complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
