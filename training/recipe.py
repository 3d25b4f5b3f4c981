"""What a system must say to be trained: its input from a clip, its loss, its schedule."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from torch import Tensor

from bundle.features import AudioSpec, VideoSpec, WindowSpec
from corpora.av_clip import AvClip, FaceFormat
from networks.system import System
from training.fit import FitConfig


class Recipe(ABC):
    """One per system, in a file of its own beside this one, and derived from this; `training.clips` does the rest.

    stages : checkpoints of trainings on the same split, from which the network starts. options : what else sets one
    training apart from another; for its checkpoint, and compared when it is resumed.
    """

    faces: FaceFormat
    fit: FitConfig
    batch_size: int
    stages: Sequence[Path] = ()
    options: Mapping[str, bool | int | str] = MappingProxyType({})

    @property
    def specs(self) -> Sequence[AudioSpec | VideoSpec | WindowSpec]:
        """The features, for a bundle; none where the runtime does not compute them."""
        return ()

    @abstractmethod
    def build(self) -> System:
        """The network, with fresh weights."""

    def train(self, system: System, train: Sequence[AvClip], validation: Sequence[AvClip], seed: int) -> bool:
        """Train in a way of its own; False, as for most: `training.fit` is to do it by `loss`."""
        return False

    def prepare(self, system: System, clips: Sequence[AvClip]) -> None:  # noqa: B027 (most need nothing)
        """Fit what is not trained by gradients, once, to the training clips."""

    @abstractmethod
    def inputs(self, clip: AvClip, rng: np.random.Generator | None) -> dict[str, npt.NDArray[np.float32]]:
        """One clip's input by name, without the batch; augmented by `rng`, or as evaluation wants it (None)."""

    @abstractmethod
    def loss(self, system: System, batch: Mapping[str, Tensor], labels: Tensor) -> Tensor:
        """What to minimise, from a batch of `inputs` and labels, int64 (B,)."""
