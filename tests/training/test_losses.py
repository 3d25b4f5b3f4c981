"""The multi-term loss, by hand."""

import numpy as np
import pytest
import torch

from training.losses import multi_term_error, multi_term_loss

LOGITS = [np.random.default_rng(seed).normal(size=(5, 4)) for seed in range(3)]
CLASSES = np.array([0, 3, 1, 1, 2])


def cross_entropy(logits, target):
    """Of class probabilities `target`, in nats, mean over the batch."""
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return -(target * log_probs).sum(1).mean()


def loss(target, *, branches=LOGITS, **options):
    return float(multi_term_loss([torch.tensor(logits) for logits in branches], torch.tensor(target), **options))


def test_loss_is_the_sum_of_all_branches_cross_entropies():
    expected = sum(cross_entropy(logits, np.eye(4)[CLASSES]) for logits in LOGITS)
    assert loss(CLASSES) == pytest.approx(expected)


def test_one_branch_is_plain_cross_entropy():
    assert loss(CLASSES, branches=LOGITS[:1]) == pytest.approx(cross_entropy(LOGITS[0], np.eye(4)[CLASSES]))


def test_target_may_be_a_blend_of_classes():
    target = 0.7 * np.eye(4)[CLASSES] + 0.3 * np.eye(4)[CLASSES[::-1]]
    assert loss(target) == pytest.approx(sum(cross_entropy(logits, target) for logits in LOGITS))


def test_smoothing_gives_each_label_its_share():
    smooth = 0.9 * np.eye(4)[CLASSES] + 0.1 / 4
    expected = sum(cross_entropy(logits, smooth) for logits in LOGITS)
    assert loss(CLASSES, label_smoothing=0.1) == pytest.approx(expected)


def test_loss_teaches_every_branch():
    branches = [torch.tensor(logits, requires_grad=True) for logits in LOGITS]
    multi_term_loss(branches, torch.tensor(CLASSES)).backward()
    for branch, logits in zip(branches, LOGITS, strict=True):
        probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(branch.grad, (probs - np.eye(4)[CLASSES]) / 5, atol=1e-12)


def test_error_of_a_regression_is_the_sum_of_mean_squares():
    values = [torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]])]
    assert float(multi_term_error(values, torch.tensor([[1.0, 4.0]]))) == (0 + 4) / 2 + (1 + 16) / 2
