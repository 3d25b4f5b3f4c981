"""Sequence aggregation components A_m (Chang & Skarbek 2021, Eq. 1): embeddings of a window to one feature vector.

All take embeddings (B, T, E) and their mask (B, T), 1 where a slot holds a chunk, and return features (B, F): the mean
of their outputs over the valid slots, 0 where there are none. What a masked slot holds has no influence.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

HEADS, LAYERS = 4, 2


class SequenceAggregator(nn.Module):
    """LSTM from a zero state; the mask is an input of it too, so that an empty slot differs from a zero embedding.

    Parameters
    ----------
    size : of the features; even where `bidirectional`, whose directions share it.
    norm : normalise each embedding first (LayerNorm).
    """

    def __init__(self, embedding_size: int, size: int, *, norm: bool = True, bidirectional: bool = False) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embedding_size) if norm else nn.Identity()
        width = size // 2 if bidirectional else size
        self.lstm = nn.LSTM(embedding_size + 1, width, batch_first=True, bidirectional=bidirectional)

    def forward(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        valid = mask.unsqueeze(2)  # (B, T, 1)
        states, _ = self.lstm(torch.cat((self.norm(embeddings) * valid, valid), 2))  # (B, T, F)
        return mean_of_valid(states, mask)


class TransformerAggregator(nn.Module):
    """Transformer encoder whose outputs are averaged: the paper's "Transformer(avg)", after ViT (section 5.6).

    Layers normalise before, not after, as ViT's do; places are the sines of Vaswani et al. 2017, so that a window may
    have any length.
    """

    def __init__(self, embedding_size: int, size: int, *, norm: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embedding_size) if norm else nn.Identity()
        self.project = nn.Linear(embedding_size, size)
        self.layers = nn.ModuleList(AttentionLayer(size) for _ in range(LAYERS))
        self.output_norm = nn.LayerNorm(size)

    def forward(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        embeddings = self.norm(embeddings) * mask.unsqueeze(2)
        x = self.project(embeddings)  # (B, T, F)
        x = x + sinusoidal_positions(x.shape[1], x.shape[2]).to(x)
        for layer in self.layers:
            x = layer(x, mask)
        return mean_of_valid(self.output_norm(x), mask)


class AttentionLayer(nn.Module):
    """Self-attention and two dense units, each added to its input (Dosovitskiy et al. 2021, Eq. 2-3), (B, T, F)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(size)
        self.query_key_value = nn.Linear(size, 3 * size)
        self.output = nn.Linear(size, size)
        self.mlp = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, 2 * size), nn.GELU(), nn.Linear(2 * size, size))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.split_heads(x)
        mixed = attention_weights(query, key, mask) @ value  # (B, heads, T, F / heads)
        x = x + self.output(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(x)

    def split_heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Query, key and value of each head, (B, heads, T, F / heads)."""
        parts = self.query_key_value(self.attention_norm(x)).chunk(3, 2)
        return tuple(part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in parts)


def attention_weights(query: Tensor, key: Tensor, mask: Tensor) -> Tensor:
    """How much each slot looks at each other one, (B, heads, T, T); rows sum to 1, masked columns are 0.

    Rows of a window without any valid slot are even.
    """
    scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
    hidden = (1 - mask)[:, None, None, :] * -1e9  # finite: a row of infinities has no softmax
    return (scores + hidden).softmax(3)


def sinusoidal_positions(length: int, size: int) -> Tensor:
    """sin and cos of the slot's number at `size` / 2 wavelengths (Vaswani et al. 2017, 3.5), (length, size)."""
    rates = torch.exp(torch.arange(0, size, 2) * (-math.log(10_000.0) / size))
    angles = torch.arange(length).unsqueeze(1) * rates  # (length, size / 2)
    return torch.stack((angles.sin(), angles.cos()), 2).flatten(1)


def mean_of_valid(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid slots, 0 where there are none: (B, T, F), (B, T) -> (B, F)."""
    valid = mask.unsqueeze(2)
    return (states * valid).sum(1) / valid.sum(1).clamp(min=1)


AGGREGATORS: Mapping[str, Callable[..., nn.Module]] = {
    "lstm": SequenceAggregator,
    "bilstm": lambda *sizes, norm: SequenceAggregator(*sizes, norm=norm, bidirectional=True),
    "transformer": TransformerAggregator,
}
"""By name; called with (embedding_size, size, norm=...)."""
