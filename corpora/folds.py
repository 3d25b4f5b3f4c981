"""Subject-disjoint folds of the corpora, as the papers split them; and a random split, which leaks."""

import math
from collections.abc import Iterable, Mapping, Sequence
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

RAVDESS_PAIRS = tuple(zip(RAVDESS_ACTORS[::2], RAVDESS_ACTORS[1::2], strict=True))
"""Validation actors of the twelve folds of Chang & Skarbek 2021, Table 1: A1,2 to A23,24, a man and a woman each."""

CREMA_D_ACTORS = tuple(range(1001, 1092))
CREMA_D_WOMEN = (
    1002, 1003, 1004, 1006, 1007, 1008, 1009, 1010, 1012, 1013, 1018, 1020, 1021, 1024, 1025, 1028, 1029, 1030, 1037,
    1043, 1046, 1047, 1049, 1052, 1053, 1054, 1055, 1056, 1058, 1060, 1061, 1063, 1072, 1073, 1074, 1075, 1076, 1078,
    1079, 1082, 1084, 1089, 1091,
)  # fmt: skip
"""43 of 91 (Cao et al. 2014, VideoDemographics.csv)."""

CREMA_D_FOLDS = 9
"""S1 to S9 of Chang & Skarbek 2021, Table 3."""

MOCANU_FOLDS = 10
"""Mocanu et al. 2023, section 4.1: cross-validation by actor, 80 % training, 10 % validation, 10 % test."""


@dataclass(frozen=True)
class Split:
    """Subjects, by what they are used for.

    train : weights. validation : early stopping and temperatures. test : the figures; none where a paper reports those
    of its validation subjects, on whom its epochs were chosen, too.

    Raises
    ------
    ArgumentError : a subject on two sides; no one to train or to validate on.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        everyone = self.train + self.validation + self.test
        twice = sorted({subject for subject in everyone if everyone.count(subject) > 1})
        if twice or not self.train or not self.validation:
            raise ArgumentError(
                f"split of {len(self.train)}, {len(self.validation)} and {len(self.test)} subjects with {twice} on two "
                "sides; expected each subject once, and at least one to train and one to validate on."
            )


@dataclass(frozen=True)
class DeploymentSplit:
    """Actors of a bundle that is to be deployed, by what they are used for.

    train : weights. validation : early stopping and temperatures. calibration : INT8 ranges. held_out : the figures.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    calibration: tuple[int, ...]
    held_out: tuple[int, ...]

    @property
    def test(self) -> tuple[int, ...]:
        """As of `Split`."""
        return self.held_out


def deployment_split(fold: int) -> DeploymentSplit:
    """Split the 24 actors around one of the five folds, 0..4; validation and calibration get a man and a woman each."""
    held_out = RAVDESS_FIVE_FOLDS[fold]
    rest = [actor for actor in RAVDESS_ACTORS if actor not in held_out]
    men, women = ([actor for actor in rest if actor % 2 == sex] for sex in (1, 0))
    validation, calibration = (men[0], women[0]), (men[1], women[1])
    train = tuple(actor for actor in rest if actor not in validation + calibration)
    return DeploymentSplit(train, validation, calibration, held_out)


def validation_splits(subjects: Sequence[int], folds: Sequence[Sequence[int]]) -> tuple[Split, ...]:
    """One split per fold: its subjects validate, all others train, and none are left to test on."""
    return tuple(Split(tuple(s for s in subjects if s not in fold), tuple(fold)) for fold in folds)


def balanced_folds(men: Sequence[int], women: Sequence[int], count: int) -> tuple[tuple[int, ...], ...]:
    """Deal subjects to `count` folds: each once, and each sex evenly, within one."""
    folds = [[*men[number::count], *women[count - 1 - number :: count]] for number in range(count)]
    return tuple(tuple(sorted(fold)) for fold in folds)


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
        raise ArgumentError(f"{tested} of {count} would be tested; expected some on both sides.")
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[tested:]), np.sort(order[:tested])


def subject_split(
    subjects: npt.NDArray[np.integer], test_fraction: float, seed: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions of the clips of training and of test subjects, who are drawn at random: what `random_split` is not.

    Parameters
    ----------
    subjects : of each clip [shape=(n,)]. test_fraction : of the subjects, rounded up.

    Raises
    ------
    ArgumentError : no subject on one of the sides.

    Examples
    --------
    >>> subject_split(np.array([7, 7, 8, 9]), 0.25, seed=0)
    (array([0, 1, 2]), array([3]))
    """
    everyone = np.unique(subjects)
    tested = everyone[random_split(len(everyone), test_fraction, seed)[1]]
    return np.flatnonzero(~np.isin(subjects, tested)), np.flatnonzero(np.isin(subjects, tested))


_CREMA_D_MEN = tuple(actor for actor in CREMA_D_ACTORS if actor not in CREMA_D_WOMEN)

PROTOCOLS: Mapping[str, Sequence[Split | DeploymentSplit]] = {
    "deployment-ravdess": tuple(deployment_split(fold) for fold in range(len(RAVDESS_FIVE_FOLDS))),
    "luna-jimenez-ravdess": validation_splits(RAVDESS_ACTORS, RAVDESS_FIVE_FOLDS),
    "mrpn-ravdess": validation_splits(RAVDESS_ACTORS, RAVDESS_PAIRS),
    "mrpn-crema-d": validation_splits(
        CREMA_D_ACTORS, balanced_folds(_CREMA_D_MEN, CREMA_D_WOMEN, CREMA_D_FOLDS)
    ),
    "mocanu-ravdess": mocanu_folds(RAVDESS_ACTORS),
    "mocanu-crema-d": mocanu_folds(CREMA_D_ACTORS),
}  # fmt: skip
"""All folds of each protocol, by name."""
