"""The transfer system's sound alone (Luna-Jiménez et al. 2021, section 3.2): CNN-14, trained as the whole trains it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from bundle.features import PROBS_AUDIO
from corpora.av_clip import SAMPLE_RATE_HZ, AvClip, FaceFormat
from networks.panns import MEL_BANDS, PANNS_FRONT_END, Cnn14
from networks.pretrained import load_pretrained
from networks.system import NetworkPart, System
from networks.transfer import LOG_MEL, SIZE_PX, TransferConfig
from training.recipe import Recipe
from training.transfer import HOP_LENGTH, Floats, TransferRecipe, cut_to_speech, earlier_end, panns_log_mel


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


@dataclass
class Cnn14Recipe(Recipe):
    """Parameters as of `training.transfer.TransferRecipe`, where they are about the sound."""

    network: TransferConfig
    cnn14: Path | None = None
    frozen_blocks: int = 0
    speech_only: bool = False

    def __post_init__(self) -> None:
        self.fit, self.batch_size = TransferRecipe.fit, TransferRecipe.batch_size
        self.faces = FaceFormat(SIZE_PX, 10.0)  # of clips that have any; none is looked at
        self.options = {"audio_only": True, "frozen_blocks": self.frozen_blocks, "speech_only": self.speech_only}

    def build(self) -> SoundOfTransfer:
        """The network, its weights fresh where none are published."""
        system = SoundOfTransfer(self.network)
        if self.cnn14:
            load_pretrained(system.audio, self.cnn14, drop=(*PANNS_FRONT_END, "fc_audioset"), key="model")
        system.audio.freeze(self.frozen_blocks)
        return system

    def inputs(self, clip: AvClip, rng: np.random.Generator | None) -> dict[str, Floats]:
        """Log-mel of the clip's end or, with `rng`, of any window of it."""
        clip = cut_to_speech(clip) if self.speech_only else clip
        if rng:
            clip = earlier_end(clip, self.network.audio_columns * HOP_LENGTH / SAMPLE_RATE_HZ, rng)
        return {LOG_MEL: panns_log_mel(clip.wave, self.network.audio_columns)}

    def loss(self, system: System, batch: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """Negative log-likelihood, as of the whole system."""
        return F.cross_entropy(cast(SoundOfTransfer, system).audio(batch[LOG_MEL]), labels)
