"""Predictions of all folds of a training, pooled: each clip is judged by the fold that did not train on its speaker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bundle.errors import ArgumentError, ArtefactError
from bundle.features import PROBS_AUDIO, PROBS_VISUAL
from training.evaluate import Floats, Ints, fit_temperature, temper
from training.predictions import FILE, Predictions, read_predictions


@dataclass(frozen=True)
class Scores:
    """One output's posteriors of all clips.

    system, output : whose. measured_on : "test" or "validation", and whether those had a say in which epoch was kept.
    probs [shape=(n, labels)] : untempered. labels, folds : of each row; clips : its name, `clip_id`, which rows with
    other faces share. temperature : of a single fold, from its validation subjects; None: not known.
    """

    system: str
    output: str
    measured_on: str
    label_names: Sequence[str]
    probs: Floats
    labels: Ints
    folds: Ints
    clips: np.ndarray
    temperature: float | None = None


def pool_runs(folders: Sequence[Path], name: str | None = None) -> list[Scores]:
    """Each output of the trainings in or right below `folders`, which are folds of one system, over all their clips.

    Where there is an output for the sound alone and one for the face alone, their product and mean come last.

    Parameters
    ----------
    name : of the system, for people (default: the system's and the variant's own).

    Raises
    ------
    ArtefactError : no predictions there; folds that differ in more than their subjects; a subject that two folds are
        measured on, or that the measured network was trained on.
    """
    paths = [path for folder in folders for path in _prediction_files(folder)]
    folds = [read_predictions(path) for path in paths]
    for path, fold in zip(paths, folds, strict=True):
        _check_same(paths[0], folds[0], path, fold)
        _check_unseen(path, fold)
    _check_disjoint(paths, folds)
    first = folds[0]
    system = name or f"{first.settings['system']} {first.settings['variant']}"
    scores = [
        Scores(
            system, output, _measured_on(first), first.label_names,
            np.concatenate([fold.probs[output] for fold in folds]),
            np.concatenate([fold.labels for fold in folds]),
            np.repeat(np.arange(len(folds)), [len(fold.labels) for fold in folds]),
            np.concatenate([fold.clips for fold in folds]),
            first.temperatures.get(output) if len(folds) == 1 else None,
        )
        for output in first.probs
    ]  # fmt: skip
    of = {each.output: each for each in scores}
    if PROBS_AUDIO in of and PROBS_VISUAL in of and calibrate(scores[0])[1]:
        scores += baselines(of[PROBS_AUDIO], of[PROBS_VISUAL])
    return scores


def baselines(first: Scores, second: Scores) -> list[Scores]:
    """Product and mean of the calibrated posteriors of two outputs, for the clips of the first: what fusion must beat.

    Raises
    ------
    ArgumentError : they were not measured on the same clips and labels, or cannot be calibrated.
    """
    keys, others = _keys(first), _keys(second)
    if sorted(keys) != sorted(others) or tuple(first.label_names) != tuple(second.label_names):
        raise ArgumentError(
            f"{first.system} ({first.output}) and {second.system} ({second.output}) were not measured on the same "
            f"clips and labels; expected the same corpus, protocol, folds and seed for a baseline of both."
        )
    position = {key: row for row, key in enumerate(others)}
    calibrated = [calibrate(each)[0] for each in (first, second)]
    if calibrated[0] is None or calibrated[1] is None:
        raise ArgumentError("one fold without validation subjects of its own cannot be calibrated; expected two folds.")
    own, other = calibrated[0], calibrated[1][[position[key] for key in keys]]
    system = first.system if first.system == second.system else f"{first.system} x {second.system}"
    product = own * other
    measured_on = " or ".join(dict.fromkeys((first.measured_on, second.measured_on)))
    rules = {"product": product / product.sum(1, keepdims=True), "mean": (own + other) / 2}
    return [
        Scores(system, rule, measured_on, first.label_names, probs, first.labels, first.folds, first.clips)
        for rule, probs in rules.items()
    ]


def calibrate(scores: Scores) -> tuple[Floats | None, list[float]]:
    """Tempered posteriors, each fold's by the temperature of the others' predictions; and the temperatures.

    A single fold's by that of its validation subjects; None where there are none but those that it is measured on.
    """
    folds = np.unique(scores.folds)
    if len(folds) == 1:
        if scores.temperature is None:
            return None, []
        return temper(scores.probs, scores.temperature), [scores.temperature]
    tempered, temperatures = np.empty_like(scores.probs), []
    for fold in folds:
        own = scores.folds == fold
        temperatures.append(fit_temperature(scores.probs[~own], scores.labels[~own]))
        tempered[own] = temper(scores.probs[own], temperatures[-1])
    return tempered, temperatures


def _prediction_files(folder: Path) -> list[Path]:
    found = sorted(folder.glob(f"*/{FILE}"))
    if (folder / FILE).exists():
        if found:
            raise ArtefactError(
                f"{folder} holds {FILE}, and so do its folders, such as {found[0].parent.name}; expected one training. "
                "Name the folders that are meant."
            )
        found = [folder / FILE]
    if not found:
        raise ArtefactError(f"{folder} holds no {FILE}, nor do its folders; expected what edge-train wrote.")
    return found


def _check_same(path: Path, fold: Predictions, other_path: Path, other: Predictions) -> None:
    """All but the split and its subjects' temperatures must be the same."""
    first, second = (_flat(each) for each in (fold, other))
    differ = sorted(key for key in first.keys() | second.keys() if first.get(key) != second.get(key))
    if differ:
        raise ArtefactError(
            f"{path} and {other_path} are no folds of one training: they differ in {', '.join(differ)}."
        )


def _flat(fold: Predictions) -> dict[str, Any]:
    settings = {key: value for key, value in fold.settings.items() if key != "split"}
    training = settings.pop("training", {})
    sides = sorted(fold.split)  # which a protocol has
    return settings | dict(training) | {"measured on": fold.side, "outputs": [*fold.probs], "sides": sides}


def _check_unseen(path: Path, fold: Predictions) -> None:
    known = ("train", "validation") if fold.side == "test" else ("train",)
    seen = {subject for side in known for subject in fold.split[side]} & set(fold.subjects.tolist())
    if seen:
        raise ArtefactError(f"{path} was measured on subjects {sorted(seen)}, whom it was trained on; expected others.")


def _check_disjoint(paths: Sequence[Path], folds: Sequence[Predictions]) -> None:
    measured: dict[int, Path] = {}
    for path, fold in zip(paths, folds, strict=True):
        for subject in np.unique(fold.subjects).tolist():
            if subject in measured:
                raise ArtefactError(
                    f"{measured[subject]} and {path} were both measured on subject {subject}; expected folds of one "
                    "protocol, each once."
                )
            measured[subject] = path


def _measured_on(fold: Predictions) -> str:
    if fold.side == "test":
        return "test"
    training: Mapping[str, Any] = fold.settings.get("training", {})
    kept = {each["keep"] for each in training.values() if isinstance(each, Mapping) and "keep" in each}  # by stage
    return f"validation, {'last' if kept == {'last'} else 'best'} epoch"


def _keys(scores: Scores) -> list[tuple[str, int]]:
    """Name of each row: its clip's, and a number where a clip has several."""
    seen: dict[str, int] = {}
    keys = []
    for clip in scores.clips.tolist():
        seen[clip] = seen.get(clip, 0) + 1
        keys.append((clip, seen[clip]))
    return keys
