"""Cross-modal audio-video fusion with attention (Mocanu et al. 2023), split into two encoders and the head.

Encoders run once per snippet of images and per segment of sound; the head runs on the window's cached embeddings.
docs/models/attention-fusion.md says where the paper is silent or contradicts itself, and what was chosen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.errors import ArgumentError
from bundle.features import (
    AUDIO_EMBEDDINGS,
    AUDIO_MASK,
    EMBEDDING,
    PROBS_FUSED,
    SPECTROGRAM,
    VISUAL_EMBEDDINGS,
    VISUAL_MASK,
)
from networks.resnet import ResNet18
from networks.resnet3d import ResNet3d
from networks.system import NetworkPart, Runs, System, check_sizes

SNIPPET = "snippet"
SNIPPETS, SPECTROGRAMS = "snippets", "spectrograms"  # of a batch of whole windows

CHUNK_NAMES = {"visual": SNIPPET, "audio": SPECTROGRAM}
BATCH_NAMES = {"visual": SNIPPETS, "audio": SPECTROGRAMS}
WINDOW_NAMES = {"visual": (VISUAL_EMBEDDINGS, VISUAL_MASK), "audio": (AUDIO_EMBEDDINGS, AUDIO_MASK)}
RUNS: Mapping[str, Runs] = {"visual": "snippet", "audio": "segment"}

Attention = Literal["VS", "VC", "VT", "AT"]
"""Visual spatial, visual channel-wise, visual temporal and audio temporal, as Tables 1 to 3 call them."""

MetricLoss = Literal["emotion", "triplet", "none"]

MASKED = -6e4
"""Score of what must not be attended to; float16 can hold it."""


@dataclass(frozen=True)
class AttentionFusionConfig:
    """What is in the network, and its sizes. Defaults: the paper's whole network, on RAVDESS.

    attentions : a modality is there if one of its attentions is, and both are fused by cross-modal attention.
    loss : what is added to the cross-entropy in training: Eq. 16, Eq. 13 or nothing (Fig. 6c, 6b, 6a).
    """

    labels: int = 8
    attentions: tuple[Attention, ...] = ("VS", "VC", "VT", "AT")
    loss: MetricLoss = "emotion"
    depth: int = 101  # of the 3D-ResNet
    visual_width: int = 64
    audio_width: int = 64
    channels: int = 1024  # m
    grid: int = 16  # h = w
    heads: int = 8  # H
    snippets: int = 6  # N
    images: int = 16  # k, of a snippet
    size_px: int = 224  # of face images and image spectrograms

    def __post_init__(self) -> None:
        known, chosen = set(get_args(Attention)), set(self.attentions)
        if not chosen or chosen - known or ("AT" in chosen and chosen & {"VS", "VC"} and "VT" not in chosen):
            raise ArgumentError(
                f"attentions are {self.attentions}; expected some of {sorted(known)}, and VT where AT joins VS or VC: "
                "it brings both modalities to one size."
            )
        if self.loss not in get_args(MetricLoss):
            raise ArgumentError(f"loss is {self.loss!r}; expected one of {', '.join(get_args(MetricLoss))}.")
        check_sizes(self, "visual_width", "audio_width", "channels", "grid", "size_px")
        if any(size % self.heads for size in (self.channels, self.grid**2, self.features)):
            raise ArgumentError(
                f"channels {self.channels}, grid ** 2 = {self.grid**2}, 8 * audio_width = {self.features}; "
                f"expected multiples of heads = {self.heads}."
            )

    @property
    def features(self) -> int:
        """m', what both modalities are fused in: the channels of the audio encoder's conv5."""
        return 8 * self.audio_width

    @property
    def modalities(self) -> tuple[str, ...]:
        present = {"audio" if attention == "AT" else "visual" for attention in self.attentions}
        return tuple(modality for modality in ("visual", "audio") if modality in present)


VARIANTS: Mapping[str, AttentionFusionConfig] = {
    "AT+VS+VC+VT+emotion": AttentionFusionConfig(),
    "AT+VS+VC+VT": AttentionFusionConfig(loss="triplet"),
    "VS+VC+VT": AttentionFusionConfig(attentions=("VS", "VC", "VT"), loss="triplet"),
    "VS+VC": AttentionFusionConfig(attentions=("VS", "VC"), loss="triplet"),
    "VS": AttentionFusionConfig(attentions=("VS",), loss="triplet"),
    "AT": AttentionFusionConfig(attentions=("AT",), loss="triplet"),
    "AT+VS+VC+VT+softmax": AttentionFusionConfig(loss="none"),
}
"""The rows of Tables 1 to 3 by their names, the proposed network first; last what Fig. 6a shows."""


class SelfAttention(nn.Module):
    """Multi-head self-attention (Eq. 1-3), (B, T, size) and mask (B, T) -> (B, T, size_out)."""

    def __init__(self, size: int, heads: int, size_out: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (size / heads) ** -0.5
        self.query, self.key, self.value = (nn.Linear(size, size, bias=False) for _ in range(3))
        self.out = nn.Linear(size, size_out, bias=False)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        heads = self.weights(x, mask) @ self._split(self.value(x))  # (B, H, T, size / H), Eq. 2
        return self.out(heads.transpose(1, 2).flatten(2))  # Eq. 3

    def weights(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """How much each position attends to each, (B, H, T, T); rows sum to 1."""
        query, key = self._split(self.query(x)), self._split(self.key(x))  # Eq. 1
        return masked_softmax(query @ key.transpose(2, 3) * self.scale, None if mask is None else mask[:, None])

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # (B, H, T, size / H)


class CrossModalAttention(nn.Module):
    """Each modality attended under the constraint of the other (Eq. 7-10): two times (B, N, F) -> the same."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(size, size)))  # W

    def forward(self, visual: Tensor, visual_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> tuple[Tensor, Tensor]:
        visual_weights, audio_weights = self.weights(visual, visual_mask, audio, audio_mask)
        return torch.tanh(visual + visual_weights @ visual), torch.tanh(audio + audio_weights @ audio)

    def weights(self, visual: Tensor, visual_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> tuple[Tensor, Tensor]:
        """W^Video and W^Audio, (B, N, N) each; rows sum to 1.

        Row i of W^Audio weighs the audio segments by their correlation with snippet i, row i of W^Video the snippets
        by theirs with audio segment i: the softmax runs over the columns of Corr and Corr^T, as the paper says.
        """
        correlation = audio @ self.weight @ visual.transpose(1, 2)  # Eq. 7, (B, N audio, N visual)
        return masked_softmax(correlation, visual_mask), masked_softmax(correlation.transpose(1, 2), audio_mask)


class VisualEncoder(nn.Module):
    """Spatial and channel attention over a 3D-ResNet's map: snippets (B, 3, k, S, S) -> d_v (B, m)."""

    def __init__(self, config: AttentionFusionConfig) -> None:
        super().__init__()
        self.grid = config.grid
        positions = config.grid**2
        self.norm = nn.BatchNorm3d(3, affine=False)
        self.trunk = ResNet3d(config.depth, config.visual_width)
        self.project = nn.Conv2d(self.trunk.channels, config.channels, 1, bias=False)
        spatial, channel = (name in config.attentions for name in ("VS", "VC"))
        self.spatial = SelfAttention(config.channels, config.heads, config.channels) if spatial else nn.Identity()
        self.channel = SelfAttention(positions, config.heads, positions) if channel else nn.Identity()

    def forward(self, snippets: Tensor) -> Tensor:
        maps = self.project(self.trunk(self.norm(snippets)).mean(2))  # (B, m, h, w); one time step is left of 16
        maps = F.interpolate(maps, (self.grid, self.grid), mode="bilinear", align_corners=False)  # (B, m, 16, 16)
        attended = self.spatial(maps.flatten(2).transpose(1, 2))  # (B, s, m)
        return self.channel(attended.transpose(1, 2)).mean(2)  # Eq. 4-5, (B, m, s) -> (B, m)


class AudioEncoder(nn.Module):
    """ResNet-18 with spatial average pooling: image spectrograms (B, 3, S, S) -> d_a (B, m')."""

    def __init__(self, config: AttentionFusionConfig) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, affine=False)
        self.trunk = ResNet18(3, config.audio_width)

    def forward(self, spectrograms: Tensor) -> Tensor:
        return self.trunk(self.norm(spectrograms))


class AttentionFusionHead(nn.Module):
    """Temporal attention, cross-modal attention and one dense layer: embeddings of a window to logits."""

    def __init__(self, config: AttentionFusionConfig) -> None:
        super().__init__()
        self.modalities = config.modalities
        sizes = {"visual": config.channels, "audio": config.features}
        temporal = {"visual": "VT" in config.attentions, "audio": "AT" in config.attentions}
        self.temporal = nn.ModuleDict(
            {m: SelfAttention(sizes[m], config.heads, config.features) for m in self.modalities if temporal[m]}
        )
        self.cross = CrossModalAttention(config.features) if len(self.modalities) == 2 else None
        embedding_size = sum(config.features if temporal[m] else sizes[m] for m in self.modalities)
        self.classifier = nn.Linear(embedding_size, config.labels)

    def forward(self, *window: Tensor) -> Tensor:
        """Embeddings (B, N, E) and mask (B, N) of each modality there is, visual first -> logits (B, labels)."""
        return self.classifier(self.embedding(*window))

    def embedding(self, *window: Tensor) -> Tensor:
        """What is classified, and what the metric losses compare: from the same, (B, 2 m') or less."""
        masks = window[1::2]
        features = [
            self.temporal[m](x, mask) if m in self.temporal else x
            for m, x, mask in zip(self.modalities, window[::2], masks, strict=True)
        ]  # Eq. 6
        features = [x * mask.unsqueeze(2) for x, mask in zip(features, masks, strict=True)]  # (B, N, m')
        if self.cross is not None:
            features = list(self.cross(features[0], masks[0], features[1], masks[1]))
        return torch.cat([masked_mean(x, mask) for x, mask in zip(features, masks, strict=True)], 1)  # Eq. 11


class AttentionFusion(System):
    """The whole network, or what a variant leaves of it."""

    def __init__(self, config: AttentionFusionConfig) -> None:
        super().__init__()
        self.config = config
        encoders = {"visual": VisualEncoder, "audio": AudioEncoder}
        self.encoders = nn.ModuleDict({m: encoders[m](config) for m in config.modalities})
        self.head = AttentionFusionHead(config)

    def parts(self) -> Mapping[str, NetworkPart]:
        config, slots = self.config, self.config.snippets
        image = (config.size_px, config.size_px)
        shapes = {"visual": (3, config.images, *image), "audio": (3, *image)}
        sizes = {"visual": config.channels, "audio": config.features}
        parts: dict[str, NetworkPart] = {}
        window: dict[str, tuple[int, ...]] = {}
        for m, encoder in self.encoders.items():
            parts[m] = NetworkPart(encoder, {CHUNK_NAMES[m]: shapes[m]}, {EMBEDDING: (sizes[m],)}, RUNS[m])
            embeddings, mask = WINDOW_NAMES[m]
            window |= {embeddings: (slots, sizes[m]), mask: (slots,)}
        parts["head"] = NetworkPart(self.head, window, {PROBS_FUSED: (config.labels,)}, "window")
        return parts

    def forward(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Logits, under "probs_fused" also where one modality is all there is.

        batch : "snippets" (B, N, 3, k, S, S) of 0..255, "visual_mask" (B, N), "spectrograms" (B, N, 3, S, S),
            "audio_mask" (B, N); slots whose mask is 0 have no influence once the network is trained.
        """
        return {PROBS_FUSED: self.head.classifier(self.embedding(batch))}

    def embedding(self, batch: Mapping[str, Tensor]) -> Tensor:
        """What the metric losses compare, from the same; see `AttentionFusionHead.embedding`."""
        window = []
        for m, encoder in self.encoders.items():
            chunks = batch[BATCH_NAMES[m]]
            window += [encoder(chunks.flatten(0, 1)).unflatten(0, chunks.shape[:2]), batch[WINDOW_NAMES[m][1]]]
        return self.head.embedding(*window)


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the last axis, of valid slots only: (B, ..., T, T) and mask (B, ..., T) -> rows that sum to 1."""
    if mask is not None:
        scores = scores.masked_fill(mask.unsqueeze(-2) == 0, MASKED)
    return scores.softmax(-1)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid slots, zeros where there is none: (B, N, F), (B, N) -> (B, F)."""
    return (x * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
