"""Lines of edge-run from a thread, so that a pipe is emptied whatever the databroker does."""

import json
import sys
import threading

from edge_vss.newest import Newest
from edge_vss.signals import MalformedError, Signals, signals_from_message


class LineReader(threading.Thread):
    """Reads messages, one JSON object per line, and puts their signals into the slot until the input ends.

    messages, malformed : lines so far. A malformed one is left out, and told on standard error once for each kind.
    error : why the input could not be read, if so.
    """

    def __init__(self, descriptor: int, newest: Newest[Signals]) -> None:
        super().__init__(name="lines", daemon=True)  # it may be waiting for a line when the process ends
        self.messages = self.malformed = 0
        self.error: OSError | None = None
        self._descriptor, self._newest = descriptor, newest
        self._told: set[str] = set()

    def run(self) -> None:
        try:
            # Not sys.stdin.buffer: the interpreter takes that one's lock when it ends, and this thread may hold it.
            with open(self._descriptor, "rb", closefd=False) as lines:
                for line in lines:
                    self._read(line)
        except OSError as error:
            self.error = error
        finally:
            self._newest.end()

    def _read(self, line: bytes) -> None:
        try:
            self._newest.put(signals_from_message(_json(line)))
            self.messages += 1
        except MalformedError as error:
            self.malformed += 1
            if str(error) not in self._told:
                self._told.add(str(error))
                print(f"edge-vss: a line is left out, {error}: {line[:80]!r}", file=sys.stderr)


def _json(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MalformedError("not JSON") from error
