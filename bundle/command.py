"""How a command ends: in order, or with one line on stderr that says why. Its standard streams may fail at any time."""

import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from typing import Any, TextIO, cast

from bundle.errors import ArgumentError, EdgeEmotionError

SOON_MS = 200
"""So long is waited for a reader that may just be slow."""


def exit_status(name: str, work: Callable[[], int | None], *, stopped: str, extra: str = "train") -> int:
    """Do a command's work, also where nobody hears what it says on standard error. SIGTERM ends it as Ctrl-C does.

    Parameters
    ----------
    name : of the command, before each line. work : returns the exit status; None is 0.
    stopped : what Ctrl-C leaves. extra : of this project, with which packages come that `work` finds missing.

    Returns
    -------
    That of `work`, also where whoever read standard output has seen enough; 2 after an ArgumentError, 1 after any other
    error that a user can mend, and after Ctrl-C.
    """
    with redirect_stderr(cast(TextIO, _Unheard(sys.stderr))), _terminated_as_interrupted():
        return _exit_status(name, work, stopped, extra)


def _exit_status(name: str, work: Callable[[], int | None], stopped: str, extra: str) -> int:
    status = None
    try:
        status = work()
        if sys.stdout is not None:  # closed, as by >&-
            sys.stdout.flush()
    except (EdgeEmotionError, OSError) as error:
        if isinstance(error, BrokenPipeError) and _has_no_reader(sys.stdout):
            drop_unwritten()
            return status or 0
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


def _has_no_reader(stream: TextIO | None) -> bool:
    reader = select.poll()
    try:
        reader.register(stream, 0)  # type: ignore[arg-type]
    except (OSError, TypeError, ValueError):  # closed, or in memory
        return False
    return bool(reader.poll(0))  # POLLERR is told unasked


def drop_unwritten() -> None:
    """Give up what the standard streams do not take: Python would try once more at exit, and complain."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            _send_nowhere(stream)


def _send_nowhere(stream: TextIO) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Unheard:
    """Standard error as long as it takes what is said, then nowhere: no progress bar is a reason to end.

    stream : None, where it is closed, as by 2>&-.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")

    def write(self, text: str) -> int:
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            _send_nowhere(self._stream)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, once: `timeout` sends it twice, the second time into what is tidied up."""

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    try:
        previous = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # no thread but the main one may set a handler
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
