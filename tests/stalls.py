"""When this machine left the tests themselves waiting: no fault of what they test."""

import threading
import time

from edge.clock import now_ns

WAKES_S = 0.02
SHORTEST_S = 0.1


class Stalls:
    """Watches, from a thread that should wake 50 times a second, until it is closed.

    times : of each stall when it ended, nanoseconds of `now_ns`, and how long it was, seconds.
    """

    def __init__(self) -> None:
        self.times: list[tuple[int, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    @property
    def longest_s(self) -> float:
        return max((stall_s for _, stall_s in self.times), default=0.0)

    def near(self, moment_ns: int, within_s: float) -> bool:
        """Whether one ended so little before or after."""
        return any(abs(moment_ns - ended_ns) < within_s * 1e9 for ended_ns, _ in self.times)

    def __enter__(self) -> "Stalls":
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        before_s = time.monotonic()
        while not self._over.wait(WAKES_S):
            now_s = time.monotonic()
            stall_s, before_s = now_s - before_s - WAKES_S, now_s
            if stall_s > SHORTEST_S:
                self.times.append((now_ns(), stall_s))
