"""The recipe of the transfer-learning system (Luna-Jiménez et al. 2021): all parts trained at once, or in stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from bundle.errors import ArgumentError
from bundle.features import NS_PER_S
from corpora.av_clip import SAMPLE_RATE_HZ, AvClip, FaceFormat
from kernels import spectrogram_segments
from networks.panns import PANNS_FRONT_END
from networks.pretrained import load_pretrained
from networks.system import System
from networks.transfer import SIZE_PX, Transfer, TransferConfig, embed_images
from perception.chunks import AudioChunk
from perception.voice import FRAME_LENGTH, VoiceActivity
from training.augment import random_gaps
from training.fit import FitConfig
from training.recipe import Recipe
from training.saliency import SaliencyMap, saliency_maps, spectral_residual

Floats = npt.NDArray[np.float32]

HOP_LENGTH = 160
PANNS_SPECTROGRAM: Mapping[str, Any] = {
    "sample_rate": SAMPLE_RATE_HZ, "n_fft": 512, "hop_length": HOP_LENGTH, "n_mels": 64, "fmin": 50.0, "fmax": 8_000.0,
    "edge": "reflect", "standardize": "none", "statistics": 0, "power_floor": 1e-10, "mel_scale": "slaney",
    "mel_norm": "area",
}  # fmt: skip
"""The front end that the published weights of CNN-14 were trained with, of samples in -1..1."""

_RAVDESS_CLIPS = (1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0)
"""Of each label, in proportion: neutral has no strong intensity."""


@dataclass
class TransferRecipe(Recipe):
    """How all of the system is trained on clips.

    saliency : where the paper has the network of Kroner et al.
    fine_tune : False leaves the spatial transformer as it was pretrained, the paper's "Feature Extraction".
    frozen_blocks : of CNN-14, that stay as published: "we unfroze a few of its top layers", without saying which.
    speech_only : cut each clip from its first speech to its last, the paper's "with VAD".
    in_stages : train one part after the other, as the paper does (`training.transfer_stages`); cannot be resumed.
    cnn14 : the published checkpoint of Cnn14_16k. stn : what `training.transfer_stages.pretrain_stn` saved.

    Raises
    ------
    ArgumentError : `fine_tune` with a spatial transformer of other labels than the system's.
    """

    network: TransferConfig = field(default_factory=TransferConfig)
    fit: FitConfig = FitConfig(  # noqa: RUF009 (immutable)
        epochs=500, lr=1e-3, weight_decay=0.0, optimizer="adam", schedule="constant", patience=30
    )
    batch_size: int = 24
    saliency: SaliencyMap = spectral_residual
    fine_tune: bool = True
    frozen_blocks: int = 0
    speech_only: bool = False
    in_stages: bool = False
    cnn14: Path | None = None
    stn: Path | None = None
    faces: FaceFormat = field(init=False)

    def __post_init__(self) -> None:
        network = self.network
        if self.fine_tune and network.stn_labels != network.labels:
            raise ArgumentError(
                f"the spatial transformer has {network.stn_labels} labels, the system {network.labels}; expected as "
                "many where it is fine-tuned. Set fine_tune=False to leave it as pretrained."
            )
        self.options = {
            "fine_tune": self.fine_tune, "frozen_blocks": self.frozen_blocks, "speech_only": self.speech_only,
            "in_stages": self.in_stages, "saliency": self.saliency.__name__,
        }  # fmt: skip
        self.window_s = network.audio_columns * HOP_LENGTH / SAMPLE_RATE_HZ
        self.faces = FaceFormat(SIZE_PX, network.image_slots / self.window_s)

    def build(self) -> Transfer:
        """The network, its weights fresh where none are published.

        Raises
        ------
        ArtefactError : as `load_pretrained`.
        """
        system = Transfer(self.network)
        if self.cnn14:
            load_pretrained(system.audio, self.cnn14, drop=(*PANNS_FRONT_END, "fc_audioset"), key="model")
        if self.stn:
            load_pretrained(system.visual.stn, self.stn, drop=("fc2",) if self.fine_tune else ())
        system.audio.freeze(self.frozen_blocks)
        system.visual.stn.requires_grad_(self.fine_tune)
        return system

    def train(self, system: System, train: Sequence[AvClip], validation: Sequence[AvClip], seed: int) -> bool:
        """Stage by stage, where `in_stages` says so."""
        if self.in_stages:
            from training.transfer_stages import train_in_stages

            train_in_stages(self, cast(Transfer, system), train, validation, seed)
        return self.in_stages

    def inputs(self, clip: AvClip, rng: np.random.Generator | None) -> dict[str, Floats]:
        """A window of the clip, as `Transfer` takes it: its end or, with `rng`, any, with gaps between its images."""
        clip = cut_to_speech(clip) if self.speech_only else clip
        if rng:
            clip = earlier_end(clip, self.window_s, rng)
        slots = self.network.image_slots
        images = clip.images[-slots:]
        empty = slots - len(images)
        faces = np.zeros((slots, 1, SIZE_PX, SIZE_PX), np.float32)
        saliency, mask = np.zeros_like(faces), np.zeros(slots, np.float32)
        faces[empty:, 0], saliency[empty:, 0] = stn_inputs(images, self.saliency)
        mask[empty:] = 1
        if rng:
            generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
            mask *= random_gaps(torch.Size((1, slots)), generator)[0].numpy()
        log_mel = panns_log_mel(clip.wave, self.network.audio_columns)
        return {"faces": faces, "saliency": saliency, "visual_mask": mask, "log_mel": log_mel}

    def loss(self, system: System, batch: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Sum of the losses of the paper's stages; no gradient crosses from one stage to another.

        The images' cross-entropy trains the spatial transformer, the clip's the sequence model, the negative
        log-likelihood CNN-14, that of the fused posteriors the fusion. The first two weight the classes.
        """
        transfer, mask = cast(Transfer, system), batch["visual_mask"]
        if not self.fine_tune:
            transfer.visual.eval()  # frozen: its normalisation too
        layers = embed_images(transfer.visual.stn, batch["faces"], batch["saliency"], mask)
        visual = transfer.head.sequence(layers[transfer.visual.layer].detach(), mask)
        audio = transfer.audio(batch["log_mel"])
        fused = transfer.head.fuse(audio.detach(), visual.detach())
        weights = self._class_weights(labels)
        loss = (
            F.cross_entropy(visual, labels, weights) + F.cross_entropy(audio, labels) + F.cross_entropy(fused, labels)
        )
        if self.fine_tune:
            valid = mask.bool()
            of_images = labels.unsqueeze(1).expand(valid.shape)[valid]
            loss = loss + F.cross_entropy(layers["logits"][valid], of_images, weights)
        return loss

    def _class_weights(self, labels: Tensor) -> Tensor | None:
        """Inverse of RAVDESS's number of clips of each label; None for labels that are not RAVDESS's."""
        known = self.network.labels == len(_RAVDESS_CLIPS)
        return 1 / torch.tensor(_RAVDESS_CLIPS, device=labels.device) if known else None


def stn_inputs(images: npt.NDArray[np.uint8], saliency: SaliencyMap) -> tuple[Floats, Floats]:
    """Images and their saliency maps as `SpatialTransformer` takes them, without channel: uint8 -> float32, -1..1."""
    return images / np.float32(127.5) - 1, 2 * saliency_maps(images, saliency) - 1


def panns_log_mel(wave: npt.NDArray[np.int16], columns: int) -> Floats:
    """Input of `Cnn14`: log-mel of the wave's end [shape=(1, columns, 64)]; a shorter wave is preceded by silence."""
    length = columns * HOP_LENGTH
    recent = wave[-length:]
    samples = np.zeros(length, np.float32)
    samples[length - len(recent) :] = recent / np.float32(32_768)
    return spectrogram_segments(samples, segment=length, step=length, **PANNS_SPECTROGRAM)[0].T[None]


def cut_to_speech(clip: AvClip) -> AvClip:
    """The clip from its first speech to its last, by Silero's detector; whole where none is found.

    The paper's detector is InaSpeech. Sound is cut to 32 ms, images to the nearest.
    """
    voice = VoiceActivity(keep_s=len(clip.wave) / SAMPLE_RATE_HZ + 1)
    voice.push(AudioChunk(clip.wave, 0))
    ends = [frame * FRAME_LENGTH * NS_PER_S // SAMPLE_RATE_HZ for frame in range(len(clip.wave) // FRAME_LENGTH + 1)]
    speech = np.flatnonzero([voice.speech_s(start, end) > 0 for start, end in pairwise(ends)])
    if not len(speech):
        return clip
    start, stop = speech[0] * FRAME_LENGTH, (speech[-1] + 1) * FRAME_LENGTH
    first, last = (round(sample / SAMPLE_RATE_HZ * clip.fps) for sample in (start, stop))
    return replace(clip, wave=clip.wave[start:stop], images=clip.images[first:last])


def earlier_end(clip: AvClip, window_s: float, rng: np.random.Generator) -> AvClip:
    """The clip without a random part of its end; a whole window of it is left."""
    length_s = len(clip.wave) / SAMPLE_RATE_HZ
    end_s = length_s - rng.uniform(0, max(0.0, length_s - window_s))
    return replace(clip, wave=clip.wave[: round(end_s * SAMPLE_RATE_HZ)], images=clip.images[: round(end_s * clip.fps)])
