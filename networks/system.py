"""What every system is to training and export: parts that run apart in the car, and their whole."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from bundle.errors import ArgumentError

Runs = Literal["image", "snippet", "segment", "window"]
"""How often a part runs: once per face image, per snippet of images, per audio segment, or at each update."""


@dataclass(frozen=True)
class NetworkPart:
    """A part of a system, and the tensors between it and the next: shape by name, without the batch; all float32."""

    module: nn.Module
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    runs: Runs


class System(nn.Module, ABC):
    """A network from face images and sound to emotions, as one of the papers describes it.

    Calling it with a batch of whole windows gives what its parts give when they run apart.
    """

    @abstractmethod
    def parts(self) -> Mapping[str, NetworkPart]:
        """The parts by name, in the order in which they run; the last is the head."""

    @abstractmethod
    def forward(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Logits (B, labels) by output name ("probs_fused", ...) from inputs by name, as the system says."""


def check_sizes(config: object, *names: str) -> None:
    """ArgumentError where one of these sizes of a configuration is less than 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ArgumentError(f"{name} is {getattr(config, name)}; expected 1 or more.")
