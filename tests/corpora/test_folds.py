"""No actor is ever on two sides; but for the random split, which no clip is on two sides of."""

from dataclasses import astuple
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import ArgumentError
from corpora.folds import RAVDESS_ACTORS, RAVDESS_FIVE_FOLDS, deployment_split, mocanu_folds, random_split


def test_five_folds_hold_each_actor_once():
    assert sorted(actor for fold in RAVDESS_FIVE_FOLDS for actor in fold) == list(RAVDESS_ACTORS)


@pytest.mark.parametrize("subjects", [RAVDESS_ACTORS, range(1001, 1092), range(10)], ids=["RAVDESS", "CREMA-D", "ten"])
def test_mocanu_s_ten_folds_are_eighty_ten_ten_by_actor(subjects):
    folds = mocanu_folds(subjects)
    assert len(folds) == 10
    for fold in folds:
        assert sorted(fold.train + fold.validation + fold.test) == list(subjects)
        assert abs(len(fold.test) - len(subjects) / 10) < 1
        assert abs(len(fold.validation) - len(subjects) / 10) < 1
    assert [fold.validation for fold in folds] == [fold.test for fold in folds[1:] + folds[:1]]
    for side in ("validation", "test"):  # each subject once
        assert sorted(subject for fold in folds for subject in getattr(fold, side)) == list(subjects)


def test_mocanu_s_folds_of_ravdess_have_both_sexes_on_every_side():
    for fold in mocanu_folds(RAVDESS_ACTORS):
        for side in (fold.train, fold.validation, fold.test):
            assert {actor % 2 for actor in side} == {0, 1}


def test_mocanu_s_folds_do_not_depend_on_the_order_of_clips():
    clips = [actor for actor in reversed(RAVDESS_ACTORS) for _ in range(3)]
    assert mocanu_folds(clips) == mocanu_folds(RAVDESS_ACTORS)


def test_fewer_subjects_than_folds_are_rejected():
    with pytest.raises(ArgumentError, match="9 subjects; expected 10 or more"):
        mocanu_folds(range(9))


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
