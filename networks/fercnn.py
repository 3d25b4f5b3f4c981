"""FERCNN (Srinivas & Mishra 2022): a one-dimensional CNN over 162 fused features of a clip's sound and faces.

The features come from kernels, running over the clip; so the network is a head, and all of it runs at each update.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.features import PROBS_FUSED
from networks.system import NetworkPart, System

FUSED_FEATURES = 162
"""Of the CNN's input: the only length with which the parameters of Fig. 1 add up."""


@dataclass(frozen=True)
class FercnnConfig:
    """Sizes of a FERCNN. labels : 6 in the paper. A modality of 0 features is left out, as the paper also tries."""

    labels: int = 6
    audio_features: int = 162
    video_features: int = 448
    dropout: float = 0.2

    @property
    def inputs(self) -> dict[str, int]:
        """Sizes of the features that there are, by name."""
        sizes = {"audio_features": self.audio_features, "video_features": self.video_features}
        return {name: size for name, size in sizes.items() if size}


VARIANTS: dict[str, FercnnConfig] = {
    "multimodal": FercnnConfig(),
    "audio": FercnnConfig(video_features=0),
    "video": FercnnConfig(audio_features=0),
}
"""The three modes of Table II."""


def feature_cnn(labels: int, dropout: float) -> nn.Sequential:
    """The CNN of Fig. 1, (B, 1, 162) -> (B, labels); 152,614 parameters with six labels.

    Its last two pooling layers keep the length they are given, 3 and 1: windows of 3, one apart.
    """
    return nn.Sequential(
        nn.Conv1d(1, 256, 3), nn.ReLU(), nn.MaxPool1d(3),  # (B, 256, 53)
        nn.Conv1d(256, 128, 3), nn.ReLU(), nn.MaxPool1d(3), nn.Dropout(dropout),  # (B, 128, 17)
        nn.Conv1d(128, 64, 3), nn.ReLU(), nn.MaxPool1d(3), nn.Dropout(dropout),  # (B, 64, 5)
        nn.Conv1d(64, 64, 3), nn.ReLU(), nn.MaxPool1d(3, 1, 1),  # (B, 64, 3)
        nn.Conv1d(64, 32, 3), nn.ReLU(), nn.MaxPool1d(3, 1, 1),  # (B, 32, 1)
        nn.Flatten(),  # (B, 32)
        nn.Linear(32, 256), nn.ReLU(), nn.Dropout(dropout),
        nn.Linear(256, labels),
    )  # fmt: skip


class FercnnHead(nn.Module):
    """Features of each modality to logits: an affine projection that is fitted, not trained, and the CNN.

    The projection is standardising, reducing the video features and Marginal Fisher Analysis in one (sections III-D,
    III-F): all of them are affine. It is random until `set_projection`.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, config: FercnnConfig) -> None:
        super().__init__()
        features = sum(config.inputs.values())
        self.register_buffer("weight", nn.init.orthogonal_(torch.empty(FUSED_FEATURES, features)))
        self.register_buffer("bias", torch.zeros(FUSED_FEATURES))
        self.cnn = feature_cnn(config.labels, config.dropout)

    def set_projection(self, weight: Tensor, bias: Tensor) -> None:
        """Fused features are weight @ features + bias from now on; (162, features of all modalities), (162,)."""
        self.weight.copy_(weight)
        self.bias.copy_(bias)

    def forward(self, *features: Tensor) -> Tensor:
        """(B, features) of each modality -> (B, labels)."""
        fused = F.linear(torch.cat(features, 1), self.weight, self.bias)  # (B, 162)
        return self.cnn(fused.unsqueeze(1))


class Fercnn(System):
    """The whole network: "audio_features" (B, 162) and "video_features" (B, V), as configured, to "probs_fused"."""

    def __init__(self, config: FercnnConfig) -> None:
        super().__init__()
        self.config = config
        self.head = FercnnHead(config)

    def parts(self) -> Mapping[str, NetworkPart]:
        inputs = {name: (size,) for name, size in self.config.inputs.items()}
        return {"head": NetworkPart(self.head, inputs, {PROBS_FUSED: (self.config.labels,)}, "window")}

    def forward(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {PROBS_FUSED: self.head(*(batch[name] for name in self.config.inputs))}
