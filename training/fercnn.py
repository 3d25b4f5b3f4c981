"""The FERCNN recipe (Srinivas & Mishra 2022): features by kernels, a fitted projection, and the CNN trained on it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import numpy.typing as npt
import scipy.linalg
import torch
import torch.nn.functional as F
from torch import Tensor

from bundle.features import PROBS_FUSED
from bundle.labels import RAVDESS_LABELS
from corpora.av_clip import AvClip, FaceFormat
from kernels import clip_features, interest_point_features
from networks.fercnn import FUSED_FEATURES, Fercnn, FercnnConfig
from networks.system import System
from training.augment import change_speech
from training.fit import FitConfig
from training.marginal_fisher import Labels, marginal_fisher
from training.recipe import Recipe

Floats = npt.NDArray[np.float64]


class FercnnRecipe(Recipe):
    """Features of a clip, their projection fitted to the training clips, and the CNN trained on what it makes of them.

    The paper states the network and nothing of its training: optimiser, epochs and batches are ours.

    Parameters
    ----------
    network : one of `VARIANTS`; its number of labels is that of `labels`.
    labels : names of the corpus's labels.
    """

    faces = FaceFormat(size_px=48, fps=10)
    fit = FitConfig(epochs=100, lr=1e-3, weight_decay=0.0)
    batch_size = 64

    def __init__(self, network: FercnnConfig | None = None, labels: Sequence[str] = RAVDESS_LABELS) -> None:
        self.network = replace(network or FercnnConfig(), labels=len(labels))
        self.labels = tuple(labels)
        self._video_features: dict[bytes, npt.NDArray[np.float32]] = {}  # by their images' digest

    def build(self) -> Fercnn:
        return Fercnn(self.network)

    def prepare(self, system: System, clips: Sequence[AvClip]) -> None:
        """Fit the projection of the system's head to training clips, none of which may be of a held-out subject."""
        inputs, labels = zip(*((self.inputs(clip, None), clip.label) for clip in clips), strict=True)
        features = [np.stack([clip[name] for clip in inputs]).astype(np.float64) for name in self.network.inputs]
        weight, bias = fused_projection(features, np.array(labels))
        cast(Fercnn, system).head.set_projection(torch.from_numpy(weight), torch.from_numpy(bias))

    def inputs(self, clip: AvClip, rng: np.random.Generator | None) -> dict[str, npt.NDArray[np.float32]]:
        """Features by name; with `rng`, of another version of the sound.

        The paper trains on three versions of each clip, its counts say (section III-A: 22,326 = 3 * 7,442 of CREMA-D).
        """
        found = {}
        if self.network.audio_features:
            found["audio_features"] = clip_features(clip.wave if rng is None else change_speech(clip.wave, rng))
        if self.network.video_features:
            found["video_features"] = self._features_of(clip.images)
        return found

    def _features_of(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Computed once for the same images: they are as costly as the rest of an epoch, and nothing changes them."""
        key = hashlib.sha256(str(images.shape).encode() + images.tobytes()).digest()
        if key not in self._video_features:
            self._video_features[key] = interest_point_features(images)
        return self._video_features[key]

    def loss(self, system: System, batch: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Cross-entropy of the softmax output (Eq. 34)."""
        return F.cross_entropy(system(batch)[PROBS_FUSED], labels)


def fused_projection(features: Sequence[Floats], labels: Labels) -> tuple[Floats, Floats]:
    """Weight (162, d) and bias (162,) of the fused features, from those of each modality, (n, d_m) each.

    Each modality is standardised and, where it has more than 162 features, reduced to their principal components
    (section III-F: "the same number of features"). Marginal Fisher Analysis fuses two modalities (section III-D); a
    single one needs none. Its features vary the more, the better they tell classes apart: all alike, the few that
    matter would drown. The largest has unit deviation; those that these samples do not span are zero.
    """
    reductions = [_reduction(part) for part in features]
    stacked = np.concatenate(features, axis=1)
    mean = stacked.mean(0)
    projection = scipy.linalg.block_diag(*reductions)
    if len(features) > 1:
        vectors, separations = marginal_fisher((stacked - mean) @ projection, labels, FUSED_FEATURES)
        projection = projection @ (vectors * np.sqrt(separations))
    projection /= ((stacked - mean) @ projection).std(0).max()
    return projection.T, -mean @ projection


def _reduction(features: Floats) -> Floats:
    """What centred features are multiplied with, [shape=(d, 162)]."""
    deviation = _deviation(features)
    reduction = np.eye(len(deviation), FUSED_FEATURES)
    if len(deviation) > FUSED_FEATURES:
        standardised = (features - features.mean(0)) / deviation
        _, sizes, components = np.linalg.svd(standardised, full_matrices=False)
        components = components[sizes > 1e-9 * sizes[0]][:FUSED_FEATURES]
        reduction = np.pad(components.T, ((0, 0), (0, FUSED_FEATURES - len(components))))
    return reduction / deviation[:, None]


def _deviation(features: Floats) -> Floats:
    """Standard deviation of each feature; 1 where it is constant."""
    deviation = features.std(0)
    return np.where(deviation > 1e-9 * np.abs(features).max(0), deviation, 1.0)
