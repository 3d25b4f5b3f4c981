"""One page about a calibration, with its pictures inside: what each layer costs, and what INT8 changes for whom."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from bundle.features import PROBS
from calibration.calibrate import Fold, Outcome, Said
from calibration.gate import recalls_by_class, subject_confusions
from calibration.qdq import layer_outputs
from calibration.ranges import limits
from corpora.held_out import Predictions

COLORS = {"float32": "#666666", "int8-tensorrt": "#0072B2", "int8-onnxruntime": "#D55E00"}
"""Of Okabe & Ito (2008), told apart by the colour-blind."""

STYLE = """
body { font: 15px/1.5 sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; font-size: 13px } td, th { padding: 2px 10px; border-bottom: 1px solid #ddd }
td.number { text-align: right; font-variant-numeric: tabular-nums } .failed { color: #b00; font-weight: bold }
img { max-width: 100% } code { font-size: 12px }
"""


def write_report(path: Path, folds: Sequence[Fold], in_float: Said, outcomes: Sequence[Outcome]) -> None:
    """Write one HTML file that needs no other."""
    labels = folds[0].manifest.labels
    said = {"float32": in_float.windows} | {outcome.precision: outcome.int8 for outcome in outcomes}
    sections = [
        f"<h1>Calibration of {escape(', '.join(fold.manifest.name for fold in folds))}</h1>",
        *(_verdict(outcome) for outcome in outcomes),
        "<h2>Recall by class, UAR by fold</h2>",
        _picture(_draw_bars(said, labels, folds)),
        "<h2>Confusion matrices</h2><p>Rows: the true emotion; per cent of it.</p>",
        _picture(_draw_confusions(said, labels)),
    ]
    for position, fold in enumerate(folds):
        sections.append(
            f"<h2>Layers of {escape(fold.manifest.name)} ({escape(fold.name)})</h2><p>Left: range of a layer's output "
            "over the calibration samples. Right: signal to noise of the embedding when this layer alone is in INT8; "
            "the lower, the more it hurts. Hatched: left in float.</p>"
        )
        sections += [_picture(_draw_layers(fold, position, part, outcomes)) for part in fold.ranges]
    page = f"<!doctype html><meta charset='utf-8'><title>Calibration</title><style>{STYLE}</style>{''.join(sections)}"
    path.write_text(page, encoding="utf-8")


def _verdict(outcome: Outcome) -> str:
    verdict = "the gate held" if outcome.held else "<span class='failed'>the gate failed</span>"
    floats = ", ".join(f"{part} <code>{escape(layer)}</code>" for part, layer in outcome.left_in_float) or "none"
    rows = "".join(
        f"<tr><td>{figure.of}</td><td>{figure.name}</td>"
        + "".join(
            f"<td class='number'>{'' if number is None else f'{number:.4f}'}</td>"
            for number in (figure.float32, figure.int8, figure.value, figure.low, figure.high, figure.limit)
        )
        + f"<td>{'upper bound' if figure.bounded == 'high' else 'value'}</td>"
        + f"<td>{'held' if figure.held else '<span class=failed>failed</span>'}</td></tr>"
        for figure in outcome.figures
    )
    worst = "; ".join(f"{each.of}: subject {each.subject}, {each.uar_drop:+.4f}" for each in outcome.worst_subjects)
    return (
        f"<h2>{outcome.precision}: {verdict}</h2><p>Layers left in float: {floats}. Largest drop of a subject's UAR: "
        f"{worst}.</p><table><tr><th>of<th>figure<th>float32<th>INT8<th>difference<th>lower 95 %<th>upper 95 %"
        f"<th>limit<th>of its<th></tr>{rows}</table>"
    )


def _new_figure(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _picture(figure: Any) -> str:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    image = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(image, dpi=90)
    return f"<p><img alt='' src='data:image/png;base64,{base64.b64encode(image.getvalue()).decode()}'></p>"


def _draw_bars(said: dict[str, Predictions], labels: Sequence[str], folds: Sequence[Fold]) -> Any:
    """A row for each output: recall by class, and UAR by fold."""
    figure, panels = _new_figure(len(PROBS), 2, (12, 9), sharey=True, width_ratios=(3, (1 + len(folds)) / 2))
    width = 0.8 / len(said)
    for row, name in zip(panels, PROBS, strict=True):
        for number, (precision, predictions) in enumerate(said.items()):
            by_fold = _confusions_by_fold(predictions, name, folds)
            recalls = recalls_by_class(np.ones((1, len(folds))), by_fold)[0]
            uars = np.nanmean(recalls_by_class(np.eye(len(folds)), by_fold), 1)
            for panel, values in zip(row, (recalls, uars), strict=True):
                places = np.arange(len(values)) + (number - (len(said) - 1) / 2) * width
                panel.bar(places, values, width, color=COLORS[precision], label=precision)
        for panel, names in zip(row, (labels, [fold.name for fold in folds]), strict=True):
            panel.set_xticks(range(len(names)), names, rotation=30, ha="right")
            panel.set_xlim(-0.5, len(names) - 0.5)
        row[0].set(ylabel=f"{name}: recall", ylim=(0, 1))
        row[1].set(ylabel="UAR")
        for panel in row:
            panel.grid(axis="y", alpha=0.3)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    return figure


def _confusions_by_fold(predictions: Predictions, name: str, folds: Sequence[Fold]) -> Any:
    fold_of = {clip.actor: number for number, fold in enumerate(folds) for clip in fold.held_out.speech}
    rows = np.array([fold_of[subject] for subject in predictions.subjects.tolist()])
    return subject_confusions(predictions.labels, predictions.probs[name], rows, len(folds))


def _draw_confusions(said: dict[str, Predictions], labels: Sequence[str]) -> Any:
    figure, panels = _new_figure(len(PROBS), len(said), (4.2 * len(said), 12))
    for row, name in zip(panels, PROBS, strict=True):
        for panel, (precision, predictions) in zip(row, said.items(), strict=True):
            one = np.zeros(len(predictions.labels), int)
            counts = subject_confusions(predictions.labels, predictions.probs[name], one, 1)[0]
            shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
            panel.imshow(shares, cmap="Blues", vmin=0, vmax=100)
            for true, predicted in np.argwhere(shares >= 0.5):
                share = shares[true, predicted]
                color = "white" if share > 60 else "black"
                panel.text(predicted, true, f"{share:.0f}", ha="center", va="center", fontsize=7, color=color)
            panel.set_xticks(range(len(labels)), labels, rotation=45, ha="right", fontsize=8)
            panel.set_yticks(range(len(labels)), labels, fontsize=8)
            panel.set_title(f"{name}, {precision}", fontsize=10)
    return figure


def _draw_layers(fold: Fold, position: int, part: str, outcomes: Sequence[Outcome]) -> Any:
    """Range of each layer's output, and what the layer alone costs."""
    outputs, found = layer_outputs(fold.source(part)), limits(fold.ranges[part])
    layers = [*max((outcome.layer_sqnr_db[position][part] for outcome in outcomes), key=len)]
    figure, ((left, right),) = _new_figure(1, 2, (12, 0.28 * len(layers) + 1.5), sharey=True)
    places = np.arange(len(layers))
    lows, highs = np.array([found[outputs[layer]] for layer in layers]).T
    left.barh(places, highs - lows, left=lows, color="#009E73")
    left.axvline(0, color="black", linewidth=0.8)
    width = 0.8 / len(outcomes)
    for number, outcome in enumerate(outcomes):
        values = outcome.layer_sqnr_db[position][part]
        bars = right.barh(
            [layers.index(layer) + (number - (len(outcomes) - 1) / 2) * width for layer in values],
            values.values(), width, color=COLORS[outcome.precision], label=outcome.precision,
        )  # fmt: skip
        for layer, bar in zip(values, bars, strict=True):
            if (part, layer) in outcome.left_in_float:
                bar.set(hatch="///", alpha=0.5)
    left.set_yticks(places, layers, fontsize=8)
    left.invert_yaxis()
    left.set(title=f"{part}: range", xlabel="value")
    right.set(title=f"{part}: SQNR with this layer alone in INT8", xlabel="dB")
    figure.legend(*right.get_legend_handles_labels(), loc="outside upper right", ncols=2, frameon=False, fontsize=8)
    for panel in (left, right):
        panel.grid(axis="x", alpha=0.3)
    return figure
