"""Subject-disjoint folds, in which no actor is ever on two sides; and a random split, which leaks."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

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


def random_split(count: int, test_fraction: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions of training and of test clips, drawn at random: the split behind Srinivas & Mishra 2022. It leaks.

    All actors are on both sides, so what it measures is how well known voices and faces are read; and where a clip is
    present in several versions, as in that paper, its own versions are on both sides too. For comparison with such
    figures only: whatever is to be deployed is split by `deployment_split`.

    The paper names no split; its section III-A and Table VI count 1/4 of RAVDESS and 1/5 of CREMA-D as tested,
    versions of clips included.

    Parameters
    ----------
    count : clips. test_fraction : of them, rounded up.

    Raises
    ------
    ArgumentError : one of the sides is empty.

    Examples
    --------
    >>> train, test = random_split(4_320, 0.25, seed=0)
    >>> len(train), len(test)
    (3240, 1080)
    """
    tested = math.ceil(count * test_fraction)
    if not 0 < tested < count:
        raise ArgumentError(f"{tested} of {count} clips would be tested; expected some on both sides.")
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[tested:]), np.sort(order[:tested])
