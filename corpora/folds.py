"""Subject-disjoint folds: no actor is ever on two sides."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from bundle.errors import ArgumentError

RAVDESS_ACTORS = tuple(range(1, 25))
"""Odd actors are male, even ones female (Livingstone & Russo 2018)."""

RAVDESS_FIVE_FOLDS = (
    (2, 5, 14, 15, 16),
    (3, 6, 7, 13, 18),
    (10, 11, 12, 19, 20),
    (8, 17, 21, 23, 24),
    (1, 4, 9, 22),
)
"""Validation actors of the five folds of Luna-Jimenez et al. 2021, section 4.1."""

MOCANU_FOLDS = 10
"""Mocanu et al. 2023, section 4.1: cross-validation by actor, 80 % training, 10 % validation, 10 % test."""


@dataclass(frozen=True)
class Split:
    """Subjects of one fold, by what they are used for; none is on two sides."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def mocanu_folds(subjects: Iterable[int]) -> tuple[Split, ...]:
    """The ten folds of any corpus: each subject is tested once, and validated once.

    The paper does not name the actors of a fold. Here they are neighbours by number, so that in RAVDESS, whose odd
    actors are men, each group has both sexes.

    Raises
    ------
    ArgumentError : fewer than ten subjects.
    """
    ordered = sorted(set(subjects))
    if len(ordered) < MOCANU_FOLDS:
        raise ArgumentError(f"{len(ordered)} subjects; expected {MOCANU_FOLDS} or more, one for each fold.")
    starts = [fold * len(ordered) // MOCANU_FOLDS for fold in range(MOCANU_FOLDS + 1)]
    groups = [tuple(ordered[start:end]) for start, end in pairwise(starts)]
    folds = []
    for test, validation in zip(groups, groups[1:] + groups[:1], strict=True):
        train = tuple(subject for subject in ordered if subject not in test + validation)
        folds.append(Split(train, validation, test))
    return tuple(folds)


@dataclass(frozen=True)
class DeploymentSplit:
    """Actors of a bundle that is to be deployed, by what they are used for.

    train : weights. validation : early stopping and temperatures. calibration : INT8 ranges. held_out : the figures.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    calibration: tuple[int, ...]
    held_out: tuple[int, ...]


def deployment_split(fold: int) -> DeploymentSplit:
    """Split the 24 actors around one of the five folds, 0..4; validation and calibration get a man and a woman each."""
    held_out = RAVDESS_FIVE_FOLDS[fold]
    rest = [actor for actor in RAVDESS_ACTORS if actor not in held_out]
    men, women = ([actor for actor in rest if actor % 2 == sex] for sex in (1, 0))
    validation, calibration = (men[0], women[0]), (men[1], women[1])
    train = tuple(actor for actor in rest if actor not in validation + calibration)
    return DeploymentSplit(train, validation, calibration, held_out)
