"""Intervals as the paper prints them, and tests of significance from tables small enough to work out by hand."""

from math import comb, exp, sqrt

import numpy as np
import pytest

from bundle.errors import ArgumentError
from training.significance import accuracy_interval, contingency, models_differ, pairs_differ

RAVDESS_CLIPS = 1440

PRINTED = [  # accuracy and interval, Tables 1, 2 and 3
    (43.32, 2.56), (45.80, 2.57), (39.73, 2.53), (37.22, 2.50), (60.72, 2.52), (61.67, 2.51), (75.25, 2.23),
    (39.88, 2.53), (54.20, 2.57), (30.49, 2.38), (30.35, 2.37), (38.87, 2.52), (39.75, 2.53), (50.40, 2.58),
    (48.77, 2.58), (53.85, 2.57), (51.70, 2.58), (56.87, 2.56), (46.48, 2.58), (46.13, 2.57), (54.14, 2.57),
    (57.08, 2.56), (55.82, 2.56),
]  # fmt: skip
PRINTED_LOWER = [(76.58, 2.18), (55.07, 2.56), (54.20, 2.56)]
"""By 0.01; Table 2 has 2.57 for the last, as the formula."""


@pytest.mark.parametrize(("accuracy", "interval"), PRINTED)
def test_intervals_are_those_printed(accuracy, interval):
    assert round(100 * accuracy_interval(accuracy / 100, RAVDESS_CLIPS), 2) == interval


@pytest.mark.parametrize(("accuracy", "interval"), PRINTED_LOWER)
def test_three_intervals_are_a_hundredth_above_those_printed(accuracy, interval):
    assert round(100 * accuracy_interval(accuracy / 100, RAVDESS_CLIPS) - 0.01, 2) == interval


def test_interval_is_the_normal_approximation_of_the_binomial():
    assert accuracy_interval(0.5, 100) == pytest.approx(1.959964 * sqrt(0.25 / 100), rel=1e-6)
    assert accuracy_interval(0.9, 400, confidence=0.99) == pytest.approx(2.575829 * sqrt(0.09 / 400), rel=1e-6)
    assert accuracy_interval(1.0, 10) == 0


@pytest.mark.parametrize("accuracy", [57.08, -0.1, float("nan")])
def test_an_accuracy_in_per_cent_is_rejected(accuracy):
    with pytest.raises(ArgumentError, match=r"expected 0\.\.1\. Divide per cent by 100"):
        accuracy_interval(accuracy, RAVDESS_CLIPS)


def models(first, second, both, none):
    """Two models: clips right by the first only, the second only, both, none."""
    columns = [(True, False)] * first + [(False, True)] * second + [(True, True)] * both + [(False, False)] * none
    right = np.array(columns)
    return {"first": right[:, 0], "second": right[:, 1]}


def test_contingency_counts_clips_by_who_was_right():
    correct = models(first=3, second=1, both=5, none=2)
    assert contingency(correct["first"], correct["second"]).tolist() == [[5, 3], [1, 2]]


def test_few_differences_are_compared_exactly():
    p = pairs_differ(models(first=9, second=2, both=30, none=4))["first", "second"]
    assert p == pytest.approx(2 * sum(comb(11, k) for k in range(3)) / 2**11)  # binomial, both tails


def test_many_differences_are_compared_by_chi_squared():
    p = pairs_differ(models(first=40, second=15, both=100, none=20))["first", "second"]
    statistic = (abs(40 - 15) - 1) ** 2 / (40 + 15)  # McNemar 1947, corrected for continuity
    assert p == pytest.approx(_chi_squared_tail_of_one_degree(statistic), rel=1e-9)


def _chi_squared_tail_of_one_degree(statistic):
    """Probability of more, by summing the density of a normal variable."""
    z = np.linspace(sqrt(statistic), 40, 2_000_001)
    return 2 * np.trapezoid(np.exp(-(z**2) / 2), z) / sqrt(2 * np.pi)


def test_pairs_are_corrected_for_their_number():
    three = models(first=14, second=2, both=30, none=4)
    three["third"] = three["second"].copy()
    three["third"][:5] = True  # right on five of the clips of which the first alone was
    adjusted = pairs_differ(three)
    alone = {pair: pairs_differ({name: three[name] for name in pair})[pair] for pair in adjusted}
    assert list(adjusted) == [("first", "second"), ("first", "third"), ("second", "third")]
    assert len(set(alone.values())) == 3
    assert adjusted == pytest.approx({pair: min(1, 3 * p) for pair, p in alone.items()})
    assert adjusted["first", "second"] < adjusted["second", "third"] < 1
    assert pairs_differ({"second": three["second"], "same": three["second"]}) == {("second", "same"): 1}


def test_cochrans_q_by_hand():
    """Three models on six clips: column totals 5, 2, 2, row totals 1, 2, 3, 1, 1, 1."""
    right = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 0, 0], [0, 0, 1]], bool)
    correct = dict(zip("abc", right.T, strict=True))
    q = (3 - 1) * (3 * (25 + 4 + 4) - 9**2) / (3 * 9 - (1 + 4 + 9 + 1 + 1 + 1))
    assert q == 3.6
    assert models_differ(correct) == pytest.approx(exp(-q / 2))  # chi-squared of two degrees


def test_models_that_are_right_on_the_same_clips_do_not_differ():
    right = np.array([True, False, True])
    assert models_differ({"a": right, "b": right, "c": right.copy()}) == 1


def test_models_alike_do_not_differ():
    rng = np.random.default_rng(0)
    correct = {name: rng.random(400) < 0.7 for name in "abc"}
    assert models_differ(correct) > 0.05
    assert models_differ(correct | {"d": rng.random(400) < 0.4}) < 0.001
