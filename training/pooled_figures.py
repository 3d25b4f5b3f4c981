"""Figures of pooled predictions as numbers, as Markdown tables and as a picture of confusion matrices."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training.evaluate import confusion_matrix, expected_calibration_error, figures_of_merit
from training.pools import Scores, calibrate
from training.significance import wilson_interval

COLUMNS = 3  # of the picture


def pooled_figures(scores: Scores) -> dict[str, Any]:
    """Of one output; shares are 0..1.

    "folds", "clips" : how many. "measured_on" : see `Scores`. "accuracy", "uar", "ece" : of all clips. "interval" : of
    the accuracy, 95 %. "mean_of_folds" : of their accuracies. "ece_calibrated", "temperatures" : see
    `training.pools.calibrate`; None where it cannot. "recalls" : by label. "confusion" : counts, rows true.
    """
    probs, labels = scores.probs, scores.labels
    right = probs.argmax(1) == labels
    tempered, temperatures = calibrate(scores)
    matrix = confusion_matrix(labels, probs.argmax(1), len(scores.label_names))
    counts = matrix.sum(1)
    clips = len(np.unique(scores.clips))
    figures = figures_of_merit(probs, labels)
    return {
        "system": scores.system,
        "output": scores.output,
        "folds": len(np.unique(scores.folds)),
        "clips": clips,
        "measured_on": scores.measured_on,
        "accuracy": figures["accuracy"],
        "interval": wilson_interval(figures["accuracy"], clips),
        "mean_of_folds": float(np.mean([right[scores.folds == fold].mean() for fold in np.unique(scores.folds)])),
        "uar": figures["uar"],
        "ece": figures["ece"],
        "ece_calibrated": None if tempered is None else expected_calibration_error(tempered, labels),
        "temperatures": temperatures,
        "recalls": {
            name: float(matrix[row, row] / counts[row]) if counts[row] else None
            for row, name in enumerate(scores.label_names)
        },
        "confusion": matrix.tolist(),
    }


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Two tables of `pooled_figures`: all systems and outputs, and their recalls by class."""
    head = (
        "system", "output", "folds", "clips", "measured on", "accuracy, % (95 % interval)", "mean of folds, %",
        "UAR, %", "ECE", "ECE, calibrated",
    )  # fmt: skip
    lines = [_line(head), _line(["---"] * 2 + ["---:"] * 2 + ["---"] + ["---:"] * 5)]
    for row in rows:
        low, high = row["interval"]
        calibrated = "-" if row["ece_calibrated"] is None else f"{row['ece_calibrated']:.3f}"
        lines.append(
            _line((
                row["system"], row["output"], row["folds"], row["clips"], row["measured_on"],
                f"{100 * row['accuracy']:.1f} ({100 * low:.1f} to {100 * high:.1f})", _percent(row["mean_of_folds"]),
                _percent(row["uar"]), f"{row['ece']:.3f}", calibrated,
            ))
        )  # fmt: skip
    names = [*dict.fromkeys(name for row in rows for name in row["recalls"])]
    lines += ["", _line(["recall, %", "output", *names]), _line(["---"] * 2 + ["---:"] * len(names))]
    for row in rows:
        lines.append(_line([row["system"], row["output"], *(_percent(row["recalls"].get(name)) for name in names)]))
    return "\n".join(lines)


def draw_confusion(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a panel per row of `pooled_figures`: its confusion matrix, in per cent of the true class."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    across = min(COLUMNS, len(rows))
    down = -(-len(rows) // across)
    figure = Figure(figsize=(5.2 * across, 5.6 * down), layout=ConstrainedLayoutEngine(h_pad=0.15))
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for panel, row in zip(panels, rows, strict=False):
        counts, names = np.array(row["confusion"]), [*row["recalls"]]
        shares = 100 * counts / counts.sum(1, keepdims=True).clip(1)
        panel.imshow(shares, cmap="Blues", vmin=0, vmax=100)  # one hue: told apart by the colour-blind, and in gray
        for (true, predicted), share in np.ndenumerate(shares):
            color = "white" if share > 60 else "black"
            panel.text(predicted, true, f"{share:.0f}", ha="center", va="center", color=color, fontsize=10)
        panel.set_xticks(range(len(names)), names, rotation=45, ha="right")
        panel.set_yticks(range(len(names)), names)
        low, high = row["interval"]
        title = f"{row['system']}: {row['output']}\naccuracy {_percent(row['accuracy'])} %"
        title += f" ({_percent(low)} to {_percent(high)}), UAR {_percent(row['uar'])} %, {row['clips']} clips"
        panel.set_title(title, fontsize=10)
        panel.set(xlabel="predicted", ylabel="true, % of each row")
    for panel in panels[len(rows) :]:
        panel.axis("off")
    FigureCanvasAgg(figure).print_figure(path, dpi=110)


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"
