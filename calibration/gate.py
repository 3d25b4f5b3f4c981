"""The accuracy gate: what INT8 costs on subjects held out, with intervals, and whether that is little enough.

Subjects are drawn anew, not windows: those of one person are alike (cluster bootstrap: Field & Welsh 2007). With few
subjects the intervals are rough, and rather too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.replay import Driven
from corpora.held_out import Ints, Predictions

Floats = npt.NDArray[np.float64]

RESAMPLES = 2_000

MAX_UAR_DROP = 0.01  # of its upper 95 % bound; the other limits are of the value itself
MAX_CLASS_DROP = 0.03
MIN_AGREEMENT = 0.98
MAX_ECE_CHANGE = 0.02
MAX_MORE_FLIPS = 0.05  # as a share of those in float
MAX_LATER_S = 0.2

ECE_BINS = 10


@dataclass(frozen=True)
class Figure:
    """One figure of the gate.

    of : an output, or "drives". float32, int8 : what is compared, None where there is no such thing. value : the
    difference. low, high : its lower and upper 95 % bound, each one-sided. limit : of `bounded`, "value" or "high".
    """

    of: str
    name: str
    float32: float | None
    int8: float | None
    value: float
    low: float
    high: float
    limit: float
    bounded: str
    held: bool


@dataclass(frozen=True)
class WorstSubject:
    """Who loses most: the drop of the subject's UAR."""

    of: str
    subject: int
    uar_drop: float


def resample_weights(subjects: int, seed: int) -> Floats:
    """How often each subject is drawn [shape=(1 + RESAMPLES, subjects)]; in the first row, each once."""
    drawn = np.random.default_rng(seed).multinomial(subjects, np.full(subjects, 1 / subjects), RESAMPLES)
    return np.vstack([np.ones((1, subjects)), drawn])


def judge_windows(float32: Predictions, int8: Predictions, seed: int) -> list[Figure]:
    """Figures of each output; both predictions are of the same windows."""
    who, rows = np.unique(float32.subjects, return_inverse=True)
    weights = resample_weights(len(who), seed)
    figures = []
    for name, probs in float32.probs.items():
        outputs = probs, int8.probs[name]
        counts = [subject_confusions(float32.labels, output, rows, len(who)) for output in outputs]
        agrees = np.bincount(rows, outputs[0].argmax(1) == outputs[1].argmax(1), len(who))
        sizes = np.bincount(rows, minlength=len(who))
        recalls = [recalls_by_class(weights, count) for count in counts]
        uars = [np.nanmean(recall, 1) for recall in recalls]
        eces = [calibration_errors(weights[:, rows], output, float32.labels) for output in outputs]
        worst = int(np.nanargmax(recalls[0][0] - recalls[1][0]))
        figures += [
            _figure(name, "UAR drop", uars[0] - uars[1], MAX_UAR_DROP, uars, bounded="high"),
            _figure(
                name, "drop of the worst class", np.nanmax(recalls[0] - recalls[1], 1), MAX_CLASS_DROP,
                [recall[:, worst] for recall in recalls],
            ),
            _figure(name, "disagreement", 1 - weights @ agrees / (weights @ sizes), 1 - MIN_AGREEMENT),
            _figure(name, "change of calibration error", np.abs(eces[1] - eces[0]), MAX_ECE_CHANGE, eces),
        ]  # fmt: skip
    return figures


def judge_drives(float32: Driven, int8: Driven, seed: int) -> list[Figure]:
    """Figures at the level that a car sees; both of the same drives."""
    weights = resample_weights(len(float32.subjects), seed)
    hours, changes = weights @ float32.hours, np.maximum(weights @ float32.changes, 1)
    flips = [weights @ driven.flips / hours for driven in (float32, int8)]
    delays = [weights @ driven.delay_s / changes for driven in (float32, int8)]
    more_flips = (flips[1] - flips[0]) / np.maximum(flips[0], 1 / hours)  # in float there may be none
    return [
        _figure("drives", "more state flips", more_flips, MAX_MORE_FLIPS, flips),
        _figure("drives", "later detection", delays[1] - delays[0], MAX_LATER_S, delays),
    ]


def worst_subjects(float32: Predictions, int8: Predictions) -> list[WorstSubject]:
    """Whose UAR drops most, by output."""
    who, rows = np.unique(float32.subjects, return_inverse=True)
    alone = np.eye(len(who))
    found = []
    for name, probs in float32.probs.items():
        before, after = (
            np.nanmean(recalls_by_class(alone, subject_confusions(float32.labels, output, rows, len(who))), 1)
            for output in (probs, int8.probs[name])
        )
        worst = int((before - after).argmax())
        found.append(WorstSubject(name, int(who[worst]), round(float((before - after)[worst]), 6)))
    return found


def subject_confusions(labels: Ints, probs: npt.NDArray[np.floating], rows: Ints, subjects: int) -> Floats:
    """Counts [shape=(subjects, classes, classes)], true by predicted; rows : position of each window's subject."""
    classes = probs.shape[1]
    cells = (rows * classes + labels) * classes + probs.argmax(1)
    return np.bincount(cells, minlength=subjects * classes**2).reshape(subjects, classes, classes).astype(float)


def recalls_by_class(weights: Floats, confusions: Floats) -> Floats:
    """[shape=(n, classes)] for weights [shape=(n, subjects)]; nan for a class that no one drawn has."""
    counts = np.tensordot(weights, confusions, 1)
    totals = counts.sum(2)
    hits = np.diagonal(counts, axis1=1, axis2=2)
    return np.divide(hits, totals, out=np.full_like(hits, np.nan), where=totals > 0)


def calibration_errors(weights: Floats, probs: npt.NDArray[np.floating], labels: Ints) -> Floats:
    """Expected calibration error over ten bins of equal mass (Nguyen & O'Connor 2015) [shape=(n,)].

    weights : of the windows [shape=(n, windows)].
    """
    confidence = probs.max(1).astype(float)
    order = np.argsort(confidence, kind="stable")
    gaps = (confidence - (probs.argmax(1) == labels))[order]
    ordered = weights[:, order]
    ends = np.cumsum(ordered, 1)
    bins = np.minimum((ends - ordered) * ECE_BINS // ends[:, -1:], ECE_BINS - 1)
    summed = np.stack([((bins == number) * ordered) @ gaps for number in range(ECE_BINS)])
    return np.abs(summed).sum(0) / ends[:, -1]


def _figure(
    of: str, name: str, values: Floats, limit: float, compared: Sequence[Floats] | None = None, bounded: str = "value"
) -> Figure:
    """Of statistics whose first is that of all subjects and whose others are those of the resamples."""
    value, (low, high) = values[0], np.quantile(values[1:], (0.05, 0.95))
    before, after = (float(round(c[0], 6)) for c in compared) if compared else (None, None)
    held = bool((high if bounded == "high" else value) <= limit)
    value, low, high = (round(float(number), 6) for number in (value, low, high))
    return Figure(of, name, before, after, value, low, high, round(limit, 6), bounded, held)
