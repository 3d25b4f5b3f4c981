"""Metric losses over a mini-batch: triplet, and the emotion metric with polarity (Mocanu et al. 2023, Eq. 12-16).

Both mine the hardest samples of the batch: of those to be near the farthest, of those to be far the nearest.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from bundle.errors import ArgumentError
from bundle.labels import VALENCE_AROUSAL

MARGIN = 0.2
"""alpha and beta, on squared distances of unit vectors. The paper states neither; Schroff et al. 2015 use this one."""


def triplet_loss(embeddings: Tensor, labels: Tensor, alpha: float = MARGIN) -> Tensor:
    """[|x_a - x_p|^2 - |x_a - x_n|^2 + alpha]+ (Eq. 13), its mean over the batch's anchors.

    An anchor adds nothing where the batch holds no other sample of its emotion, or none of another.

    Parameters
    ----------
    embeddings : (B, D). labels : int64 (B,). alpha : how much nearer than a negative each positive shall be (Eq. 12).
    """
    distances = squared_distances(embeddings)
    same = labels[:, None] == labels
    return _hinge(distances, same & ~_self(labels), ~same, alpha).mean()


def emotion_metric_loss(
    embeddings: Tensor, labels: Tensor, names: Sequence[str], alpha: float = MARGIN, beta: float = MARGIN
) -> Tensor:
    """[|x_a - x_p|^2 - |x_a - x_r1|^2 + alpha]+ + [|x_a - x_r2|^2 - |x_a - x_n|^2 + beta]+ (Eq. 16), likewise.

    x_p has the anchor's emotion, x_r another one of the same polarity, x_n one of the opposite polarity. Anchors of
    an emotion without related ones, neutral, or CREMA-D's happy, count with the triplet loss instead.

    Parameters
    ----------
    embeddings : (B, D). labels : int64 (B,), positions in `names`. names : keys of `bundle.labels.VALENCE_AROUSAL`.
    alpha, beta : how much nearer a positive shall be than a related sample (Eq. 14), and that than a negative (Eq. 15).
    """
    polarity = torch.tensor(polarities(names), device=labels.device)
    agreement = polarity[:, None] * polarity  # 1: same polarity, -1: opposite, 0: neutral is one of the two
    lonely = (agreement == 1).sum(1) <= 1  # no emotion is related to these, itself apart
    distances, same = squared_distances(embeddings), labels[:, None] == labels
    positive = same & ~_self(labels)
    pairs = agreement[labels][:, labels]
    related, opposite = (pairs == 1) & ~same, pairs == -1
    emotion = _hinge(distances, positive, related, alpha) + _hinge(distances, related, opposite, beta)
    return torch.where(lonely[labels], _hinge(distances, positive, ~same, alpha), emotion).mean()


def polarities(names: Sequence[str]) -> list[int]:
    """1, -1 or, for neutral, 0: the sign of each emotion's valence (section 3.4, Fig. 4a).

    Raises
    ------
    ArgumentError : a name that is not on the wheel.
    """
    if strangers := [name for name in names if name not in VALENCE_AROUSAL]:
        raise ArgumentError(f"{', '.join(strangers)} have no polarity; expected some of {', '.join(VALENCE_AROUSAL)}.")
    valences = [VALENCE_AROUSAL[name][0] for name in names]
    return [(valence > 0) - (valence < 0) for valence in valences]


def squared_distances(embeddings: Tensor) -> Tensor:
    """|x_i - x_j|^2 of all pairs, (B, D) -> (B, B)."""
    return (embeddings[:, None] - embeddings).square().sum(2)


def _hinge(distances: Tensor, near: Tensor, far: Tensor, margin: float) -> Tensor:
    """[farthest of `near` - nearest of `far` + margin]+ of each anchor (B,), 0 where it has none of either."""
    farthest = distances.masked_fill(~near, 0).amax(1)
    nearest = distances.masked_fill(~far, torch.inf).amin(1)
    return torch.where(near.any(1) & far.any(1), torch.relu(farthest - nearest + margin), 0)


def _self(labels: Tensor) -> Tensor:
    return torch.eye(len(labels), dtype=torch.bool, device=labels.device)
