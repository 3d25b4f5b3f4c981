"""What is given up when the machine is too slow or too hot: one rung after another, and back with care."""

from collections import deque
from collections.abc import Sequence

from bundle.features import NS_PER_S
from edge.message import Load

TOO_BUSY, RELAXED = 0.9, 0.4
"""Share of the time between updates that their work takes. From "reduced rate" back to normal it nearly doubles."""

MAX_BUSY = 2.0
"""What one update counts at most. The busiest does not count at all: a single hiccup is no load."""

FEWEST = 4
"""Updates that are judged, however long ago they were: a machine may take seconds for each, or have stood still."""

DOWN_NS, UP_NS = 2 * NS_PER_S, 10 * NS_PER_S
"""For which the mean must be above, or below, before a rung is taken."""

MAX_UP_NS = 160 * NS_PER_S


class LoadLadder:
    """The rung to stand on, from how busy each update was. Judgement only, by the updates' own clock.

    A rung down after 2 s too busy; a rung up after 10 s relaxed. Whoever falls back within that time of a step up waits
    twice as long before the next one, up to 160 s: a machine at its limit must not swing. Whoever falls later begins at
    10 s again.

    Parameters
    ----------
    rungs : to give up more and more; the first is "normal".
    """

    def __init__(self, rungs: Sequence[Load]) -> None:
        self._rungs, self._rung = rungs, 0
        self._busy: deque[tuple[int, float]] = deque()
        self._since_ns: int | None = None
        self._up_ns, self._stepped_up_ns = UP_NS, -MAX_UP_NS

    @property
    def load(self) -> Load:
        return self._rungs[self._rung]

    def has(self, load: Load) -> bool:
        """Whether this can be given up."""
        return load in self._rungs

    def gives_up(self, load: Load) -> bool:
        """Whether this is given up now."""
        return load in self._rungs[: self._rung + 1]

    def leave_out(self, load: Load) -> None:
        """Take a rung away, before the first update: it would give nothing."""
        self._rungs = [rung for rung in self._rungs if rung != load]

    def update(self, busy: float, now_ns: int) -> Load:
        """The rung after one more update; `busy` is its work by the time that it had."""
        if self._since_ns is None:
            self._since_ns = now_ns
        self._busy.append((now_ns, min(busy, MAX_BUSY)))
        while len(self._busy) > FEWEST and self._busy[0][0] <= now_ns - max(self._up_ns, DOWN_NS):
            self._busy.popleft()
        if self._mean(now_ns, DOWN_NS) > TOO_BUSY and self._rung + 1 < len(self._rungs):
            falls_back = now_ns - self._stepped_up_ns < self._up_ns
            self._up_ns = min(2 * self._up_ns, MAX_UP_NS) if falls_back else UP_NS
            self._step(1, now_ns)
        elif self._rung and self._mean(now_ns, self._up_ns) < RELAXED:
            self._stepped_up_ns = now_ns
            self._step(-1, now_ns)
        return self.load

    def _mean(self, now_ns: int, span_ns: int) -> float:
        """Of the last `span_ns` but for the busiest update; neither busy nor relaxed before so much has passed."""
        if self._since_ns is None or now_ns - self._since_ns < span_ns or len(self._busy) < FEWEST:
            return (TOO_BUSY + RELAXED) / 2
        within = sum(at_ns > now_ns - span_ns for at_ns, _ in self._busy)
        values = sorted(busy for _, busy in [*self._busy][-max(within, FEWEST) :])[:-1]
        return sum(values) / len(values)

    def _step(self, by: int, now_ns: int) -> None:
        self._rung += by
        self._since_ns = now_ns
        self._busy.clear()
