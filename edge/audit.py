"""What the fleet profile lets out and when, as JSON Lines that are only ever added to."""

import errno
import json
import os
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bundle.errors import InputError
from edge.message import Message


class Audit:
    """One line at the start, one at the end; each is on the disk when its call returns.

    entry : what the line of the start says. `count` adds up messages by their state, for the line of the end.

    Raises
    ------
    InputError : the file cannot be opened or written, from the constructor or from `close`.
    """

    def __init__(self, path: Path, entry: Mapping[str, Any]) -> None:
        self._path = path
        self._messages: Counter[str] = Counter()
        self._add("start", entry)

    def count(self, message: Message) -> None:
        self._messages[message["state"]] += 1

    def close(self) -> None:
        self._add("stop", {"messages": self._messages})

    def __enter__(self) -> "Audit":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _add(self, event: str, entry: Mapping[str, Any]) -> None:
        time = datetime.now(timezone.utc).isoformat(timespec="seconds")
        line = json.dumps({"event": event, "time": time, "pid": os.getpid(), **entry}).encode() + b"\n"
        try:
            _append(self._path, line)
        except OSError as error:
            raise InputError(
                f"--audit {self._path} cannot be written: {error.strerror}; --profile fleet does not run without it. "
                "Make room, or name another file."
            ) from error


def _append(path: Path, line: bytes) -> None:
    """OSError unless the whole line is on the disk; it begins a new one even after a line that was cut off."""
    with path.open("a+b", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
            line = b"\n" + line
        if file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())
