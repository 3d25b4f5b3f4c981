"""Messages as JSON Lines on a text stream."""

import json
from typing import TextIO

from edge.message import Message


class JsonLinesPublisher:
    """Writes each message as one line and flushes it, so that a reader in a pipe gets it at once.

    Raises
    ------
    OSError : from `publish`, as the stream does: BrokenPipeError when its reader is gone, ENOSPC on a full disk.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def publish(self, message: Message) -> None:
        self._stream.write(json.dumps(message, allow_nan=False, separators=(",", ":")) + "\n")
        self._stream.flush()
