"""Marginal Fisher Analysis (Yan et al. 2007; Srinivas & Mishra 2022, Eq. 15-22): a linear map that tells classes apart.

Samples are rows here, columns of X in the papers: X L X^T is features.T @ L @ features.
"""

import numpy as np
import numpy.typing as npt
import scipy.linalg
from scipy.spatial.distance import cdist

from bundle.errors import ArgumentError

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer]
Graph = npt.NDArray[np.bool_]

NEIGHBOURS = 5
"""k1 of Eq. 16; the paper is silent."""

PAIRS = 2_000
"""k2 of Eq. 19, of each class; the paper is silent. Nearest pairs share samples, and with few of them the features that
can be found are fewer than 162."""

RIDGE = 1e-3
"""Of the mean compactness, added in all directions: few samples leave some in which a class does not vary at all."""

_NEGLIGIBLE = 1e-9


def marginal_fisher(
    features: Floats,
    labels: Labels,
    size: int,
    *,
    neighbours: int = NEIGHBOURS,
    pairs: int = PAIRS,
    ridge: float = RIDGE,
) -> tuple[Floats, Floats]:
    """W of Eq. 20, float64 [shape=(d, size)], and its separations: features @ W holds classes together, and apart.

    The paper's Eq. 22 asks for the smallest lambda of L y = lambda L^P y. With fewer edges or samples than features
    L^P is singular, so this solves for the largest 1 / lambda: the separations [shape=(size,)], largest first.
    Columns are scaled to unit compactness; those in which no two classes are apart are zero.

    Parameters
    ----------
    features : float64 [shape=(n, d)]. labels : integers [shape=(n,)]. size : features to find, 1..d.
    neighbours, pairs : of the graphs. ridge : fraction of the mean compactness.

    Raises
    ------
    ArgumentError : shapes that do not fit; a size that is not within 1..d; fewer than two classes.
    """
    if features.ndim != 2 or labels.shape != features.shape[:1] or not 1 <= size <= features.shape[1]:
        raise ArgumentError(
            f"features have shape {features.shape}, labels {labels.shape}, size is {size}; "
            "expected (n, d), (n,) and 1 <= size <= d."
        )
    if len(np.unique(labels)) < 2:
        raise ArgumentError(f"all labels are {np.unique(labels)}; expected two classes or more.")
    compactness = features.T @ laplacian(intrinsic_graph(features, labels, neighbours)) @ features
    separability = features.T @ laplacian(penalty_graph(features, labels, pairs)) @ features
    d = len(compactness)
    compactness += (ridge * np.trace(compactness) / d or 1.0) * np.eye(d)
    separations, vectors = scipy.linalg.eigh(separability, compactness, subset_by_index=(d - size, d - 1))
    separations, vectors = separations[::-1], vectors[:, ::-1]
    apart = separations > _NEGLIGIBLE * separations[0]
    return vectors * apart, separations * apart


def intrinsic_graph(features: Floats, labels: Labels, neighbours: int) -> Graph:
    """S of Eq. 16, [shape=(n, n)]: i and j are alike, one among the other's nearest neighbours of its class."""
    distances = cdist(features, features)
    distances[labels[:, None] != labels] = np.inf
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :neighbours]
    graph = np.zeros(distances.shape, bool)
    np.put_along_axis(graph, nearest, np.isfinite(np.take_along_axis(distances, nearest, 1)), axis=1)
    return graph | graph.T


def penalty_graph(features: Floats, labels: Labels, pairs: int) -> Graph:
    """S^P of Eq. 19, [shape=(n, n)]: (i, j) is among the nearest pairs of a sample of a class and one of another."""
    distances = cdist(features, features)
    graph = np.zeros(distances.shape, bool)
    for label in np.unique(labels):
        inside, outside = np.flatnonzero(labels == label), np.flatnonzero(labels != label)
        nearest = np.argsort(distances[np.ix_(inside, outside)], axis=None, kind="stable")[:pairs]
        one, other = np.unravel_index(nearest, (len(inside), len(outside)))
        graph[inside[one], outside[other]] = True
    return graph | graph.T


def laplacian(graph: Graph) -> Floats:
    """L = D - S, D the diagonal of S's row sums (Eq. 17, 22), [shape=(n, n)]."""
    weights = graph.astype(np.float64)
    return np.diag(weights.sum(1)) - weights
