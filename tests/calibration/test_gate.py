"""The gate's figures, by hand and by brute force."""

from dataclasses import replace

import numpy as np
import pytest

from bundle.features import PROBS
from calibration import gate
from calibration.gate import (
    RESAMPLES,
    Figure,
    calibration_errors,
    judge_drives,
    judge_windows,
    resample_weights,
    worst_subjects,
)
from calibration.replay import Driven
from corpora.held_out import Predictions

CLASSES, SUBJECTS, EACH = 4, 6, 40


def predictions(hits: float, seed: int = 0) -> Predictions:
    """Sharp probabilities of six subjects, a share `hits` of them right."""
    rng = np.random.default_rng(seed)
    subjects = np.repeat(np.arange(SUBJECTS) + 10, EACH)
    labels = np.tile(np.arange(CLASSES), SUBJECTS * EACH // CLASSES)
    said = np.where(rng.random(len(labels)) < hits, labels, (labels + 1) % CLASSES)
    probs = (0.1 + 0.6 * np.eye(CLASSES)[said] + 0.01 * rng.random((len(labels), CLASSES))).astype(np.float32)
    return Predictions(subjects, labels, {name: probs / probs.sum(1, keepdims=True) for name in PROBS})


def with_answers(given: Predictions, rows: np.ndarray, answer: int) -> Predictions:
    """The same, but for those rows, which all outputs take for `answer`."""
    changed = {name: probs.copy() for name, probs in given.probs.items()}
    for probs in changed.values():
        probs[rows] = 0.1 + 0.6 * np.eye(CLASSES)[answer]
    return replace(given, probs=changed)


def by_name(figures: list[Figure], of: str = PROBS[0]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures if figure.of == of}


def uar(labels: np.ndarray, answers: np.ndarray) -> float:
    return float(np.mean([(answers[labels == label] == label).mean() for label in np.unique(labels)]))


def test_equal_predictions_hold_with_no_difference() -> None:
    given = predictions(0.7)
    figures = judge_windows(given, given, seed=0)
    assert [figure.of for figure in figures] == [name for name in PROBS for _ in range(4)]
    assert all(figure.held for figure in figures)
    assert {(figure.value, figure.low, figure.high) for figure in figures} == {(0, 0, 0)}


def test_drop_of_uar_is_that_of_all_windows_and_its_bound_that_of_a_plain_bootstrap() -> None:
    before, after = predictions(0.75), predictions(0.70, seed=1)
    found = by_name(judge_windows(before, after, seed=3))["UAR drop"]
    answers = [each.probs[PROBS[0]].argmax(1) for each in (before, after)]
    assert found.value == pytest.approx(uar(before.labels, answers[0]) - uar(before.labels, answers[1]), abs=1e-6)
    drops = []
    for weights in resample_weights(SUBJECTS, seed=3)[1:201].astype(int):
        rows = np.concatenate(
            [np.tile(np.flatnonzero(before.subjects == 10 + number), count) for number, count in enumerate(weights)]
        ).astype(int)
        drops.append(uar(before.labels[rows], answers[0][rows]) - uar(before.labels[rows], answers[1][rows]))
    assert found.low < np.median(drops) < found.high
    assert found.high == pytest.approx(np.quantile(drops, 0.95), abs=0.02)


def test_upper_bound_fails_where_the_value_alone_would_hold() -> None:
    given = predictions(0.9)
    first = np.flatnonzero((given.subjects == 10) & (given.labels == 0))[:2]  # of one subject alone
    found = by_name(judge_windows(given, with_answers(given, first, 1), seed=0))["UAR drop"]
    assert found.value <= gate.MAX_UAR_DROP < found.high
    assert not found.held


def test_one_class_that_is_lost_fails_though_the_others_gain() -> None:
    given = predictions(0.7)
    lost = np.flatnonzero(given.labels == 2)[:10]
    found = by_name(judge_windows(given, with_answers(given, lost, 3), seed=0))["drop of the worst class"]
    right = (given.probs[PROBS[0]].argmax(1) == given.labels)[given.labels == 2]
    assert found.value == pytest.approx(right[:10].sum() / len(right), abs=1e-6)
    assert (found.float32, found.int8) == (
        pytest.approx(right.mean(), abs=1e-6),
        pytest.approx(right[10:].sum() / len(right), abs=1e-6),
    )
    assert not found.held


@pytest.mark.parametrize(("changed", "held"), [(4, True), (5, False)])
def test_two_per_cent_may_disagree(changed: int, held: bool) -> None:
    given = predictions(1.0)
    found = by_name(judge_windows(given, with_answers(given, np.arange(0, 4 * changed, 4), 1), seed=0))
    assert found["disagreement"].value == pytest.approx(changed / (SUBJECTS * EACH), abs=1e-6)
    assert found["disagreement"].held == held


def test_calibration_that_changes_fails_though_every_answer_is_the_same() -> None:
    given = predictions(0.7)
    sharper = {name: (probs**2 / (probs**2).sum(1, keepdims=True)) for name, probs in given.probs.items()}
    found = by_name(judge_windows(given, replace(given, probs=sharper), seed=0))
    assert found["disagreement"].value == 0
    assert found["change of calibration error"].value > gate.MAX_ECE_CHANGE
    assert not found["change of calibration error"].held


@pytest.mark.parametrize("name", PROBS)
def test_every_output_is_judged(name: str) -> None:
    given = predictions(0.7)
    spoiled = replace(given, probs={**given.probs, name: np.roll(given.probs[name], 1, 1)})
    failed = {figure.of for figure in judge_windows(given, spoiled, seed=0) if not figure.held}
    assert failed == {name}


def test_calibration_error_is_that_of_bins_of_equal_mass() -> None:
    given = predictions(0.6)
    probs, labels = given.probs[PROBS[0]], given.labels
    order = np.argsort(probs.max(1), kind="stable")
    right = probs.argmax(1) == labels
    expected = sum(
        len(part) / len(order) * abs(probs.max(1)[part].mean() - right[part].mean()) for part in np.split(order, 10)
    )
    assert calibration_errors(np.ones((1, len(labels))), probs, labels)[0] == pytest.approx(expected, abs=1e-6)


def test_calibration_error_of_weights_is_that_of_copies() -> None:
    given = predictions(0.6)
    probs, labels = given.probs[PROBS[0]], given.labels
    weights = np.full(len(labels), 3.0)
    copies = calibration_errors(np.ones((1, 3 * len(labels))), probs.repeat(3, 0), labels.repeat(3))
    np.testing.assert_allclose(calibration_errors(weights[None], probs, labels), copies, atol=1e-9)


def test_worst_subject_is_named_with_its_drop() -> None:
    given = predictions(0.9)
    rows = np.flatnonzero((given.subjects == 13) & (given.labels == 1))
    worst = worst_subjects(given, with_answers(given, rows, 0))
    right = (given.probs[PROBS[0]].argmax(1) == given.labels)[rows].mean()
    assert [(each.of, each.subject) for each in worst] == [(name, 13) for name in PROBS]
    assert worst[0].uar_drop == pytest.approx(right / CLASSES, abs=1e-6)


def test_subjects_are_drawn_with_replacement_and_the_same_each_time() -> None:
    weights = resample_weights(5, seed=7)
    assert weights.shape == (1 + RESAMPLES, 5)
    assert (weights[0] == 1).all()
    assert (weights.sum(1) == 5).all()
    assert weights.max() > 2
    np.testing.assert_array_equal(weights, resample_weights(5, seed=7))


def driven(flips: list[float], delay_s: list[float]) -> Driven:
    subjects = np.arange(len(flips))
    return Driven(subjects, np.full(len(flips), 0.1), np.array(flips), np.full(len(flips), 10.0), np.array(delay_s))


@pytest.mark.parametrize(("flips", "held"), [([21, 42], True), ([22, 42], False)])
def test_five_per_cent_more_flips_are_held(flips: list[float], held: bool) -> None:
    found = by_name(judge_drives(driven([20, 40], [20, 20]), driven(flips, [20, 20]), seed=0), "drives")
    assert found["more state flips"].float32 == pytest.approx(300)  # per hour
    assert found["more state flips"].value == pytest.approx(sum(flips) / 60 - 1, abs=1e-6)
    assert found["more state flips"].held == held


@pytest.mark.parametrize(("delay_s", "held"), [([20, 23.9], True), ([20, 24.1], False)])
def test_detection_may_be_a_fifth_of_a_second_later(delay_s: list[float], held: bool) -> None:
    found = by_name(judge_drives(driven([20, 40], [20, 20]), driven([20, 40], delay_s), seed=0), "drives")
    assert found["later detection"].float32 == pytest.approx(2)
    assert found["later detection"].value == pytest.approx(sum(delay_s) / 20 - 2, abs=1e-6)
    assert found["later detection"].held == held


def test_flips_where_float_has_none_fail_and_none_hold() -> None:
    calm = driven([0, 0], [1, 1])
    assert all(figure.held for figure in judge_drives(calm, calm, seed=0))
    assert not by_name(judge_drives(calm, driven([1, 0], [1, 1]), seed=0), "drives")["more state flips"].held
