"""What a manifest says of its INT8 files: from whom they come, by what, and how they stood the gate."""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from calibration.calibrate import Fold, Outcome
from calibration.ranges import Method, ranges_sha256
from calibration.samples import fold_name, subjects_of


def passport(folds: Sequence[Fold], position: int, method: Method, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The `calibration` entry of the manifest of one of `folds`, which were judged together.

    subjects, fold, samples, method : of the calibration. preprocessing_sha256 : of the features' definitions.
    versions : of the libraries. ranges_sha256 : by part. sqnr_db, left_in_float : by precision and part; of a part that
    is in INT8 whole, none is left. gate : by precision: whether it held, on whom, and all figures.
    """
    fold = folds[position]
    return {
        "subjects": [*fold.samples.subjects],
        "fold": fold_name(fold.manifest),
        "samples": {part: len(arrays) for part, arrays in fold.samples.inputs.items()},
        "method": method,
        "preprocessing_sha256": fold.samples.preprocessing_sha256,
        "versions": {name: version(name) for name in ("numpy", "onnx", "onnxruntime")},
        "ranges_sha256": {part: ranges_sha256(ranges) for part, ranges in fold.ranges.items()},
        "sqnr_db": {outcome.precision: outcome.part_sqnr_db[position] for outcome in outcomes},
        "left_in_float": {outcome.precision: _left_in_float(outcome, fold) for outcome in outcomes},
        "gate": {outcome.precision: _gate(outcome, folds) for outcome in outcomes},
    }


def _left_in_float(outcome: Outcome, fold: Fold) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {
        part: [] for part in fold.manifest.parts if fold.target(part, outcome.precision).exists()
    }
    for part, layer in outcome.left_in_float:
        found.setdefault(part, []).append(layer)
    return found


def _gate(outcome: Outcome, folds: Sequence[Fold]) -> dict[str, Any]:
    return {
        "held": outcome.held,
        "folds": [fold.name for fold in folds],
        "subjects": sorted(subject for fold in folds for subject in subjects_of(fold.manifest, "held_out")),
        "windows": len(outcome.int8.labels),
        "figures": [asdict(figure) for figure in outcome.figures],
        "worst_subjects": [asdict(worst) for worst in outcome.worst_subjects],
    }
