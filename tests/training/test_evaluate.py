"""Figures of merit, by hand."""

import numpy as np
import pytest
from scipy.special import softmax

from training.evaluate import (
    confusion_matrix,
    expected_calibration_error,
    figures_of_merit,
    fit_temperature,
    temper,
)


def probs_saying(predictions, confidence, classes=3):
    """Rows that give `confidence` to their prediction and share the rest."""
    confidence = np.broadcast_to(confidence, len(predictions))
    probs = np.repeat(((1 - confidence) / (classes - 1))[:, None], classes, 1)
    probs[np.arange(len(predictions)), predictions] = confidence
    return probs


def sampled(*, samples=20_000, scale=1.0, seed=0):
    """Labels drawn from softmax(logits), and the probabilities softmax(scale * logits) claimed for them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (samples, 5))
    labels = (softmax(logits, 1).cumsum(1) < rng.random((samples, 1))).sum(1)
    return softmax(scale * logits, 1), labels


def test_confusion_counts_true_in_rows_and_predicted_in_columns():
    found = confusion_matrix(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 2, 2]), 3)
    assert found.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]


def test_accuracy_and_recall_by_hand():
    labels, predictions = np.array([0, 0, 0, 0, 1, 2]), np.array([0, 0, 0, 1, 1, 0])
    figures = figures_of_merit(probs_saying(predictions, 0.5), labels)
    assert figures["accuracy"] == pytest.approx(4 / 6)
    assert figures["uar"] == pytest.approx((3 / 4 + 1 + 0) / 3)
    assert figures["ece"] == pytest.approx(4 / 6 - 0.5)  # always half sure


def test_recall_averages_the_classes_that_are_there():
    labels = np.array([0, 0, 2])
    assert figures_of_merit(probs_saying(np.array([0, 1, 2]), 0.9), labels)["uar"] == pytest.approx((0.5 + 1) / 2)


def test_perfect_predictions_have_perfect_figures():
    labels = np.array([0, 1, 2, 1])
    assert figures_of_merit(probs_saying(labels, 1.0), labels) == {"accuracy": 1.0, "uar": 1.0, "ece": 0.0}


def test_calibration_error_by_hand():
    # Bins of three: sure by 0.4, right 1 in 3; sure by 0.9, right 2 in 3.
    predictions, labels = np.zeros(6, int), np.array([0, 1, 1, 0, 0, 1])
    probs = probs_saying(predictions, np.array([0.4, 0.4, 0.4, 0.9, 0.9, 0.9]))
    expected = (3 * abs(0.4 - 1 / 3) + 3 * abs(0.9 - 2 / 3)) / 6
    assert expected_calibration_error(probs, labels, bins=2) == pytest.approx(expected)


def test_calibration_error_does_not_depend_on_the_order():
    probs, labels = sampled(samples=500)
    order = np.random.default_rng(1).permutation(500)
    assert expected_calibration_error(probs[order], labels[order]) == pytest.approx(
        expected_calibration_error(probs, labels)
    )


def test_calibration_error_does_not_depend_on_the_order_of_the_equally_sure():
    labels = np.repeat(np.arange(3), 20)
    probs = probs_saying(np.zeros(60, int), np.full(60, 0.6))
    assert expected_calibration_error(probs, labels) == pytest.approx(0.6 - 1 / 3)


def test_true_probabilities_are_calibrated_and_exaggerated_ones_are_not():
    assert expected_calibration_error(*sampled()) < 0.02
    assert expected_calibration_error(*sampled(scale=3.0)) > 0.1


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_tempering_divides_the_logits(temperature):
    logits = np.random.default_rng(0).normal(0, 3, (2, 10, 4))
    np.testing.assert_allclose(temper(softmax(logits, -1), temperature), softmax(logits / temperature, -1), rtol=1e-9)


def test_temperature_one_changes_nothing():
    probs, _ = sampled(samples=100)
    np.testing.assert_allclose(temper(probs, 1.0), probs, rtol=1e-12)


def test_tempering_keeps_the_ranking_and_what_is_impossible():
    probs = np.array([[0.7, 0.3, 0.0], [0.2, 0.2, 0.6]])
    found = temper(probs, 3.0)
    assert found.argmax(1).tolist() == [0, 2]
    assert found[0, 2] == 0
    assert found.max() < 0.7
    np.testing.assert_allclose(found.sum(1), 1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0, 12.0])
def test_a_known_temperature_is_recovered(temperature):
    claimed, labels = sampled(scale=temperature)
    assert fit_temperature(claimed, labels) == pytest.approx(temperature, rel=0.05)


def test_impossible_labels_do_not_break_the_temperature():
    probs = np.array([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1]], np.float32)
    assert np.isfinite(fit_temperature(probs, np.array([1, 0, 0])))
