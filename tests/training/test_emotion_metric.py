"""Metric losses: each equation by hand, mining against brute force."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import ArgumentError
from bundle.labels import CREMA_D_LABELS, RAVDESS_LABELS
from training.emotion_metric import emotion_metric_loss, polarities, squared_distances, triplet_loss

POSITIVE, NEGATIVE = {"happy", "calm", "surprised"}, {"sad", "fearful", "angry", "disgust"}
"""Section 3.4."""


def on_a_line(positions, emotions, names=RAVDESS_LABELS):
    """Embeddings of one dimension, and labels."""
    return torch.tensor(positions)[:, None], torch.tensor([names.index(emotion) for emotion in emotions])


@pytest.mark.parametrize("names", [RAVDESS_LABELS, CREMA_D_LABELS])
def test_polarity_is_the_papers(names):
    expected = [1 if name in POSITIVE else -1 if name in NEGATIVE else 0 for name in names]
    assert polarities(names) == expected
    assert expected[names.index("neutral")] == 0


def test_emotions_that_are_not_on_the_wheel_have_no_polarity():
    with pytest.raises(ArgumentError, match="bored, amused have no polarity; expected some of neutral, happy"):
        polarities(["happy", "bored", "amused"])


def test_distances_are_squared_and_of_all_pairs():
    found = squared_distances(torch.tensor([[0.0, 0], [3, 4], [0, 1]]))
    assert found.tolist() == [[0, 25, 1], [25, 0, 18], [1, 18, 0]]


# Eq. 12 and 13


def test_triplet_loss_is_equation_thirteen():
    embeddings, labels = on_a_line([0.0, 1.0, 1.5], ["happy", "happy", "sad"])
    # anchors: 1 - 2.25 + 2 = 0.75; 1 - 0.25 + 2 = 2.75; the third has no positive
    assert float(triplet_loss(embeddings, labels, alpha=2.0)) == pytest.approx((0.75 + 2.75) / 3)


@pytest.mark.parametrize(("negative", "expected"), [(2.0, 0), (2.0 - 0.1, 0.39 / 3), (3.0, 0)])
def test_triplet_loss_is_nothing_from_equation_twelve_on(negative, expected):
    """|x_a - x_n|^2 = |x_a - x_p|^2 + alpha is the border: here 4 = 0 + 4, for both anchors."""
    embeddings, labels = on_a_line([0.0, 0.0, negative], ["happy", "happy", "sad"])
    assert float(triplet_loss(embeddings, labels, alpha=4.0)) == pytest.approx(2 * expected)


def test_hardest_positive_and_negative_are_mined():
    embeddings, labels = on_a_line([0.0, 1.0, 2.0, 4.0, 3.0], ["happy", "happy", "happy", "sad", "calm"])
    # farthest positive and nearest negative of each anchor: 4 - 9, 1 - 4, 4 - 1, none, none; alpha 1
    assert float(triplet_loss(embeddings, labels, alpha=1.0)) == pytest.approx((0 + 0 + 4) / 5)


# Eq. 14 to 16


def test_emotion_loss_is_equation_sixteen():
    embeddings, labels = on_a_line([0.0, 1.0, 2.0, 3.0], ["happy", "happy", "calm", "sad"])
    # 0: 1 - 4 + 2 -> 0, and 4 - 9 + 6 = 1.      1: 1 - 1 + 2 = 2, and 1 - 4 + 6 = 3.
    # 2: no positive, and 4 - 1 + 6 = 9.          3: neither positive nor related.
    assert float(emotion_metric_loss(embeddings, labels, RAVDESS_LABELS, alpha=2.0, beta=6.0)) == pytest.approx(15 / 4)


@pytest.mark.parametrize("related", [2.0, 1.9])
def test_positive_is_nearer_than_related_by_alpha(related):
    """Eq. 14, the border at 4 = 0 + alpha; Eq. 15 has no negative here."""
    embeddings, labels = on_a_line([0.0, 0.0, related], ["angry", "angry", "sad"])
    found = float(emotion_metric_loss(embeddings, labels, RAVDESS_LABELS, alpha=4.0))
    assert found == pytest.approx(2 * (4 - related**2) / 3)


@pytest.mark.parametrize("negative", [-2.0, -1.9])
def test_related_is_nearer_than_the_opposite_polarity_by_beta(negative):
    """Eq. 15, the border at 4 = 1 + beta for the first anchor; the second, 1 away, is farther from the negative."""
    embeddings, labels = on_a_line([0.0, 1.0, negative], ["angry", "sad", "happy"])
    found = float(emotion_metric_loss(embeddings, labels, RAVDESS_LABELS, beta=3.0))
    assert found == pytest.approx((4 - negative**2) / 3)


def test_neutral_is_no_negative_of_another_emotion():
    embeddings, labels = on_a_line([0.0, 1.0, 0.5], ["angry", "sad", "neutral"])
    assert float(emotion_metric_loss(embeddings, labels, RAVDESS_LABELS)) == 0


@pytest.mark.parametrize(
    ("emotion", "names"), [("neutral", RAVDESS_LABELS), ("neutral", CREMA_D_LABELS), ("happy", CREMA_D_LABELS)]
)
def test_anchors_without_related_emotions_use_the_triplet_loss(emotion, names):
    embeddings, labels = on_a_line([0.0, 1.0, 1.2], [emotion, emotion, "sad"], names)
    expected = float(triplet_loss(embeddings, labels, alpha=0.7))
    assert expected > 0.3
    assert float(emotion_metric_loss(embeddings, labels, names, alpha=0.7)) == pytest.approx(expected)


def test_happy_has_related_emotions_in_ravdess():
    embeddings, labels = on_a_line([0.0, 1.0, 1.2], ["happy", "happy", "sad"])
    assert float(emotion_metric_loss(embeddings, labels, RAVDESS_LABELS, alpha=0.7)) == 0  # no related sample here


def brute_force(embeddings, labels, names, alpha, beta):
    """Each anchor's hardest tuple: the largest value of each bracket of Eq. 16, or of Eq. 13, over all tuples."""
    kinds = [1 if names[label] in POSITIVE else -1 if names[label] in NEGATIVE else 0 for label in labels]
    all_kinds = [1 if name in POSITIVE else -1 if name in NEGATIVE else 0 for name in names]

    def distance(i, j):
        return float(((embeddings[i] - embeddings[j]) ** 2).sum())

    def hardest(a, near, far, margin):
        return max([0.0] + [distance(a, i) - distance(a, j) + margin for i, j in product(near, far)])

    total = 0.0
    for a, label in enumerate(labels):
        others = [i for i in range(len(labels)) if i != a]
        positives = [i for i in others if labels[i] == label]
        different = [i for i in others if labels[i] != label]
        if kinds[a] == 0 or all_kinds.count(kinds[a]) == 1:
            total += hardest(a, positives, different, alpha)
        else:
            related = [i for i in different if kinds[i] == kinds[a]]
            opposite = [i for i in different if kinds[i] == -kinds[a]]
            total += hardest(a, positives, related, alpha) + hardest(a, related, opposite, beta)
    return total / len(labels)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 16), names=st.sampled_from([RAVDESS_LABELS, CREMA_D_LABELS]))
def test_mining_equals_brute_force(seed, count, names):
    rng = np.random.default_rng(seed)
    embeddings, labels = rng.normal(size=(count, 4)), rng.integers(0, len(names), count)
    tensors = torch.from_numpy(embeddings), torch.from_numpy(labels)
    expected = brute_force(embeddings, labels, names, 0.7, 0.4)
    assert float(emotion_metric_loss(*tensors, names, alpha=0.7, beta=0.4)) == pytest.approx(expected)
    only_neutral = ("neutral",) * len(names)  # without related emotions, all that is left is the triplet loss
    expected = brute_force(embeddings, labels, only_neutral, 0.7, 0.4)
    assert float(triplet_loss(*tensors, alpha=0.7)) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_finite_and_descends(seed):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(16, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    labels = torch.arange(16) % 8
    loss = emotion_metric_loss(embeddings, labels, RAVDESS_LABELS)
    loss.backward()
    assert embeddings.grad.isfinite().all()
    moved = embeddings.detach() - 1e-4 * embeddings.grad
    assert emotion_metric_loss(moved, labels, RAVDESS_LABELS) < loss


def test_batch_that_allows_no_comparison_has_no_loss_and_no_gradient():
    embeddings = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    labels = torch.tensor([0, 2, 4])
    for loss in (triplet_loss(embeddings, labels), emotion_metric_loss(embeddings, labels, RAVDESS_LABELS)):
        assert loss == 0
        embeddings.grad = None
        loss.backward()
        assert not embeddings.grad.any()
