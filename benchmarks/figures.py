"""Pictures of measured rows."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.interleave import Comparison
from benchmarks.runtime import RuntimeRun
from bundle.features import NS_PER_S


def draw_runtime(run: RuntimeRun, path: Path) -> None:
    """Ages and resources over time; stages and delays as p50 to p99."""
    figure, panels = _figure(2, 2, (12, 7))
    start_ns = run.messages[0]["emitted_ns"]
    ages = [((m["emitted_ns"] - start_ns) / NS_PER_S, m["age_ms"]) for m in run.messages if m["age_ms"] is not None]
    panels[0].plot([at_s for at_s, _ in ages], [age_ms for _, age_ms in ages], ".", markersize=3)
    panels[0].set(title="age of each message", xlabel="s", ylabel="ms", ylim=0)
    for name, panel in zip(("CPU", "memory"), panels[1:3], strict=True):
        unit, values = run.samples[name]
        panel.plot(*zip(*values, strict=True))
        panel.set(title=name, xlabel="s", ylabel=unit, ylim=(0, 1.1 * max(value for _, value in values)))
    stages = [row for row in run.measures() if row.measure.startswith("stage: ")]
    for position, row in enumerate(stages):
        panels[3].plot([row.p50, row.p90, row.p99], [position] * 3, "o-")
    panels[3].set_yticks(range(len(stages)), [row.measure.removeprefix("stage: ") for row in stages])
    panels[3].set(title="stages: p50, p90 and p99 of a call", xlabel="ms", xscale="log")
    _save(figure, panels, path)


def draw_comparisons(rows: Sequence[Comparison], path: Path) -> None:
    """A panel for each piece of work: ours and, after it, the peers with how many times as long they take."""
    works = [[*group] for _, group in groupby(rows, lambda row: (row.work, row.threads))]
    columns = min(3, len(works))
    lines = -(-len(works) // columns)
    figure, panels = _figure(lines, columns, (5.5 * columns, 2.6 * lines))
    for panel, group in zip(panels, works, strict=False):
        first = group[0].work.partition(": ")[2] or "ours"  # of settings that are compared, the first
        names = [first, *(row.peer for row in group)]
        times_ms = [group[0].ours_us / 1e3, *(row.peer_us / 1e3 for row in group)]
        bars = panel.barh(names, times_ms, color=["tab:orange", *["tab:blue"] * len(group)])
        panel.bar_label(bars, ["", *(f" {row.ratio:.3g}x" for row in group)])
        panel.invert_yaxis()
        threads = "1 thread" if group[0].threads == 1 else f"{group[0].threads} threads"
        panel.set(title=f"{group[0].work} ({threads})", xlabel="ms")
        panel.margins(x=0.15)
    for panel in panels[len(works) :]:
        panel.axis("off")
    _save(figure, panels, path)


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).ravel())


def _save(figure: Any, panels: Sequence[Any], path: Path) -> None:
    for panel in panels:
        panel.grid(alpha=0.3)
    FigureCanvasAgg(figure).print_figure(path, dpi=110)
