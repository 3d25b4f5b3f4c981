"""Fair timing on a noisy machine: ours and its peers take turns, and medians are compared."""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

import numpy as np
from tqdm import tqdm

_EVICTED_BYTES = 64 << 20
"""Read before each cold run: more than a core's own caches hold."""


@dataclass(frozen=True)
class Conditions:
    """threads : that a contestant may use; our kernels take one. cache : what a run finds in the core's own caches."""

    threads: int = 1
    cache: Literal["hot", "cold"] = "hot"


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
    conditions: Conditions = Conditions(),
) -> list[Comparison]:
    """Time `ours` and each peer in turn, `rounds` times after two that do not count.

    A turn is `runs` runs, of which the first does not count: the others have filled the caches and taught the branch
    predictor. With cold caches it is one run. `prepare` runs before each turn, untimed.
    """
    contestants = {"": ours, **peers}
    times_us: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in tqdm(range(rounds + 2), work, leave=False, disable=None):
        for name, run in contestants.items():
            prepare()
            taken_us = _cold_run_us(run) if conditions.cache == "cold" else _hot_run_us(run, runs)
            if round_ >= 2:
                times_us[name].append(taken_us)
    ours_us = median(times_us[""])
    return [
        Comparison(
            work, name, round(ours_us, 1), round(median(times_us[name]), 1),
            round(median(times_us[name]) / ours_us, 2), conditions.threads, conditions.cache,
            hardware(),
        )
        for name in peers
    ]  # fmt: skip


def seen_from(peer: str, rows: Sequence[Comparison]) -> list[Comparison]:
    """The same medians with one peer, another way of ours, in our place."""
    (ours,) = (row for row in rows if row.peer == peer)
    return [
        replace(row, work=f"{row.work}, {peer}", ours_us=ours.peer_us, ratio=round(row.peer_us / ours.peer_us, 2))
        for row in rows
        if row is not ours
    ]


def _hot_run_us(run: Callable[[], object], runs: int) -> float:
    run()
    start_ns = time.perf_counter_ns()
    for _ in range(runs - 1):
        run()
    return (time.perf_counter_ns() - start_ns) / 1e3 / (runs - 1)


def _cold_run_us(run: Callable[[], object]) -> float:
    np.zeros(_EVICTED_BYTES, np.uint8).fill(1)
    start_ns = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start_ns) / 1e3


def hardware() -> str:
    """The processor, as Linux names it, and the one that Numba compiles for where that was chosen."""
    limit = os.environ.get("NUMBA_CPU_NAME")
    return _processor() + (f", compiled for {limit}" if limit else "")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
