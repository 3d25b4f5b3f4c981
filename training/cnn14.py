"""The transfer system's sound alone (Luna-Jiménez et al. 2021, section 3.2): CNN-14, trained as the whole trains it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from corpora.av_clip import SAMPLE_RATE_HZ, AvClip, FaceFormat
from networks.panns import PANNS_FRONT_END
from networks.pretrained import load_pretrained
from networks.system import System
from networks.transfer import LOG_MEL, SIZE_PX, SoundOfTransfer, TransferConfig
from training.recipe import Recipe
from training.transfer import HOP_LENGTH, Floats, TransferRecipe, cut_to_speech, earlier_end, panns_log_mel


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
