"""What a run amounted to, in a few lines for people."""

from collections import Counter
from statistics import median

from bundle.features import NS_PER_S
from edge.message import Message, held_ns


class RunSummary:
    """Adds up messages; `count` of them."""

    def __init__(self) -> None:
        self.count = 0
        self._states_ns: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()
        self._faces: Counter[str] = Counter()
        self._ages_ms: list[float] = []
        self._last: Message = {}

    def add(self, message: Message) -> None:
        if self.count:
            self._states_ns[self._last["state"]] += held_ns(message["captured_ns"] - self._last["captured_ns"])
        self.count += 1
        self._sources[message["source"]] += 1
        self._faces[message["face"]] += 1
        if message["age_ms"] is not None:
            self._ages_ms.append(message["age_ms"])
            del self._ages_ms[:-100_000]  # five hours; memory stays bounded
        self._last = message

    def text(self, step_s: float, elapsed_s: float) -> str:
        """The summary of one message or more, the last of which holds for `step_s`; `elapsed_s` of wall time."""
        count = self.count
        states_ns = self._states_ns + Counter({self._last["state"]: round(step_s * NS_PER_S)})
        states = ", ".join(f"{state} {ns / NS_PER_S:.1f} s" for state, ns in states_ns.most_common())
        sources = ", ".join(f"{source} {n / count:.0%}" for source, n in self._sources.most_common())
        lines = [
            f"{count} updates ({states_ns.total() / NS_PER_S:.1f} s) in {elapsed_s:.1f} s",
            f"states   {states}",
            f"source   {sources}; face found in {self._faces['ok'] / count:.0%} of updates",
        ]
        if self._ages_ms:
            ordered = sorted(self._ages_ms)
            worst = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
            lines.append(f"age      median {median(ordered):.0f} ms, p99 {worst:.0f} ms")
        dropped = self._last["dropped"]
        late = f", {dropped['updates']} updates" if dropped["updates"] else ""
        lines.append(f"dropped  {dropped['images']} images, {dropped['audio']} audio samples{late}")
        lines.append(f"bundle   {self._last['bundle']} on {self._last['engine']}")
        return "\n".join(lines)
