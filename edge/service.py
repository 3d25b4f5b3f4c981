"""What systemd is told: sd_notify(3) without its library."""

import os
import socket


class Service:
    """Tells a service manager that the run is ready, alive, stopping; nobody unless $NOTIFY_SOCKET names one.

    A watchdog there (`WatchdogSec=`) restarts a run that publishes no more.
    """

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET")
        self._ready = False

    def published(self, state: str, source: str) -> None:
        """A message is out."""
        ready = "" if self._ready else "READY=1\n"
        self._ready = True
        self._tell(f"{ready}WATCHDOG=1\nSTATUS={state} ({source})")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), address)
        except OSError:
            pass  # it is gone, or busy: the run matters more
