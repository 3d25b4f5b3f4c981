"""Messages as JSON Lines on standard output or in a file, by a thread of its own: no reader and no disk stops a run."""

import json
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from bundle.command import warn
from bundle.errors import InputError
from edge.message import Message
from edge.written_file import WrittenFile

MOST_KEPT = 600
"""Lines, of two minutes, while the networks load or nobody takes them."""

RETRY_S = 0.2
"""Between two looks whether a full disk has room again, and whether the run is to stop."""

LAST_S = 1.0
"""For what is left when the run is to stop, or fails."""


class JsonLinesPublisher:
    """Writes each message as one line at once, or as soon as its reader, or a full disk, takes it.

    Lines that nobody takes are kept; of more than two minutes the oldest are left out, as the gap in "seq" shows, and
    standard error says so. The end waits for whoever takes them, until `stop` is set.

    Parameters
    ----------
    name : of the output, for people. open_raw : gives what to write to, unbuffered, or None to write nothing; called
        in the thread. back_pressure : leave nothing out, as a clip can: wait, and end on a full disk. Devices cannot.
    loaded_only : open it when the networks are loaded, or at the end of a run that ends before; not if that failed.

    Raises
    ------
    BrokenPipeError : from `publish` and at the end: the reader is gone.
    InputError : likewise: it cannot be written. Without back pressure, that is told at the end.
    """

    def __init__(
        self, name: str, open_raw: Callable[[], AbstractContextManager[Any]], stop: threading.Event, *,
        back_pressure: bool, loaded_only: bool = False,
    ) -> None:  # fmt: skip
        self._name, self._open_raw, self._stop = name, open_raw, stop
        self._back_pressure, self._loaded_only = back_pressure, loaded_only
        self._kept: deque[bytes] = deque()
        self._left_out, self._is_told, self._is_over = 0, False, False
        self._error: BrokenPipeError | InputError | None = None
        self._changed = threading.Condition()
        self._writer: threading.Thread | None = None

    def publish(self, message: Message) -> None:
        line = json.dumps(message, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        waits = self._loaded_only and message["engine"] == "loading" and len(self._kept) < MOST_KEPT
        if self._writer is None and not waits:
            self._begin()
        with self._changed:
            while self._back_pressure and self._is_full() and not self._error and not self._stop.is_set():
                self._changed.wait(RETRY_S)
            if self._error:
                raise self._error
            if self._is_full():
                if self._back_pressure:
                    return  # the run is to stop
                self._kept.popleft()
                self._left_out += 1
                self._tell("nobody takes it; the oldest lines are left out")
            self._kept.append(line)
            self._changed.notify_all()

    def __enter__(self) -> "JsonLinesPublisher":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._writer is None and self._kept and kind is None:
            self._begin()
        if self._writer is None:
            return
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        waits = kind is None or (self._back_pressure and issubclass(kind, Exception))  # as of a clip that is cut off
        while waits and self._writer.is_alive() and not self._stop.is_set():
            self._writer.join(RETRY_S)
        self._writer.join(LAST_S)
        if self._left_out:
            warn(f"edge-run: {self._left_out} lines were left out of {self._name}")
        if self._error and kind is None:
            raise self._error

    def _begin(self) -> None:
        self._writer = threading.Thread(target=self._write, name="lines", daemon=True)
        self._writer.start()

    def _is_full(self) -> bool:
        return len(self._kept) >= MOST_KEPT

    def _write(self) -> None:
        """The thread."""
        try:
            with self._open_raw() as raw:
                while raw is not None and (line := self._next_line()):
                    self._write_whole(raw, line)
        except (BrokenPipeError, InputError) as error:
            self._fail(error)
        except OSError as error:
            self._fail(InputError(f"{self._name} cannot be written: {error.strerror}. Make room, or choose another."))

    def _fail(self, error: BrokenPipeError | InputError) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def _next_line(self) -> bytes:
        """The oldest; empty when the run is over and all are written."""
        with self._changed:
            if not self._kept:
                self._is_told = False  # of an outage that is over
            self._changed.wait_for(lambda: self._kept or self._is_over)
            line = self._kept.popleft() if self._kept else b""
            self._changed.notify_all()
            return line

    def _write_whole(self, raw: Any, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            written = 0
            try:
                written = raw.write(rest) or 0  # None where it would have to wait
            except OSError as error:
                if isinstance(error, BrokenPipeError) or self._back_pressure or self._is_over:
                    raise
                self._tell(f"{error.strerror}; lines are kept for two minutes")
            rest = rest[written:]
            if not written:
                time.sleep(RETRY_S)

    def _tell(self, what: str) -> None:
        if not self._is_told:
            self._is_told = True
            warn(f"edge-run: {self._name}: {what}, the run goes on")


def lines_on_stdout(stop: threading.Event, *, back_pressure: bool) -> JsonLinesPublisher:
    """InputError where standard output is closed."""
    if sys.stdout is None:
        raise InputError("standard output is closed; expected somewhere to write. Give --output FILE.")
    buffer = sys.stdout.buffer
    raw = getattr(buffer, "raw", buffer)  # python -u has no buffer between
    return JsonLinesPublisher("standard output", lambda: nullcontext(raw), stop, back_pressure=back_pressure)


def lines_in_file(path: Path, stop: threading.Event, *, back_pressure: bool) -> JsonLinesPublisher:
    """In the file that --output names; a start that fails leaves it as it was.

    InputError where it is plain already that it cannot be written.
    """
    written = WrittenFile("--output", path)

    def open_raw() -> AbstractContextManager[Any]:
        descriptor = written.open(stop)
        return nullcontext() if descriptor is None else os.fdopen(descriptor, "wb", buffering=0)

    return JsonLinesPublisher(f"--output {path}", open_raw, stop, back_pressure=back_pressure, loaded_only=True)
