"""No actor is ever on two sides."""

from dataclasses import astuple
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpora.folds import RAVDESS_ACTORS, RAVDESS_FIVE_FOLDS, deployment_split


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
