"""The newest signals to the databroker, until the input ends."""

import time
from typing import Protocol

from edge_vss.newest import Newest
from edge_vss.signals import UNAVAILABLE, Signals

CLOSE_S = 5.0
"""How long the last signals may wait for a databroker that is away."""

POLL_S = 0.05


class Writer(Protocol):
    def write(self, signals: Signals) -> bool:
        """Whether they were written; if not, it may be tried again at once."""


class Forwarder:
    """written : messages so far whose signals were written."""

    def __init__(self, newest: Newest[Signals], writer: Writer, silence_s: float) -> None:
        self.written = 0
        self._newest, self._writer, self._silence_s = newest, writer, silence_s
        self._latest: Signals | None = None
        self._is_written = True

    def run(self) -> None:
        """Until the input ends. Then, or when nothing came for `silence_s`, the signals become unavailable.

        Raises
        ------
        TimeoutError : the last signals could not be written within `CLOSE_S`.
        """
        try:
            while True:
                self._choose(self._newest.take(self._silence_s) or UNAVAILABLE)
                self._write()
        except EOFError:
            pass
        until_s = time.monotonic() + CLOSE_S
        self._write_until(until_s)
        self._choose(UNAVAILABLE)
        self._write_until(until_s)

    def _choose(self, signals: Signals) -> None:
        if signals is not self._latest:  # an outage is written once
            self._latest, self._is_written = signals, False

    def _write(self) -> None:
        if not self._is_written and self._latest is not None and self._writer.write(self._latest):
            self._is_written = True
            self.written += self._latest is not UNAVAILABLE

    def _write_until(self, until_s: float) -> None:
        self._write()
        while not self._is_written:
            if time.monotonic() >= until_s:
                raise TimeoutError
            time.sleep(POLL_S)
            self._write()
