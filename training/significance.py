"""Whether models differ by more than chance: the tests of Luna-Jiménez et al. 2021, section 3.1."""

from collections.abc import Mapping
from itertools import combinations
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from statsmodels.stats.contingency_tables import cochrans_q, mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from bundle.errors import ArgumentError

Correct = Mapping[str, npt.NDArray[np.bool_]]
"""By model: whether each clip was recognised, [shape=(clips,)], the clips in the same order."""

_FEW = 25
"""Clips on which two models differ, under which McNemar's test is exact and not approximate."""


def accuracy_interval(accuracy: float, clips: int, confidence: float = 0.95) -> float:
    """Half width of the confidence interval of an accuracy, 0..1, on `clips` clips: z sqrt(p (1 - p) / n).

    The paper prints no formula. This one, with n = 1440, gives 23 of the 26 intervals of its Tables 1 to 3.

    Raises
    ------
    ArgumentError : an accuracy that is not 0..1, such as one in per cent.

    Examples
    --------
    >>> round(100 * accuracy_interval(0.5708, 1440), 2)
    2.56
    """
    if not 0 <= accuracy <= 1:
        raise ArgumentError(f"accuracy is {accuracy}; expected 0..1. Divide per cent by 100.")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return float(z * np.sqrt(accuracy * (1 - accuracy) / clips))


def wilson_interval(accuracy: float, clips: int, confidence: float = 0.95) -> tuple[float, float]:
    """Ends of Wilson's interval of an accuracy, 0..1, on `clips` clips; it holds near 0 and 1 too (Wilson 1927).

    Clips count as independent, which those of one actor are not quite: between actors, the accuracy moves more.

    Examples
    --------
    >>> [round(end, 4) for end in wilson_interval(0.8, 10)]
    [0.4902, 0.9433]
    """
    low, high = proportion_confint(accuracy * clips, clips, alpha=1 - confidence, method="wilson")
    return float(low), float(high)


def models_differ(correct: Correct) -> float:
    """p-value of Cochran's Q: that all models are right equally often; 1 where no clip tells them apart."""
    right = np.stack(list(correct.values()), 1).astype(int)
    if (right == right[:, :1]).all():  # Q is 0 / 0
        return 1.0
    return float(cochrans_q(right).pvalue)


def contingency(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Clips by who was right [shape=(2, 2)]: rows the first model, columns the second, right before wrong."""
    return np.array([[np.sum((first == a) & (second == b)) for b in (True, False)] for a in (True, False)])


def pairs_differ(correct: Correct) -> dict[tuple[str, str], float]:
    """p-values of McNemar's test of each two models, times the number of pairs (Bonferroni), at most 1.

    Exact (binomial) where the two differ on fewer than 25 clips; otherwise chi-squared with continuity correction.
    """
    pairs = list(combinations(correct, 2))
    p_values = []
    for first, second in pairs:
        table = contingency(correct[first], correct[second])
        p_values.append(mcnemar(table, exact=table[0, 1] + table[1, 0] < _FEW).pvalue)
    adjusted = multipletests(p_values, method="bonferroni")[1]
    return dict(zip(pairs, map(float, adjusted), strict=True))
