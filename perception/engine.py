"""What runs a network: named arrays in, named arrays out."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bundle.errors import EngineError

Tensors = Mapping[str, npt.NDArray[np.float32]]


class Engine(Protocol):
    """One part of a network, ready to run. `name` says with what, for messages: "onnxruntime-cpu"."""

    name: str

    def run(self, inputs: Tensors) -> Tensors:
        """Outputs by tensor name, float32, batch first; the caller owns them."""
        ...


def check_finite(outputs: Tensors) -> None:
    """EngineError where one is not: float16 that overflowed, or a GPU that fails."""
    for name, value in outputs.items():
        if not np.isfinite(value).all():
            raise EngineError(f"{name} is not finite")
