"""Fair timing on a noisy machine: ours and its peers take turns, and medians are compared."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Comparison:
    """Medians of one piece of work; ratio = peer_us / ours_us."""

    work: str
    peer: str
    ours_us: float
    peer_us: float
    ratio: float
    threads: int
    cache: str
    hardware: str


def compare(
    work: str,
    ours: Callable[[], object],
    peers: Mapping[str, Callable[[], object]],
    rounds: int = 30,
    runs: int = 2,
    prepare: Callable[[], object] = lambda: None,
) -> list[Comparison]:
    """Time `ours` and each peer in turn, `rounds` times after two that do not count; single-threaded, cache hot.

    A turn is `runs` runs, of which the first does not count: the others have filled the caches and taught the branch
    predictor. `prepare` runs before each turn, untimed.
    """
    contestants = {"": ours, **peers}
    times_us: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 2):
        for name, run in contestants.items():
            prepare()
            run()
            start_ns = time.perf_counter_ns()
            for _ in range(runs - 1):
                run()
            if round_ >= 2:
                times_us[name].append((time.perf_counter_ns() - start_ns) / 1e3 / (runs - 1))
    ours_us = median(times_us[""])
    return [
        Comparison(
            work, name, round(ours_us, 1), round(median(times_us[name]), 1),
            round(median(times_us[name]) / ours_us, 2), 1, "hot", hardware(),
        )
        for name in peers
    ]  # fmt: skip


def hardware() -> str:
    """The processor, as Linux names it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
