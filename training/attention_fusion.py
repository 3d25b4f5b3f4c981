"""The attention-fusion recipe (Mocanu et al. 2023): six snippets and six image spectrograms of a clip."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bundle.features import AUDIO_MASK, VISUAL_MASK
from bundle.labels import RAVDESS_LABELS
from corpora.av_clip import SAMPLE_RATE_HZ, AvClip, FaceFormat
from kernels import image_from_spectrogram, spectrogram_segments
from networks.attention_fusion import SNIPPETS, SPECTROGRAMS, AttentionFusion, AttentionFusionConfig
from networks.pretrained import load_pretrained
from networks.system import System
from training.emotion_metric import emotion_metric_loss, triplet_loss
from training.fit import FitConfig
from training.recipe import Recipe

Floats = npt.NDArray[np.float32]

CORPUS_FPS = 30.0
"""Of RAVDESS and CREMA-D. 96 of a clip's images are kept: none to two lie between those of 3.1 to 4.16 s (4.2)."""

SMALLEST_CROP, BRIGHTNESS = 0.875, 0.2
"""The paper names random cropping and brightness, without their limits: side of the crop, and change of gain."""


class AttentionFusionRecipe(Recipe):
    """How section 4.2 trains: Adam at 1e-4 on batches of 16, until 20 epochs bring nothing better.

    Parameters
    ----------
    network : one of `VARIANTS`, of any size; its number of labels is that of `labels`.
    labels : names of the corpus's labels.
    kinetics, imagenet : published weights of a 3D-ResNet of the same depth, and of ResNet-18, to start from.
    """

    def __init__(
        self,
        network: AttentionFusionConfig | None = None,
        labels: Sequence[str] = RAVDESS_LABELS,
        kinetics: Path | None = None,
        imagenet: Path | None = None,
    ) -> None:
        self.network = replace(network or AttentionFusionConfig(), labels=len(labels))
        self.labels = tuple(labels)
        self.weights = {"visual": kinetics, "audio": imagenet}
        self.faces = FaceFormat(self.network.size_px, CORPUS_FPS)
        self.fit = FitConfig(
            epochs=100, lr=1e-4, weight_decay=0.0, optimizer="adam", schedule="constant", patience=20
        )  # fmt: skip
        self.batch_size = 16

    def build(self) -> System:
        """The network, with fresh weights, or the published ones in its ResNets."""
        system = AttentionFusion(self.network)
        for modality, encoder in system.encoders.items():
            path = self.weights[modality]
            if path is not None:
                key = "state_dict" if modality == "visual" else None
                load_pretrained(cast(nn.Module, encoder.trunk), path, drop=("fc.",), key=key)
        return system

    def inputs(self, clip: AvClip, rng: np.random.Generator | None) -> dict[str, Floats]:
        """Snippets (N, 3, k, S, S) of 0..255 and image spectrograms (N, 3, S, S), where the variant has them."""
        network = self.network
        everything = np.ones(network.snippets, np.float32)
        arrays: dict[str, Floats] = {}
        if "visual" in network.modalities:
            arrays |= {SNIPPETS: snippets_of(clip.images, network, rng), VISUAL_MASK: everything}
        if "audio" in network.modalities:
            arrays |= {SPECTROGRAMS: image_spectrograms(clip.wave, network), AUDIO_MASK: everything}
        return arrays

    def loss(self, system: System, batch: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Cross-entropy of the dense layer, and the variant's metric loss on the unit vectors that it classifies."""
        network = cast(AttentionFusion, system)
        embeddings = network.embedding(batch)
        loss = F.cross_entropy(network.head.classifier(embeddings), labels)
        if self.network.loss == "emotion":
            loss = loss + emotion_metric_loss(F.normalize(embeddings), labels, self.labels)
        elif self.network.loss == "triplet":
            loss = loss + triplet_loss(F.normalize(embeddings), labels)
        return loss


def snippets_of(
    images: npt.NDArray[np.uint8], network: AttentionFusionConfig, rng: np.random.Generator | None
) -> Floats:
    """Uniformly sampled images without overlap, gray in all three channels, float32 (N, 3, k, S, S), 0..255."""
    chosen = uniform_positions(len(images), network.snippets * network.images)
    faces = torch.from_numpy(images[chosen]).float()[:, None]  # (N k, 1, S, S)
    if rng is not None:
        faces = augment(faces, rng)
    snippets = faces.unflatten(0, (network.snippets, network.images)).transpose(1, 2)  # (N, 1, k, S, S)
    return snippets.expand(-1, 3, -1, -1, -1).numpy()


def uniform_positions(count: int, wanted: int) -> npt.NDArray[np.int64]:
    """`wanted` positions in a row of `count`, the middles of as many equal parts; repeated where it is shorter."""
    return ((np.arange(wanted) + 0.5) * count / wanted).astype(np.int64)


def augment(faces: Tensor, rng: np.random.Generator) -> Tensor:
    """Random crop, mirror image and brightness (4.2), one for the whole clip: (T, 1, S, S) -> the same, 0..255."""
    size = faces.shape[-1]
    side = round(size * rng.uniform(SMALLEST_CROP, 1))
    top, left = rng.integers(0, size - side + 1, 2)
    cropped = faces[:, :, top : top + side, left : left + side]
    faces = F.interpolate(cropped, (size, size), mode="bilinear", align_corners=False)
    if rng.random() < 0.5:
        faces = faces.flip(3)
    return (faces * (1 + rng.uniform(-BRIGHTNESS, BRIGHTNESS))).clamp(0, 255)


def image_spectrograms(wave: npt.NDArray[np.int16], network: AttentionFusionConfig) -> Floats:
    """Log magnitudes of N evenly spaced seconds as `kernels.image_from_spectrogram` draws them, float32 (N, 3, S, S).

    256 frequencies, Hamming windows of 32 ms every 10 ms (4.2). Seconds of a clip shorter than N of them overlap, on
    the grid of 0.2 s that a stream has; a clip shorter than one second is followed by silence.
    """
    wave = np.pad(wave, (0, max(0, SAMPLE_RATE_HZ - len(wave))))
    segments = spectrogram_segments(wave, n_fft=512, hop_length=160, window="hamming", output="logmag")
    chosen = np.linspace(0, len(segments) - 1, network.snippets).round().astype(np.int64)
    return image_from_spectrogram(segments[chosen], network.size_px)
