"""Transfer learning with late fusion (Luna-Jiménez et al. 2021): a spatial transformer per image, CNN-14 on the sound.

The spatial transformer runs once per image, CNN-14 on the whole window's sound, the head on both.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.errors import ArgumentError
from bundle.features import EMBEDDING, FACE, PROBS, PROBS_AUDIO, VISUAL_EMBEDDINGS, VISUAL_MASK
from networks.panns import MEL_BANDS, Cnn14
from networks.system import NetworkPart, System, check_sizes

SIZE_PX = 48
SALIENCY = "saliency"
LOG_MEL = "log_mel"
AUDIO_LOGITS = "audio_logits"

Embedding = Literal["flatten810", "fc50", "posteriors"]
"""Layers of the spatial transformer that the sequence model was tried on (section 4.2)."""


@dataclass(frozen=True)
class TransferConfig:
    """Sizes of the system. Defaults: the paper's best visual model, "2 layer bi-LSTM with 300 neurons" (Table A2).

    stn_labels : of the spatial transformer: 7 or 3 where it stays as pretrained.
    lstm_size : per direction; 0: no sequence model, the images vote ("max. voting", on posteriors).
    stn_width, audio_width : channels of the first convolutions, 10 and 64 in the paper.
    image_slots, audio_columns : of a window, 4 s at 10 images and 100 columns per second; they bind `parts` only.
    """

    labels: int = 8
    stn_labels: int = 8
    embedding: Embedding = "flatten810"
    lstm_size: int = 300
    lstm_layers: int = 2
    attention_layers: int = 2
    dropout: float = 0.3  # of the bi-LSTM and the attention (section 4.2)
    stn_width: int = 10
    audio_width: int = 64
    image_slots: int = 40
    audio_columns: int = 400

    def __post_init__(self) -> None:
        check_sizes(self, "stn_width", "audio_width")
        if self.embedding not in get_args(Embedding):
            raise ArgumentError(f"embedding is {self.embedding!r}; expected one of {', '.join(get_args(Embedding))}.")
        if not self.lstm_size and (self.embedding != "posteriors" or self.stn_labels != self.labels):
            raise ArgumentError(
                f"images cannot vote by {self.embedding!r} of {self.stn_labels} labels; "
                f"expected 'posteriors' of {self.labels}, or a bi-LSTM (lstm_size > 0)."
            )


VARIANTS: Mapping[str, TransferConfig] = {
    "flatten810": TransferConfig(),
    "fc50": TransferConfig(embedding="fc50", lstm_size=150, lstm_layers=1, attention_layers=1),
    "posteriors": TransferConfig(embedding="posteriors", lstm_size=25, lstm_layers=1, attention_layers=1),
    "max-voting": TransferConfig(embedding="posteriors", lstm_size=0),
}
"""The best model fine-tuned on RAVDESS for each input of the sequence model (Tables 3, A2), and the vote."""


class SpatialTransformer(nn.Module):
    """The "guided" spatial transformer of Table A1, on 48 x 48 gray images and their saliency maps.

    The saliency map goes to the localization network, which says where to look; the image itself is sampled there
    and classified. Keys are those of the authors' published network of the same kind (the paper's reference 60).
    """

    grid: Tensor

    def __init__(self, labels: int = 8, width: int = 10) -> None:
        super().__init__()
        self.localization = nn.Sequential(
            nn.Conv2d(1, 8, 7), nn.MaxPool2d(2), nn.ReLU(),  # (B, 8, 21, 21)
            nn.Conv2d(8, 10, 5), nn.MaxPool2d(2), nn.ReLU(),  # (B, 10, 8, 8)
        )  # fmt: skip
        affine = nn.Linear(32, 6)
        nn.init.zeros_(affine.weight)
        affine.bias.data.copy_(torch.tensor([1.0, 0, 0, 0, 1, 0]))  # the identity
        self.fc_loc = nn.Sequential(nn.Linear(640, 32), nn.ReLU(), affine)
        self.conv1 = nn.Conv2d(1, width, 3)
        self.conv2 = nn.Conv2d(width, width, 3)
        self.conv3 = nn.Conv2d(width, width, 3)
        self.conv4 = nn.Conv2d(width, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.dropout = nn.Dropout(0.5)
        self.fc1 = nn.Linear(81 * width, 50)
        self.fc2 = nn.Linear(50, labels)
        self.register_buffer("grid", _pixel_centres(), persistent=False)

    def forward(self, images: Tensor, saliency: Tensor) -> Tensor:
        """(B, 1, 48, 48), -1..1, twice -> logits (B, labels)."""
        return self.layers(images, saliency)["logits"]

    def layers(self, images: Tensor, saliency: Tensor) -> dict[str, Tensor]:
        """ "flatten810" (B, 81 * width), "fc50" (B, 50), "logits" and "posteriors" (B, labels)."""
        x = self.sample(images, self.theta(saliency))  # (B, 1, 48, 48)
        x = torch.relu(self.conv1(x))  # (B, width, 46, 46)
        x = torch.relu(F.max_pool2d(self.conv2(x), 2))  # (B, width, 22, 22)
        x = torch.relu(self.conv3(x))  # (B, width, 20, 20)
        x = torch.relu(F.max_pool2d(self.norm(self.conv4(x)), 2))  # (B, width, 9, 9)
        flat = torch.flatten(self.dropout(x), 1)  # (B, 81 * width)
        fc50 = torch.relu(self.fc1(flat))  # (B, 50)
        logits = self.fc2(fc50)  # (B, labels)
        return {"flatten810": flat, "fc50": fc50, "logits": logits, "posteriors": logits.softmax(1)}

    def theta(self, saliency: Tensor) -> Tensor:
        """The affine transform that the localization network chooses, (B, 1, 48, 48) -> (B, 2, 3)."""
        return self.fc_loc(torch.flatten(self.localization(saliency), 1)).view(-1, 2, 3)

    def sample(self, images: Tensor, theta: Tensor) -> Tensor:
        """The images as the affine transforms see them; what lies outside is 0. ONNX has no affine grid before 20."""
        grid = self.grid @ theta.transpose(1, 2)  # (B, 48 * 48, 2)
        return F.grid_sample(images, grid.view(-1, SIZE_PX, SIZE_PX, 2), align_corners=False)


def _pixel_centres() -> Tensor:
    """Homogeneous coordinates (x, y, 1) of the pixels' centres, the image being -1..1: (48 * 48, 3)."""
    centres = (torch.arange(SIZE_PX) * 2 + 1) / SIZE_PX - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack((x, y, torch.ones_like(x)), 2).view(-1, 3)


class ImageEncoder(nn.Module):
    """One layer of a spatial transformer: images and saliency maps (B, 1, 48, 48) -> (B, E)."""

    def __init__(self, config: TransferConfig) -> None:
        super().__init__()
        self.stn = SpatialTransformer(config.stn_labels, config.stn_width)
        self.layer = config.embedding
        sizes = {"flatten810": 81 * config.stn_width, "fc50": 50, "posteriors": config.stn_labels}
        self.embedding_size = sizes[self.layer]

    def forward(self, face: Tensor, saliency: Tensor) -> Tensor:
        return self.stn.layers(face, saliency)[self.layer]


class SelfAttention(nn.Module):
    """Deep self-attention (Baziotis et al. 2018): states (B, T, F) and mask (B, T) -> r (B, F) and weights (B, T).

    e_i = MLP(h_i) with tanh, a = softmax(e) over the valid slots, r = sum of a_i h_i. Weights sum to 1, or are all 0
    where no slot is valid.
    """

    def __init__(self, size: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.mlp = nn.Sequential()
        for before, after in pairwise([size] * layers + [1]):
            self.mlp.extend((nn.Linear(before, after), nn.Tanh(), nn.Dropout(dropout)))

    def forward(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.mlp(states).squeeze(2)  # (B, T), of tanh: their exponentials are safe
        weights = scores.exp() * mask
        weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-9)
        return (weights.unsqueeze(2) * states).sum(1), weights


class SequenceModel(nn.Module):
    """Bi-LSTM (Eq. 1), self-attention and a layer of logits: embeddings (B, T, E), mask (B, T) -> (B, labels).

    An empty slot is zeros to the bi-LSTM; the attention leaves it out.
    """

    def __init__(self, embedding_size: int, config: TransferConfig) -> None:
        super().__init__()
        between = config.dropout if config.lstm_layers > 1 else 0.0
        self.lstm = nn.LSTM(
            embedding_size, config.lstm_size, config.lstm_layers, batch_first=True, dropout=between, bidirectional=True
        )
        self.dropout = nn.Dropout(config.dropout)
        self.attention = SelfAttention(2 * config.lstm_size, config.attention_layers, config.dropout)
        self.classify = nn.Linear(2 * config.lstm_size, config.labels)

    def forward(self, embeddings: Tensor, mask: Tensor) -> Tensor:
        states, _ = self.lstm(embeddings * mask.unsqueeze(2))  # (B, T, 2 L), forward || backward
        feature, _ = self.attention(self.dropout(states), mask)  # (B, 2 L)
        return self.classify(feature)


class MaxVoting(nn.Module):
    """Logarithm of each class's share of the images' votes: posteriors (B, T, labels), mask (B, T) -> (B, labels).

    An image votes for its most probable class; the class with most votes is the clip's (section 3.3.1), the first
    of several. Softmax gives the shares back.
    """

    def forward(self, posteriors: Tensor, mask: Tensor) -> Tensor:
        votes = F.one_hot(posteriors.argmax(2), posteriors.shape[2]) * mask.unsqueeze(2)  # (B, T, labels)
        return (votes.sum(1) / mask.sum(1, keepdim=True).clamp_min(1)).clamp_min(1e-6).log()


class TransferHead(nn.Module):
    """Embeddings of a window's images and logits of its sound to fused, visual and audio logits, (B, labels) each.

    The late fusion is a logistic regression on both posteriors, the sound's first: one linear layer, whose weights
    `training.late_fusion.linear_layer` finds.
    """

    def __init__(self, embedding_size: int, config: TransferConfig) -> None:
        super().__init__()
        self.sequence = SequenceModel(embedding_size, config) if config.lstm_size else MaxVoting()
        self.fusion = nn.Linear(2 * config.labels, config.labels)

    def forward(self, visual: Tensor, visual_mask: Tensor, audio_logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, E), (B, T), (B, labels) -> fused, visual, audio logits."""
        visual_logits = self.sequence(visual, visual_mask)
        return self.fuse(audio_logits, visual_logits), visual_logits, audio_logits

    def fuse(self, audio_logits: Tensor, visual_logits: Tensor) -> Tensor:
        return self.fusion(torch.cat((audio_logits.softmax(1), visual_logits.softmax(1)), 1))


class Transfer(System):
    """The whole system; its parts run apart in the car."""

    def __init__(self, config: TransferConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = ImageEncoder(config)
        self.audio = Cnn14(config.labels, config.audio_width)
        self.head = TransferHead(self.visual.embedding_size, config)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits by output name.

        batch : "faces" and "saliency" (B, T, 1, 48, 48), -1..1; "visual_mask" (B, T), 1 where there is a face;
            "log_mel" (B, 1, columns, 64), as `Cnn14` takes it.
        """
        mask = batch["visual_mask"]
        visual = embed_images(self.visual.stn, batch["faces"], batch["saliency"], mask)[self.visual.layer]
        logits = self.head(visual, mask, self.audio(batch["log_mel"]))
        return dict(zip(PROBS, logits, strict=True))

    def parts(self) -> dict[str, NetworkPart]:
        config = self.config
        image, labels = (1, SIZE_PX, SIZE_PX), (config.labels,)
        embedding = self.visual.embedding_size
        return {
            "visual": NetworkPart(self.visual, {FACE: image, SALIENCY: image}, {EMBEDDING: (embedding,)}, "image"),
            "audio": NetworkPart(
                self.audio, {LOG_MEL: (1, config.audio_columns, MEL_BANDS)}, {AUDIO_LOGITS: labels}, "window"
            ),
            "head": NetworkPart(
                self.head,
                {
                    VISUAL_EMBEDDINGS: (config.image_slots, embedding),
                    VISUAL_MASK: (config.image_slots,),
                    AUDIO_LOGITS: labels,
                },
                dict.fromkeys(PROBS, labels),
                "window",
            ),
        }


class SoundOfTransfer(System):
    """CNN-14 on the window's sound, under the key that it has in the whole system: "audio"."""

    def __init__(self, config: TransferConfig) -> None:
        super().__init__()
        self.config = config
        self.audio = Cnn14(config.labels, config.audio_width)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """ "log_mel" (B, 1, columns, 64) to logits (B, labels)."""
        return {PROBS_AUDIO: self.audio(batch[LOG_MEL])}

    def parts(self) -> dict[str, NetworkPart]:
        log_mel = (1, self.config.audio_columns, MEL_BANDS)
        return {"audio": NetworkPart(self.audio, {LOG_MEL: log_mel}, {PROBS_AUDIO: (self.config.labels,)}, "window")}


def embed_images(stn: SpatialTransformer, faces: Tensor, saliency: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """All layers of a spatial transformer, zeros in empty slots: (B, T, 1, 48, 48) twice, (B, T) -> (B, T, E)."""
    valid = mask.bool()
    embedded = {}
    for name, values in stn.layers(faces[valid], saliency[valid]).items():  # (valid slots, E)
        embedded[name] = values.new_zeros((*mask.shape, values.shape[1]))
        embedded[name][valid] = values
    return embedded
