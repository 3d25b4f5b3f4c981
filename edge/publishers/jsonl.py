"""Messages as JSON Lines on a text stream."""

import json
import select
import threading
from contextlib import suppress
from typing import TextIO

from edge.message import Message

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
