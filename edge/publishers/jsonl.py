"""Messages as JSON Lines on a text stream, or in a file."""

import json
import os
import select
import threading
from collections import deque
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from bundle.command import warn
from edge.message import Message
from edge.written_file import WrittenFile

MOST_KEPT = 600
"""Messages, of two minutes, while the networks load or the reader takes nothing."""

WAIT_MS = 200
"""Between two looks whether the run is to stop, while the reader takes nothing."""


class JsonLinesPublisher:
    """Writes each message as one line and flushes it, so that a reader in a pipe gets it at once.

    While a reader or a full disk takes nothing, lines are kept, and written once it does; of more than two minutes the
    oldest are left out, as the gap in "seq" shows. One line on standard error says so. The end waits for the reader,
    until `stop` is set: then what is not taken is left out.

    Parameters
    ----------
    name : of the stream, for people. back_pressure : wait for the reader at each message, as a clip can, and leave
        nothing out; devices cannot.

    Raises
    ------
    BrokenPipeError : from `publish` and at the end: the reader is gone.
    OSError : the stream cannot be written: at the end, and with back pressure from `publish`.
    """

    def __init__(self, name: str, stream: TextIO, stop: threading.Event, *, back_pressure: bool) -> None:
        self._name, self._stream, self._stop, self._back_pressure = name, stream, stop, back_pressure
        self._kept: deque[str] = deque()
        self._is_flushed, self._is_told = True, False
        self._room = select.poll()
        self._is_waited_for = False
        with suppress(OSError):  # a stream in memory has no descriptor
            self._room.register(stream, select.POLLOUT)
            self._is_waited_for = True

    def publish(self, message: Message) -> None:
        self._kept.append(json.dumps(message, allow_nan=False, separators=(",", ":")) + "\n")
        self._write_kept(wait=self._back_pressure)
        if len(self._kept) > MOST_KEPT:
            self._kept.popleft()
            self._tell("nobody reads it")

    def __enter__(self) -> "JsonLinesPublisher":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._write_kept(wait=True)

    def _write_kept(self, *, wait: bool) -> None:
        try:
            while self._kept or not self._is_flushed:
                if self._takes_a_line(WAIT_MS if wait else 0):
                    self._write_one()
                elif not wait or self._stop.is_set():
                    return
        except BrokenPipeError:
            raise
        except OSError as error:
            if wait:
                raise
            self._tell(error.strerror or str(error))

    def _write_one(self) -> None:
        """The oldest line; what is left of one that a full disk took in part comes first."""
        if self._is_flushed:
            self._is_flushed = False
            self._stream.write(self._kept.popleft())
        self._stream.flush()
        self._is_flushed = True

    def _tell(self, why: str) -> None:
        if not self._is_told:
            self._is_told = True
            warn(f"edge-run: {self._name} takes nothing ({why}); the run goes on, and keeps the lines of two minutes")

    def _takes_a_line(self, wait_ms: int) -> bool:
        """Whether a line can be written without waiting: where a pipe has room at all, it is for 4096 bytes."""
        return not self._is_waited_for or bool(self._room.poll(wait_ms))


class JsonLinesFile:
    """The same in the file that --output names. It is opened, and emptied, when the networks are loaded.

    Messages before that are kept, and written then, or at the end of a run that ends before; one that fails before
    leaves the file as it was.

    Raises
    ------
    InputError : the file cannot be written; from `publish` and at the end, too.
    OSError : from `publish` and at the end, as `JsonLinesPublisher`.
    """

    def __init__(self, path: Path, stop: threading.Event, *, back_pressure: bool) -> None:
        self._written, self._stop, self._back_pressure = WrittenFile("--output", path), stop, back_pressure
        self._name = f"--output {path}"
        self._kept: list[Message] = []
        self._lines: JsonLinesPublisher | None = None
        self._stack = ExitStack()

    def publish(self, message: Message) -> None:
        if self._lines is None:
            self._kept.append(message)
            if message["engine"] != "loading" or len(self._kept) > MOST_KEPT:
                self._open()
        else:
            self._lines.publish(message)

    def __enter__(self) -> "JsonLinesFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._lines is None and self._kept:
            self._open()
        self._stack.__exit__(kind, error, trace)

    def _open(self) -> None:
        descriptor = self._written.open(self._stop)
        if descriptor is None:  # the run is to stop, and nobody reads the pipe
            return
        file = self._stack.enter_context(os.fdopen(descriptor, "w", encoding="utf-8"))
        lines = JsonLinesPublisher(self._name, file, self._stop, back_pressure=self._back_pressure)
        self._lines = self._stack.enter_context(lines)
        for message in self._kept:
            self._lines.publish(message)
        self._kept = []
