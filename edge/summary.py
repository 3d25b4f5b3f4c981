"""What a run amounted to, in a few lines for people."""

from collections import Counter
from statistics import median

from edge.message import Message


class RunSummary:
    """Adds up messages; `count` of them."""

    def __init__(self) -> None:
        self.count = 0
        self._states: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self._faces: Counter[str] = Counter()
        self._ages_ms: list[float] = []
        self._last: Message = {}

    def add(self, message: Message) -> None:
        self.count += 1
        self._states[message["state"]] += 1
        self._sources[message["source"]] += 1
        self._faces[message["face"]] += 1
        if message["age_ms"] is not None:
            self._ages_ms.append(message["age_ms"])
            del self._ages_ms[:-100_000]  # five hours; memory stays bounded
        self._last = message

    def text(self, step_s: float, elapsed_s: float) -> str:
        """The summary of one message or more, `step_s` apart, that took `elapsed_s` of wall time."""
        count = self.count
        states = ", ".join(f"{state} {n * step_s:.1f} s" for state, n in self._states.most_common())
        sources = ", ".join(f"{source} {n / count:.0%}" for source, n in self._sources.most_common())
        lines = [
            f"{count} updates ({count * step_s:.1f} s) in {elapsed_s:.1f} s",
            f"states   {states}",
            f"source   {sources}; face found in {self._faces['ok'] / count:.0%} of updates",
        ]
        if self._ages_ms:
            ordered = sorted(self._ages_ms)
            worst = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
            lines.append(f"age      median {median(ordered):.0f} ms, p99 {worst:.0f} ms")
        dropped = self._last["dropped"]
        lines.append(f"dropped  {dropped['images']} images, {dropped['audio']} audio samples")
        lines.append(f"bundle   {self._last['bundle']} on {self._last['engine']}")
        return "\n".join(lines)
