"""No actor is ever on two sides; but for the random split, which no clip is on two sides of."""

from dataclasses import astuple
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora.folds import RAVDESS_ACTORS, RAVDESS_FIVE_FOLDS, deployment_split, random_split


def test_five_folds_hold_each_actor_once():
    assert sorted(actor for fold in RAVDESS_FIVE_FOLDS for actor in fold) == list(RAVDESS_ACTORS)


@settings(deadline=None, derandomize=True)
@given(fold=st.integers(0, len(RAVDESS_FIVE_FOLDS) - 1))
def test_no_actor_is_on_two_sides_and_none_is_left_out(fold):
    sides = astuple(deployment_split(fold))
    for one, other in combinations(sides, 2):
        assert not set(one) & set(other)
    assert sorted(actor for side in sides for actor in side) == list(RAVDESS_ACTORS)
    assert all(sides)


@pytest.mark.parametrize("fold", range(5))
def test_held_out_actors_are_the_folds(fold):
    assert deployment_split(fold).held_out == RAVDESS_FIVE_FOLDS[fold]


@pytest.mark.parametrize("fold", range(5))
def test_validation_and_calibration_hear_a_man_and_a_woman(fold):
    split = deployment_split(fold)
    for side in (split.validation, split.calibration):
        assert sorted(actor % 2 for actor in side) == [0, 1]


@settings(deadline=None, derandomize=True)
@given(count=st.integers(2, 200), fraction=st.floats(0.01, 0.5), seed=st.integers(0, 9))
def test_random_split_has_each_clip_on_one_side(count, fraction, seed):
    train, test = random_split(count, fraction, seed)
    assert sorted([*train, *test]) == list(range(count))
    assert len(test) - 1 < count * fraction <= len(test)


def test_random_split_follows_its_seed():
    one, same, other = (random_split(100, 0.2, seed)[1] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_random_split_leaks():
    actors = np.arange(1_440) // 60
    train, test = random_split(1_440, 0.25, seed=0)
    assert set(actors[train]) == set(actors[test]) == set(range(24))


@pytest.mark.parametrize(("count", "fraction"), [(0, 0.5), (10, 0.0), (10, 1.0), (10, 1.5), (10, -0.5), (1, 0.5)])
def test_a_random_split_without_two_sides_is_rejected(count, fraction):
    with pytest.raises(ValueError, match="expected some on both sides"):
        random_split(count, fraction, seed=0)
