"""No subject is ever on two sides."""

import csv
from dataclasses import astuple
from itertools import chain, combinations

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
)


@settings(deadline=None, derandomize=True)
@given(st.data())
def test_no_subject_is_on_two_sides_and_none_is_left_out(data):
    protocol = data.draw(st.sampled_from(sorted(PROTOCOLS)))
    split = data.draw(st.sampled_from(PROTOCOLS[protocol]))
    sides = astuple(split)
    for one, other in combinations(sides, 2):
        assert not set(one) & set(other)
    everyone = {subject for side in astuple(PROTOCOLS[protocol][0]) for subject in side}
    assert sorted(chain(*sides)) == sorted(everyone)
    assert split.train
    assert split.validation


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
