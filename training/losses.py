"""Losses of the papers, on logits."""

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor


def multi_term_loss(logits: Iterable[Tensor], target: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """L = L_va + L_v + L_a (Chang & Skarbek 2021, Eq. 5): sum of the cross-entropies of all branches.

    logits : (B, labels) each. target : class indices (B,) or probabilities (B, labels).
    """
    terms = [F.cross_entropy(branch, target, label_smoothing=label_smoothing) for branch in logits]
    return sum(terms[1:], terms[0])


def multi_term_error(values: Iterable[Tensor], target: Tensor) -> Tensor:
    """The same sum for a regression (Chang & Skarbek 2021, Fig. 7), of mean squared errors.

    values, target : (B, targets) each.
    """
    terms = [F.mse_loss(branch, target) for branch in values]
    return sum(terms[1:], terms[0])
