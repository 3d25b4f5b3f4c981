"""Marginal Fisher Analysis: graphs, identities and optimum are those of its definition."""

import numpy as np
import pytest

from training.marginal_fisher import intrinsic_graph, laplacian, marginal_fisher, penalty_graph


def samples(count=40, size=5, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    return rng.normal(size=(count, size)) + 1.5 * rng.normal(size=(classes, size))[labels], labels


def distance(features, i, j):
    return np.linalg.norm(features[i] - features[j])


def nearest_alike(features, labels, j, neighbours):
    """N+ of sample j: its nearest others of the same class."""
    alike = [i for i in range(len(labels)) if labels[i] == labels[j] and i != j]
    return sorted(alike, key=lambda i: distance(features, i, j))[:neighbours]


def nearest_pairs(features, labels, label, pairs):
    """P of a class: the nearest pairs of which one is inside it."""
    n = range(len(labels))
    apart = [(i, j) for i in n for j in n if labels[i] == label and labels[j] != label]
    return sorted(apart, key=lambda pair: distance(features, *pair))[:pairs]


def scatter(projected, graph):
    """Sum over all edges (i, j), in both directions, of the squared distance."""
    return sum(np.sum((projected[i] - projected[j]) ** 2) for i, j in np.argwhere(graph))


def ratio(features, labels, w):
    """What Eq. 20 minimises."""
    intrinsic, penalty = intrinsic_graph(features, labels, 5), penalty_graph(features, labels, 2_000)
    return scatter(features @ w, intrinsic) / scatter(features @ w, penalty)


@pytest.mark.parametrize("neighbours", [1, 3, 50])
def test_intrinsic_graph_is_equation_sixteen(neighbours):
    features, labels = samples()
    expected = np.zeros((40, 40), bool)
    for j in range(40):
        for i in nearest_alike(features, labels, j, neighbours):
            expected[i, j] = expected[j, i] = True
    np.testing.assert_array_equal(intrinsic_graph(features, labels, neighbours), expected)


@pytest.mark.parametrize("pairs", [1, 7, 5_000])
def test_penalty_graph_is_equation_nineteen(pairs):
    features, labels = samples()
    expected = np.zeros((40, 40), bool)
    for label in range(3):
        for i, j in nearest_pairs(features, labels, label, pairs):
            expected[i, j] = expected[j, i] = True
    np.testing.assert_array_equal(penalty_graph(features, labels, pairs), expected)


@pytest.mark.parametrize("graph_of", [intrinsic_graph, penalty_graph])
def test_laplacian_form_is_the_sum_over_edges_of_equations_fifteen_and_eighteen(graph_of):
    features, labels = samples()
    graph = graph_of(features, labels, 4)
    w = np.random.default_rng(1).normal(size=(5, 2))
    form = 2 * w.T @ features.T @ laplacian(graph) @ features @ w
    assert np.trace(form) == pytest.approx(scatter(features @ w, graph))


def test_laplacian_by_hand():
    graph = np.array([[0, 1, 1], [1, 0, 0], [1, 0, 0]], bool)
    np.testing.assert_array_equal(laplacian(graph), [[2, -1, -1], [-1, 1, 0], [-1, 0, 1]])


def test_columns_solve_the_generalised_eigenproblem_in_order():
    """Against the inverse and an unsymmetric solver: L y = lambda L^P y, smallest lambda first."""
    features, labels = samples(size=4)
    compact = features.T @ laplacian(intrinsic_graph(features, labels, 5)) @ features
    separate = features.T @ laplacian(penalty_graph(features, labels, 2_000)) @ features
    lambdas, vectors = np.linalg.eig(np.linalg.inv(separate) @ compact)
    order = np.argsort(lambdas)
    found, separations = marginal_fisher(features, labels, 4, ridge=1e-12)
    np.testing.assert_allclose(found.T @ compact @ found, np.eye(4), atol=1e-6)
    np.testing.assert_allclose(1 / separations, lambdas[order], rtol=1e-6)
    for column, expected in zip(found.T, vectors.T[order], strict=True):
        cosine = column @ expected / np.linalg.norm(column) / np.linalg.norm(expected)
        assert abs(cosine) == pytest.approx(1, abs=1e-6)


def test_no_direction_has_a_smaller_ratio_than_the_first():
    features, labels = samples(size=2)
    w, separations = marginal_fisher(features, labels, 1, ridge=1e-12)
    best = ratio(features, labels, w)
    angles = np.linspace(0, np.pi, 60)
    ratios = [ratio(features, labels, np.array([[np.cos(a)], [np.sin(a)]])) for a in angles]
    assert best <= min(ratios) * (1 + 1e-9)
    assert best == pytest.approx(min(ratios), rel=0.02)
    assert best == pytest.approx(1 / separations[0])


def test_classes_that_differ_in_one_direction_are_told_apart_by_it():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = rng.normal(size=(60, 6)) * (10, 10, 10, 0.1, 10, 10)
    features[:, 3] += labels
    w, _ = marginal_fisher(features, labels, 1)
    assert abs(w[3, 0]) / np.linalg.norm(w) > 0.99


@pytest.mark.parametrize("count", [6, 16])
def test_fewer_samples_than_features_leave_the_rest_zero(count):
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    features = rng.normal(size=(count, 30))
    w, separations = marginal_fisher(features, labels, 25)
    zero = ~w.any(0)
    assert np.isfinite(w).all()
    np.testing.assert_array_equal(separations == 0, zero)
    assert zero[count - 1 :].all()
    assert not zero[:1].any()
    assert ratio(features, labels, w[:, :1]) < 0.1


def test_identical_samples_of_a_class_are_no_division_by_zero():
    features = np.repeat([[0.0, 0], [1, 2]], 4, 0)
    w, _ = marginal_fisher(features, np.repeat([0, 1], 4), 1)
    assert np.isfinite(w).all()
    assert abs(w[:, 0] @ (1, 2)) > 0


def test_a_class_of_one_sample_has_no_neighbours():
    features, labels = samples(10, classes=2)
    labels[:] = 0
    labels[3] = 1
    assert not intrinsic_graph(features, labels, 5)[3].any()
    assert np.isfinite(marginal_fisher(features, labels, 2)[0]).all()


@pytest.mark.parametrize(
    ("features", "labels", "size"),
    [
        (np.zeros((4, 3)), np.array([0, 1, 0]), 1),
        (np.zeros(4), np.array([0, 1, 0, 1]), 1),
        (np.zeros((4, 3)), np.array([0, 1, 0, 1]), 0),
        (np.zeros((4, 3)), np.array([0, 1, 0, 1]), 4),
        (np.zeros((4, 3)), np.array([1, 1, 1, 1]), 1),
    ],
    ids=["lengths", "vector", "size 0", "size 4", "one class"],
)
def test_what_cannot_be_analysed_is_rejected(features, labels, size):
    with pytest.raises(ValueError, match="expected"):
        marginal_fisher(features, labels, size)
