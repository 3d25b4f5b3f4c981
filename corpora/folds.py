"""Subject-disjoint folds: no actor is ever on two sides."""

from dataclasses import dataclass

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
