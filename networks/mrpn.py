"""Multi-modal Residual Perceptron Network (Chang & Skarbek 2021), split into what one chunk needs and the head.

Encoders run once per chunk; the head runs on the window's cached embeddings. N2, with residual perceptrons and the
multi-term loss (Eq. 9), is what this file builds.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from networks.resnet import ResNet18


@dataclass(frozen=True)
class MrpnConfig:
    """Sizes of an MRPN. Defaults: the slim network of the default bundle, under 2 M parameters in all."""

    labels: int = 8
    visual_width: int = 16
    audio_width: int = 16
    aggregate_size: int = 96  # features f_m of a modality
    hidden_size: int = 64  # of the scoring component
    dropout: float = 0.3


class SequenceAggregator(nn.Module):
    """A_m of Eq. 1: embeddings of a window to one feature vector, (B, T, E) and mask (B, T) -> (B, F).

    An LSTM from a zero state, its outputs averaged over the valid slots. The mask is an input of the LSTM too, so
    that an empty slot differs from an embedding of zeros. The paper is silent on gaps; its "LSTM" is kept.
    """

    def __init__(self, embedding_size: int, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embedding_size)
        self.lstm = nn.LSTM(embedding_size + 1, size, batch_first=True)

    def forward(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        valid = mask.unsqueeze(2)  # (B, T, 1)
        states, _ = self.lstm(torch.cat((self.norm(embeddings) * valid, valid), 2))  # (B, T, F)
        return (states * valid).sum(1) / (valid.sum(1) + 1e-6)  # (B, F)


class ResidualPerceptron(nn.Module):
    """f' = f + FeatureNorm(Sigmoid(Dense(f))) (Eq. 6), (B, F) -> (B, F)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(size, size)
        self.norm = nn.BatchNorm1d(size)

    def forward(self, features: Tensor) -> Tensor:
        return features + self.norm(torch.sigmoid(self.dense(features)))


def scoring(size: int, hidden_size: int, labels: int, dropout: float) -> nn.Sequential:
    """Dense, ReLU, FeatureNorm, Dense (Eq. 2), with the dropout of Fig. 6: (B, F) -> (B, labels)."""
    return nn.Sequential(
        nn.Dropout(dropout), nn.Linear(size, hidden_size), nn.ReLU(), nn.BatchNorm1d(hidden_size),
        nn.Linear(hidden_size, labels),
    )  # fmt: skip


class MrpnHead(nn.Module):
    """Aggregators, residual perceptrons, fusion and side branches: embeddings of a window to three sets of logits."""

    def __init__(self, visual_size: int, audio_size: int, config: MrpnConfig) -> None:
        super().__init__()
        size = config.aggregate_size
        sizes = {"visual": visual_size, "audio": audio_size}
        self.aggregator = nn.ModuleDict({m: SequenceAggregator(sizes[m], size) for m in sizes})
        self.feature_norm = nn.ModuleDict({m: nn.BatchNorm1d(size) for m in sizes})
        self.perceptron = nn.ModuleDict({m: ResidualPerceptron(size) for m in sizes})
        self.branch = nn.ModuleDict(
            {m: nn.Sequential(nn.Dropout(config.dropout), nn.Linear(size, config.labels)) for m in sizes}
        )
        self.fusion_norm = nn.BatchNorm1d(2 * size)
        self.fusion = scoring(2 * size, config.hidden_size, config.labels, config.dropout)

    def forward(
        self, visual: Tensor, visual_mask: Tensor, audio: Tensor, audio_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, Tv, Ev), (B, Tv), (B, Ta, Ea), (B, Ta) -> fused, visual and audio logits, (B, labels) each."""
        features = {
            "visual": self.features("visual", visual, visual_mask),
            "audio": self.features("audio", audio, audio_mask),
        }
        fused = torch.cat([self.perceptron[m](features[m]) for m in features], 1)  # Eq. 9, (B, 2 F)
        logits = {m: self.branch[m](features[m]) for m in features}
        return self.fusion(self.fusion_norm(fused)), logits["visual"], logits["audio"]

    def features(self, modality: str, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Normalised features of one modality (Eq. 1, 3): (B, T, E), (B, T) -> (B, F)."""
        return self.feature_norm[modality](self.aggregator[modality](embeddings, mask))


class Mrpn(nn.Module):
    """The whole network, for training. At run time its three parts run apart, on what each of them needs."""

    def __init__(self, config: MrpnConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = ResNet18(1, config.visual_width, small_input=True, stem_stride=1, standardize=True)
        self.audio = ResNet18(1, config.audio_width, small_input=True)
        self.head = MrpnHead(self.visual.embedding_size, self.audio.embedding_size, config)

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of windows of raw chunks.

        batch : "faces" (B, Tv, 1, 48, 48), "visual_mask" (B, Tv), "segments" (B, Ta, 1, 64, 100), "audio_mask" (B, Ta);
            the encoders see valid slots only.
        """
        visual = encode_valid(self.visual, batch["faces"], batch["visual_mask"])
        audio = encode_valid(self.audio, batch["segments"], batch["audio_mask"])
        return self.head(visual, batch["visual_mask"], audio, batch["audio_mask"])

    def audio_logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits of the audio branch alone, for windows without faces."""
        audio = encode_valid(self.audio, batch["segments"], batch["audio_mask"])
        return self.head.branch["audio"](self.head.features("audio", audio, batch["audio_mask"]))


def encode_valid(encoder: nn.Module, chunks: Tensor, mask: Tensor) -> Tensor:
    """Embeddings of the valid slots, zeros elsewhere: (B, T, ...), (B, T) -> (B, T, E).

    Encoders compute in bfloat16, which a CPU with AMX and every recent GPU multiply faster; heads do not.
    """
    valid = mask.bool()
    with torch.autocast(chunks.device.type, torch.bfloat16, enabled=encoder.training):
        encoded = encoder(chunks[valid].contiguous(memory_format=torch.channels_last)).float()  # (valid slots, E)
    embeddings = encoded.new_zeros((*mask.shape, encoded.shape[1]))
    embeddings[valid] = encoded
    return embeddings
