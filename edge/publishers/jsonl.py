"""Messages as JSON Lines on a text stream, or in a file."""

import json
import os
import select
import threading
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from edge.message import Message
from edge.written_file import WrittenFile

MOST_KEPT = 600
"""Messages, of two minutes, while the networks load."""

WAIT_MS = 200
"""Between two looks whether the run is to stop, while the reader takes nothing."""


class JsonLinesPublisher:
    """Writes each message as one line and flushes it, so that a reader in a pipe gets it at once.

    It waits for a reader that takes nothing, until `stop` is set: then what is not taken is left out.

    Raises
    ------
    OSError : from `publish`, as the stream does: BrokenPipeError when its reader is gone, ENOSPC on a full disk.
    """

    def __init__(self, stream: TextIO, stop: threading.Event) -> None:
        self._stream, self._stop = stream, stop
        self._room = select.poll()
        self._waits = False
        with suppress(OSError):  # a stream in memory has no descriptor
            self._room.register(stream, select.POLLOUT)
            self._waits = True

    def publish(self, message: Message) -> None:
        line = json.dumps(message, allow_nan=False, separators=(",", ":")) + "\n"
        while not self._takes_a_line():
            if self._stop.is_set():
                return
        self._stream.write(line)
        self._stream.flush()

    def _takes_a_line(self) -> bool:
        """Whether a line can be written without waiting: where a pipe has room at all, it is for 4096 bytes."""
        return not self._waits or bool(self._room.poll(WAIT_MS))


class JsonLinesFile:
    """The same in the file that --output names. It is opened, and emptied, when the networks are loaded.

    Messages before that are kept, and written then, or at the end of a run that ends before; one that fails before
    leaves the file as it was.

    Raises
    ------
    InputError : the file cannot be written; from `publish` and at the end, too.
    OSError : from `publish`, as `JsonLinesPublisher`.
    """

    def __init__(self, path: Path, stop: threading.Event) -> None:
        self._written, self._stop = WrittenFile("--output", path), stop
        self._kept: list[Message] = []
        self._file: TextIO | None = None
        self._lines: JsonLinesPublisher | None = None

    def publish(self, message: Message) -> None:
        if self._lines is None:
            self._kept.append(message)
            if message["engine"] != "loading" or len(self._kept) > MOST_KEPT:
                self._open()
        else:
            self._lines.publish(message)

    def __enter__(self) -> "JsonLinesFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._lines is None and self._kept:
            self._open()
        if self._file:
            self._file.close()

    def _open(self) -> None:
        descriptor = self._written.open(self._stop)
        if descriptor is None:  # the run is to stop, and nobody reads the pipe
            return
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        self._lines = JsonLinesPublisher(self._file, self._stop)
        for message in self._kept:
            self._lines.publish(message)
        self._kept = []
