"""No actor is ever on two sides; but for the random split, which no clip is on two sides of."""

import csv
from dataclasses import astuple
from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import ArgumentError
from corpora.folds import (
    CREMA_D_ACTORS,
    CREMA_D_WOMEN,
    PROTOCOLS,
    RAVDESS_ACTORS,
    RAVDESS_FIVE_FOLDS,
    RAVDESS_PAIRS,
    Split,
    balanced_folds,
    deployment_split,
    mocanu_folds,
    random_split,
    subject_split,
    validation_splits,
)


def assert_apart(split, everyone):
    sides = astuple(split)
    for one, other in combinations(sides, 2):
        assert not set(one) & set(other)
    assert sorted(chain(*sides)) == sorted(everyone)
    assert split.train
    assert split.validation


FOLDS = {
    "deployment-ravdess": 5, "luna-jimenez-ravdess": 5, "mrpn-ravdess": 12, "mrpn-crema-d": 9, "mocanu-ravdess": 10,
    "mocanu-crema-d": 10,
}  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_subject_is_on_two_sides_and_none_is_left_out(protocol):
    assert len(PROTOCOLS[protocol]) == FOLDS[protocol]
    for split in PROTOCOLS[protocol]:
        assert_apart(split, RAVDESS_ACTORS if protocol.endswith("ravdess") else CREMA_D_ACTORS)


@settings(deadline=None, derandomize=True)
@given(subjects=st.sets(st.integers(1, 2_000), min_size=10, max_size=100), seed=st.integers(0, 99))
def test_no_subject_of_any_corpus_is_on_two_sides(subjects, seed):
    order = np.random.default_rng(seed).permutation(sorted(subjects)).tolist()
    dealt = balanced_folds(order[::2], order[1::2], 5)
    for split in (*mocanu_folds(order), *validation_splits(order, dealt)):
        assert_apart(split, order)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_subject_is_held_out_once_per_protocol(protocol):
    splits = PROTOCOLS[protocol]
    held_out = [subject for split in splits for subject in split.test or split.validation]
    assert sorted(held_out) == sorted(chain(*astuple(splits[0])))


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [((1, 2), (2,), ()), ((1,), (2,), (1,)), ((1,), (2,), (2,)), ((1, 1), (2,), ()), ((), (1,), ()), ((1,), (), (2,))],
)
def test_a_split_with_a_subject_twice_or_an_empty_side_is_refused(train, validation, test):
    with pytest.raises(ArgumentError, match="expected each subject once"):
        Split(train, validation, test)


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


def test_twelve_pairs_are_a_man_and_a_woman_each():
    assert RAVDESS_PAIRS[0] == (1, 2)
    assert RAVDESS_PAIRS[-1] == (23, 24)
    assert [split.validation for split in PROTOCOLS["mrpn-ravdess"]] == list(RAVDESS_PAIRS)
    assert all(man % 2 == 1 and woman % 2 == 0 for man, woman in RAVDESS_PAIRS)


def test_crema_d_folds_hold_a_tenth_of_the_actors_each_and_both_sexes_evenly():
    splits = PROTOCOLS["mrpn-crema-d"]
    assert len(splits) == 9
    assert {len(split.validation) for split in splits} == {10, 11}
    women = [len(set(split.validation) & set(CREMA_D_WOMEN)) for split in splits]
    assert set(women) == {4, 5}
    assert {len(split.validation) - count for split, count in zip(splits, women, strict=True)} == {5, 6}


@pytest.mark.data
def test_crema_d_actors_are_those_of_its_table(data_folder):
    with (data_folder / "crema-d" / "VideoDemographics.csv").open(newline="") as file:
        sexes = {int(row["ActorID"]): row["Sex"] for row in csv.DictReader(file)}
    assert tuple(sexes) == CREMA_D_ACTORS
    assert tuple(actor for actor, sex in sexes.items() if sex == "Female") == CREMA_D_WOMEN


@settings(deadline=None, derandomize=True)
@given(men=st.integers(0, 40), women=st.integers(0, 40), count=st.integers(1, 12))
def test_balanced_folds_deal_each_subject_once_and_each_sex_evenly(men, women, count):
    folds = balanced_folds(range(men), range(100, 100 + women), count)
    assert len(folds) == count
    assert sorted(chain(*folds)) == [*range(men), *range(100, 100 + women)]
    for first, last in ((0, 100), (100, 200)):
        sizes = [sum(first <= subject < last for subject in fold) for fold in folds]
        assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("fold", range(5))
def test_held_out_actors_are_the_folds(fold):
    split = deployment_split(fold)
    assert split.test == split.held_out == RAVDESS_FIVE_FOLDS[fold]


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


@settings(deadline=None, derandomize=True)
@given(
    subjects=st.lists(st.integers(1, 9), min_size=2, max_size=60).filter(lambda s: len(set(s)) > 1),
    fraction=st.floats(0.01, 0.5), seed=st.integers(0, 9),
)  # fmt: skip
def test_subject_split_has_each_subject_on_one_side(subjects, fraction, seed):
    train, test = subject_split(np.array(subjects), fraction, seed)
    assert sorted([*train, *test]) == list(range(len(subjects)))
    trained, tested = ({subjects[position] for position in side} for side in (train, test))
    assert not trained & tested
    assert len(tested) - 1 < len(set(subjects)) * fraction <= len(tested)


@pytest.mark.parametrize(("count", "fraction"), [(0, 0.5), (10, 0.0), (10, 1.0), (10, 1.5), (10, -0.5), (1, 0.5)])
def test_a_random_split_without_two_sides_is_rejected(count, fraction):
    with pytest.raises(ValueError, match="expected some on both sides"):
        random_split(count, fraction, seed=0)
