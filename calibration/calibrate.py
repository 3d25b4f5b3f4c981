"""Bundles to INT8 bundles that pass the gate: until it does, a large head, then the worst layers go back to float."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundle.errors import ArgumentError
from bundle.manifest import FLOAT32, INT8_ONNXRUNTIME, Manifest, Part
from calibration.gate import Figure, WorstSubject, judge_drives, judge_windows, worst_subjects
from calibration.qdq import is_large_head, write_quantized, write_quantized_head
from calibration.replay import Driven, drive_subjects, join_drives, join_predictions
from calibration.samples import Samples, check_bundle, fold_name, subjects_of
from calibration.sensitivity import Floats, embeddings, layer_sqnr_db, sqnr_db, worst_first
from corpora.held_out import HeldOut, Predictions, predict_windows
from perception.network import Network, network_from_engines
from perception.onnxrt import OnnxRuntimeEngine

MOST_IN_FLOAT = 0.5
"""Share of the layers that may go back to float; with more, INT8 saves too little."""

Layers = list[tuple[str, str]]
"""(part, layer)."""

HEAD = "head"
WHOLE_HEAD = HEAD, "matrix products"
"""They go to INT8, and back, together, and are the first to go back: encoders save far more."""


@dataclass(frozen=True)
class Fold:
    """One bundle under calibration.

    ranges : ONNX Runtime's TensorsData by part. staging : folder that takes the INT8 files.
    """

    folder: Path
    manifest: Manifest
    samples: Samples
    ranges: Mapping[str, Any]
    held_out: HeldOut
    staging: Path

    @property
    def name(self) -> str:
        return fold_name(self.manifest) or self.manifest.name

    def source(self, part: str) -> Path:
        """The part in float."""
        return self.folder / self.manifest.parts[part].files[FLOAT32]

    def target(self, part: str, precision: str) -> Path:
        """The part in INT8."""
        return self.staging / f"{part}.{precision}.onnx"


@dataclass(frozen=True)
class Said:
    """What the bundles of all folds say of their subjects held out."""

    windows: Predictions
    drives: Driven


@dataclass(frozen=True)
class Outcome:
    """INT8 of one kind, in all folds.

    layer_sqnr_db : by fold, part and layer, each quantized alone. part_sqnr_db : by fold and part, all quantized but
    those in `left_in_float`. int8 : what it says of the windows.
    """

    precision: str
    figures: list[Figure]
    worst_subjects: list[WorstSubject]
    left_in_float: Layers
    layer_sqnr_db: list[dict[str, dict[str, float]]]
    part_sqnr_db: list[dict[str, float]]
    int8: Predictions

    @property
    def held(self) -> bool:
        """Whether the gate was held, on windows and on drives."""
        return all(figure.held for figure in self.figures) and any(figure.of == "drives" for figure in self.figures)


def check_folds(manifests: Sequence[Manifest]) -> None:
    """Refuse bundles that cannot be judged together.

    Raises
    ------
    ArgumentError : of several systems, labels or features; or a subject that two of them hold out.
    ArtefactError : as `check_bundle` and `subjects_of`.
    """
    for each in manifests:
        check_bundle(each)
    first, held_out = manifests[0], [subject for each in manifests for subject in subjects_of(each, "held_out")]
    twice = sorted({subject for subject in held_out if held_out.count(subject) > 1})
    kinds = {(each.system, each.labels, each.audio, each.video, each.window) for each in manifests}
    if len(kinds) > 1 or twice:
        what = f"subjects {twice} are held out by two of them" if twice else "they differ in system, labels or features"
        raise ArgumentError(
            f"{len(manifests)} bundles, {first.name} the first, cannot be judged together: {what}; "
            "expected one for each fold of one training."
        )


def say_in_float(folds: Sequence[Fold]) -> Said:
    """What INT8 is compared with."""
    return Said(
        join_predictions([predict_windows(fold.held_out.network, fold.held_out) for fold in folds]),
        join_drives([drive_subjects(fold.held_out.network, fold.held_out) for fold in folds]),
    )


def calibrate(folds: Sequence[Fold], precision: str, in_float: Said, seed: int) -> Outcome:
    """Write INT8 files of one kind for all folds; of those that hold the gate, the ones with most layers in INT8.

    Where none does, the last that were tried are left, and `held` is False.
    """
    layer_sqnr = [
        {
            part: layer_sqnr_db(fold.source(part), fold.ranges[part], precision, fold.samples.batches(part))
            for part in fold.ranges
        }
        for fold in folds
    ]
    order = worst_first(_mean(layer_sqnr))
    if precision == INT8_ONNXRUNTIME and is_large_head(folds[0].source(HEAD)):
        order.insert(0, WHOLE_HEAD)
    expected = [
        {part: embeddings(fold.source(part), fold.samples.batches(part)) for part in fold.ranges} for fold in folds
    ]
    for count in range(int(MOST_IN_FLOAT * len(order)) + 1):
        left_in_float = order[:count]
        part_sqnr = [
            _write_parts(fold, precision, order[count:], of_fold) for fold, of_fold in zip(folds, expected, strict=True)
        ]
        networks = [_open_int8(fold, precision) for fold in folds]
        pairs = [*zip(networks, (fold.held_out for fold in folds), strict=True)]
        windows = join_predictions([predict_windows(*pair) for pair in pairs])
        figures = judge_windows(in_float.windows, windows, seed)
        if all(figure.held for figure in figures):  # drives take long
            figures += judge_drives(in_float.drives, join_drives([drive_subjects(*pair) for pair in pairs]), seed)
        worst = worst_subjects(in_float.windows, windows)
        outcome = Outcome(precision, figures, worst, left_in_float, layer_sqnr, part_sqnr, windows)
        if outcome.held:
            break
    return outcome


def parts_with(fold: Fold, precisions: Sequence[str]) -> dict[str, Part]:
    """The bundle's parts with their INT8 files."""
    parts = {}
    for name, part in fold.manifest.parts.items():
        targets = {precision: fold.target(name, precision) for precision in precisions}
        files = {key: file for key, file in part.files.items() if key not in targets}
        files |= {precision: target.name for precision, target in targets.items() if target.exists()}
        parts[name] = Part(files, part.inputs, part.outputs)
    return parts


def _mean(layer_sqnr: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Over the folds, whose networks have the same layers."""
    return {
        part: {layer: float(np.mean([fold[part][layer] for fold in layer_sqnr])) for layer in layers}
        for part, layers in layer_sqnr[0].items()
    }


def _write_parts(fold: Fold, precision: str, quantized: Layers, expected: Mapping[str, Floats]) -> dict[str, float]:
    """SQNR by part; `expected` : embeddings of the samples in float."""
    found = {}
    for part, ranges in fold.ranges.items():
        target = fold.target(part, precision)
        write_quantized(fold.source(part), target, ranges, precision, [layer for of, layer in quantized if of == part])
        found[part] = sqnr_db(expected[part], embeddings(target, fold.samples.batches(part)))
    head = fold.target(HEAD, precision)
    if WHOLE_HEAD in quantized:
        write_quantized_head(fold.source(HEAD), head)
    else:
        head.unlink(missing_ok=True)
    return found


def _open_int8(fold: Fold, precision: str) -> Network:
    engines = dict(fold.held_out.network.engines)
    targets = {part: fold.target(part, precision) for part in engines}
    engines |= {part: OnnxRuntimeEngine(target) for part, target in targets.items() if target.exists()}
    return network_from_engines(fold.manifest, engines)
