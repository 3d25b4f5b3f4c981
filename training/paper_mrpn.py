"""MRPN as its paper trains it (Chang & Skarbek 2021, 4.4 and 5.2): any variant, on labelled clips, clip by clip."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bundle.errors import ArgumentError
from bundle.features import AudioSpec, VideoSpec, WindowSpec
from bundle.labels import RAVDESS_LABELS
from corpora.av_clip import AvClip, FaceFormat
from networks.mrpn import Mrpn, MrpnConfig
from networks.pretrained import load_pretrained
from networks.system import System
from perception.segments import segments_of_wave
from training.augment import FaceJitter, center_faces, jitter_faces, slice_clip
from training.fit import FitConfig
from training.losses import multi_term_loss
from training.recipe import Recipe

Floats = npt.NDArray[np.float32]
Specs = tuple[AudioSpec, VideoSpec, WindowSpec]

PAPER_SPECS: Specs = (
    AudioSpec(highpass_hz=0.0, hop_length=64, output="logmag"),
    VideoSpec(size_px=224),
    WindowSpec(window_s=5.4, image_period_s=0.04),
)
"""256 x 250 segments every 0.2 s; whole clips, of which RAVDESS's longest lasts 5.3 s, at 25 images per second."""

PAPER_FIT = FitConfig(epochs=100, lr=5e-5, weight_decay=1e-2, schedule="plateau")
"""AdamW at 5e-5, halved after ten epochs without a lower validation loss (5.2); epochs and decay are ours."""

SLIM_RECIPE: Mapping[str, Any] = {
    "features": (AudioSpec(), VideoSpec(), WindowSpec()),
    "fit": FitConfig(epochs=60, lr=1e-3, weight_decay=5e-2),
    "batch_size": 32,
    "standardize": "running",
}
"""For the slim network: features of the default bundle, which a CPU computes live; how to fit it is ours."""


class PaperMrpnRecipe(Recipe):
    """One prediction per clip, from all of it.

    Parameters
    ----------
    network : one of `VARIANTS`, of any width; its chunks' shapes, its slots and its labels follow from the other two.
    labels : names of the corpus's labels.
    features : what images and segments are; the window is the longest clip of which all is seen, of others the end is.
    standardize : "wave": sound by the mean and deviation of the whole clip, as the paper; "running": as a stream can.
    slices : random slices of the training clips (Table 1, T), or whole clips (NT).
    alike : all images of a clip augmented the same (Fig. 8, middle; Table 4, VA), or each for itself (bottom; IA).
    resnets : published weights of ResNet-18 for the encoders to start from, by modality.
    branches : for "n0-late", by modality: checkpoints of the networks "visual" and "audio", of the same sizes and
        trained on the same split.

    Raises
    ------
    ArgumentError : another `standardize`; "n0-late" without a checkpoint for each modality.
    """

    def __init__(
        self,
        network: MrpnConfig,
        labels: Sequence[str] = RAVDESS_LABELS,
        features: Specs = PAPER_SPECS,
        *,
        fit: FitConfig = PAPER_FIT,
        batch_size: int = 8,
        standardize: Literal["wave", "running"] = "wave",
        slices: bool = True,
        alike: bool = True,
        resnets: Mapping[str, Path] | None = None,
        branches: Mapping[str, Path] | None = None,
    ) -> None:
        if standardize not in ("wave", "running"):
            raise ArgumentError(f"standardize is {standardize!r}; expected 'wave' or 'running'.")
        audio, video, window = self.features = features
        self.fit, self.batch_size, self.standardize = fit, batch_size, standardize
        self.slices, self.alike = slices, alike
        self.options = {"standardize": standardize, "slices": slices, "alike": alike}
        self.network = replace(
            network, labels=len(labels), face_shape=(network.face_shape[0], *video.shape[1:]),
            image_slots=window.image_slots, segment_shape=audio.shape, segment_slots=window.segment_slots(audio),
        )  # fmt: skip
        self.faces = FaceFormat(video.size_px, 1 / window.image_period_s)
        self.resnets, self.branches = dict(resnets or {}), dict(branches or {})
        self.stages = tuple(self.branches.values())
        if network.fusion == "n0-late" and set(self.branches) != set(network.modalities):
            raise ArgumentError(
                f"late fusion got trained branches for {sorted(self.branches)}; expected {sorted(network.modalities)}. "
                "Train the variants of one modality first."
            )

    @property
    def specs(self) -> Sequence[AudioSpec | VideoSpec | WindowSpec]:
        """The features, for the checkpoint; none where the whole wave is standardised, which no runtime can do."""
        return self.features if self.standardize == "running" else ()

    def build(self) -> System:
        """The network, with fresh weights but for those of `resnets` and `branches`."""
        system = Mrpn(self.network)
        for name, path in self.resnets.items():
            stem = ["conv1.weight"] if system.modalities[name].shape[0] == 1 else []
            load_pretrained(system.modalities[name].encoder, path, drop=["fc."], sum_channels=stem)
        for name, path in self.branches.items():
            own = tuple(f"{where}{name}." for where in ("", "head.aggregator.", "head.feature_norm."))
            others = [key for key in system.state_dict() if not key.startswith(own)]
            load_pretrained(system, path, drop=["head.fusion", *others], key="model")
        return system

    def inputs(self, clip: AvClip, rng: np.random.Generator | None) -> dict[str, Floats]:
        """Faces and segments of a clip from its start on, and their masks; with `rng`, sliced and jittered (4.4)."""
        if rng is not None and self.slices:
            clip = slice_clip(clip, rng)
        arrays: dict[str, Floats] = {}
        if "visual" in self.network.modalities:
            faces = self._faces(clip.images, rng)
            arrays["faces"], arrays["visual_mask"] = _slots(faces, self.network.face_shape, self.network.image_slots)
        if "audio" in self.network.modalities:
            segments = self._segments(clip.wave)
            arrays["segments"], arrays["audio_mask"] = _slots(
                segments, self.network.segment_shape, self.network.segment_slots
            )
        return arrays

    def loss(self, system: System, batch: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """The multi-term loss (Eq. 5); of one term where the network has no side branches (Eq. 7)."""
        return multi_term_loss(system(batch).values(), labels)

    def _faces(self, images: npt.NDArray[np.uint8], rng: np.random.Generator | None) -> Floats:
        """float32 (T, channels, size, size); gray in each channel."""
        crops, video = torch.from_numpy(images[-self.network.image_slots :]), self.features[1]
        if rng is None or not len(crops):
            faces = center_faces(crops, video)
        else:
            generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
            faces = jitter_faces(crops, video, FaceJitter(), generator, alike=self.alike)
        return faces.expand(-1, self.network.face_shape[0], -1, -1).numpy()

    def _segments(self, wave: npt.NDArray[np.int16]) -> Floats:
        """float32 (T, 1, bins, columns); a clip of less than one segment is followed by silence."""
        audio = self.features[0]
        wave = np.pad(wave, (0, max(0, audio.segment_samples - len(wave))))
        segments = segments_of_wave(wave, audio, standardize=self.standardize)
        return segments[-self.network.segment_slots :, None]


def _slots(chunks: Floats, shape: tuple[int, ...], slots: int) -> tuple[Floats, Floats]:
    """Chunks, after empty slots as in the runtime's window, and their mask."""
    filled, mask = np.zeros((slots, *shape), np.float32), np.zeros(slots, np.float32)
    empty = slots - len(chunks)
    filled[empty:], mask[empty:] = chunks, 1
    return filled, mask
