"""Multi-modal Residual Perceptron Network (Chang & Skarbek 2021), split into what one chunk needs and the head.

Encoders run once per chunk; the head runs on the window's cached embeddings. The networks N0, N1 and N2 (Eq. 7-9)
differ in the head only. docs/models/mrpn.md says where each equation is, and what the paper leaves open.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from bundle.errors import ArgumentError
from bundle.features import EMBEDDING, FACE, SPECTROGRAM
from networks.aggregators import AGGREGATORS
from networks.resnet import ResNet18
from networks.system import NetworkPart, Runs, System, check_sizes

Fusion = Literal["n0", "n0-late", "n1", "n2"]
Task = Literal["classification", "regression"]


@dataclass(frozen=True)
class MrpnConfig:
    """Sizes of an MRPN. Defaults: the slim network of the default bundle, under 2 M parameters in all.

    labels : classes or, in a regression, targets.
    fusion : "n0": the fusion component only (Eq. 7); "n0-late": the same on frozen branches; "n1": a side branch for
        each modality (Eq. 8); "n2": residual perceptrons too (Eq. 9).
    aggregator : "lstm", "bilstm" or "transformer" (section 5.6).
    embedding_norm, standardize_faces : normalise what comes to the aggregator, and each face; not in the paper.
    small_input : stems for small chunks instead of the published ResNet's; see `ResNet18`.
    modalities : "visual", "audio" or both.
    face_shape, segment_shape : (channels, height, width) of one chunk. image_slots, segment_slots : in a window.

    Raises
    ------
    ArgumentError : an unknown name; sizes that an aggregator cannot split.
    """

    labels: int = 8
    visual_width: int = 16
    audio_width: int = 16
    aggregate_size: int = 96  # features f_m of a modality
    hidden_size: int = 64  # of the scoring component
    dropout: float = 0.3
    fusion: Fusion = "n2"
    aggregator: str = "lstm"
    embedding_norm: bool = True
    standardize_faces: bool = True
    small_input: bool = True
    modalities: tuple[str, ...] = ("visual", "audio")
    face_shape: tuple[int, int, int] = (1, 48, 48)
    image_slots: int = 40
    segment_shape: tuple[int, int, int] = (1, 64, 100)
    segment_slots: int = 16
    task: Task = "classification"

    def __post_init__(self) -> None:
        choices = {"fusion": get_args(Fusion), "task": get_args(Task), "aggregator": tuple(AGGREGATORS)}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ArgumentError(f"{name} is {getattr(self, name)!r}; expected one of {known}.")
        if self.aggregator != "lstm" and self.aggregate_size % 4:
            raise ArgumentError(f"aggregate_size is {self.aggregate_size}; expected a multiple of 4.")
        check_sizes(self, "visual_width", "audio_width", "aggregate_size", "hidden_size")
        if self.modalities not in (("visual", "audio"), ("visual",), ("audio",)):
            raise ArgumentError(
                f"modalities are {self.modalities}; expected ('visual', 'audio'), in this order, or one of them."
            )


PAPER = MrpnConfig(
    visual_width=64, audio_width=64, aggregate_size=512, hidden_size=256, dropout=0.5, embedding_norm=False,
    standardize_faces=False, small_input=False, face_shape=(1, 224, 224), segment_shape=(1, 256, 250),
)  # fmt: skip
"""N2 with published ResNets, 256 x 250 spectrograms and LSTMs (Table 2); sizes behind the ResNets are ours."""

VARIANTS: dict[str, MrpnConfig] = {
    "slim": MrpnConfig(),
    "full": replace(PAPER, aggregator="transformer"),  # the best row of Table 4
    "n2": PAPER,
    "n2-bilstm": replace(PAPER, aggregator="bilstm"),
    "n1": replace(PAPER, fusion="n1"),
    "n0": replace(PAPER, fusion="n0"),
    "n0-late": replace(PAPER, fusion="n0-late"),
    "visual": replace(PAPER, fusion="n0", modalities=("visual",)),  # Table 1: one modality alone
    "audio": replace(PAPER, fusion="n0", modalities=("audio",)),
}


@dataclass(frozen=True)
class Modality:
    """One input of the network.

    chunk, chunks : names of one chunk and, in a batch, of a window's. shape : of one chunk. slots : chunks of a window.
    runs : how often a chunk comes. encoder : F_m of Eq. 1, (B, *shape) -> (B, embedding_size).
    """

    chunk: str
    chunks: str
    shape: tuple[int, ...]
    slots: int
    runs: Runs
    encoder: nn.Module
    embedding_size: int


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
    """Aggregators, residual perceptrons, fusion and side branches, for any number of modalities (Fig. 7).

    Parameters
    ----------
    embedding_sizes : of the modalities, by name, in the order of the head's inputs.
    """

    def __init__(self, embedding_sizes: Mapping[str, int], config: MrpnConfig) -> None:
        super().__init__()
        size, names = config.aggregate_size, list(embedding_sizes)
        aggregator = AGGREGATORS[config.aggregator]
        self.aggregator = nn.ModuleDict(
            {m: aggregator(embedding_sizes[m], size, norm=config.embedding_norm) for m in names}
        )
        self.feature_norm = nn.ModuleDict({m: nn.BatchNorm1d(size) for m in names})
        residual, side = names if config.fusion == "n2" else [], names if config.fusion in ("n1", "n2") else []
        self.perceptron = nn.ModuleDict({m: ResidualPerceptron(size) for m in residual})
        self.branch = nn.ModuleDict(
            {m: nn.Sequential(nn.Dropout(config.dropout), nn.Linear(size, config.labels)) for m in side}
        )
        self.fusion_norm = nn.BatchNorm1d(len(names) * size)
        self.fusion = scoring(len(names) * size, config.hidden_size, config.labels, config.dropout)

    def forward(self, *window: Tensor) -> tuple[Tensor, ...]:
        """Embeddings (B, T, E) and mask (B, T) of each modality in turn -> fused logits, then those of the branches.

        (B, labels) each; Eq. 7, 8 or 9.
        """
        features = {
            m: self.features(m, embeddings, mask)
            for m, embeddings, mask in zip(self.aggregator, window[::2], window[1::2], strict=True)
        }
        fused = torch.cat(
            [self.perceptron[m](features[m]) if m in self.perceptron else features[m] for m in features], 1
        )  # (B, modalities * F)
        return self.fusion(self.fusion_norm(fused)), *(self.branch[m](features[m]) for m in self.branch)

    def features(self, modality: str, embeddings: Tensor, mask: Tensor) -> Tensor:
        """Normalised features of one modality (Eq. 1, 3): (B, T, E), (B, T) -> (B, F)."""
        return self.feature_norm[modality](self.aggregator[modality](embeddings, mask))


class Mrpn(System):
    """The whole network, for training. At run time its parts run apart, on what each of them needs.

    Parameters
    ----------
    modalities : what to fuse, by name; None: faces and sound, as `config` says.
    """

    def __init__(self, config: MrpnConfig, modalities: Mapping[str, Modality] | None = None) -> None:
        super().__init__()
        self.config = config
        self.modalities = modalities or audio_video_modalities(config)
        for name, modality in self.modalities.items():
            self.add_module(name, modality.encoder)
        self.head = MrpnHead({name: m.embedding_size for name, m in self.modalities.items()}, config)
        for module in self.frozen():
            module.requires_grad_(False)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits, or values of a regression, (B, labels) by output name, of windows of raw chunks.

        batch : of each modality its chunks (B, T, ...) and mask (B, T): "faces" (B, Tv, 1, 48, 48), "visual_mask"
            (B, Tv), "segments" (B, Ta, 1, 64, 100), "audio_mask" (B, Ta). The encoders see valid slots only; T may
            differ from the configuration's.
        """
        window = [
            tensor for name in self.modalities for tensor in (self.embeddings(name, batch), batch[f"{name}_mask"])
        ]
        return dict(zip(self.outputs(), self.head(*window), strict=True))

    def branch_logits(self, name: str, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (B, labels) of one side branch alone, for windows without the other modalities."""
        features = self.head.features(name, self.embeddings(name, batch), batch[f"{name}_mask"])
        return self.head.branch[name](features)

    def embeddings(self, name: str, batch: Mapping[str, Tensor]) -> Tensor:
        """F_m(x_m) of Eq. 1: a modality's chunks (B, T, ...) -> (B, T, E)."""
        modality = self.modalities[name]
        return encode_valid(modality.encoder, batch[modality.chunks], batch[f"{name}_mask"])

    def outputs(self) -> list[str]:
        """Names of the outputs: the fused one, then the side branches'."""
        kind = "probs" if self.config.task == "classification" else "values"
        return [f"{kind}_{name}" for name in ("fused", *self.head.branch)]

    def parts(self) -> dict[str, NetworkPart]:
        """The encoder of each modality, under its name, and the head."""
        parts: dict[str, NetworkPart] = {}
        window: dict[str, tuple[int, ...]] = {}
        for name, modality in self.modalities.items():
            size = modality.embedding_size
            parts[name] = NetworkPart(
                modality.encoder, {modality.chunk: modality.shape}, {EMBEDDING: (size,)}, modality.runs
            )
            window |= {f"{name}_embeddings": (modality.slots, size), f"{name}_mask": (modality.slots,)}
        outputs = dict.fromkeys(self.outputs(), (self.config.labels,))
        return parts | {"head": NetworkPart(self.head, window, outputs, "window")}

    def frozen(self) -> list[nn.Module]:
        """What late fusion takes as uni-modal training left it: encoders, aggregators and their normalisation."""
        if self.config.fusion != "n0-late":
            return []
        encoders = [modality.encoder for modality in self.modalities.values()]
        return [*encoders, self.head.aggregator, self.head.feature_norm]

    def train(self, mode: bool = True) -> "Mrpn":
        """As of any module, but that what is frozen stays in evaluation mode: its normalisation too."""
        super().train(mode)
        for module in self.frozen():
            module.eval()
        return self


def audio_video_modalities(config: MrpnConfig) -> dict[str, Modality]:
    """Faces and sound, or one of them, each with a ResNet-18 of its own (section 5.2)."""
    faces = ResNet18(
        config.face_shape[0], config.visual_width, small_input=config.small_input, stem_stride=1,
        standardize=config.standardize_faces,
    )  # fmt: skip
    sound = ResNet18(config.segment_shape[0], config.audio_width, small_input=config.small_input)
    known = {
        "visual": Modality(
            FACE, "faces", config.face_shape, config.image_slots, "image", faces, faces.embedding_size
        ),
        "audio": Modality(
            SPECTROGRAM, "segments", config.segment_shape, config.segment_slots, "segment", sound, sound.embedding_size
        ),
    }  # fmt: skip
    return {name: known[name] for name in config.modalities}


def encode_valid(encoder: nn.Module, chunks: Tensor, mask: Tensor) -> Tensor:
    """Embeddings of the valid slots, zeros elsewhere: (B, T, ...), (B, T) -> (B, T, E); float32 also in autocast."""
    valid = mask.bool()
    encoded = encoder(chunks[valid].to(memory_format=layout_of(encoder))).float()  # (valid slots, E)
    embeddings = encoded.new_zeros((*mask.shape, encoded.shape[1]))
    embeddings[valid] = encoded
    return embeddings


def layout_of(encoder: nn.Module) -> torch.memory_format:
    """The memory format that an encoder wants its chunks in; without a wish, they stay as they are."""
    return getattr(encoder, "layout", torch.preserve_format)
