"""An engine that computes nothing: the loop runs with it on any machine."""

from collections.abc import Mapping

import numpy as np

from perception.engine import Tensors


class NullEngine:
    """Outputs of the given shapes (without the batch) that hold one constant, their values summing to 1."""

    name = "null"

    def __init__(self, outputs: Mapping[str, tuple[int, ...]]) -> None:
        self._outputs = outputs

    def run(self, inputs: Tensors) -> Tensors:
        batch = len(next(iter(inputs.values())))
        return {name: np.full((batch, *shape), 1 / np.prod(shape), np.float32) for name, shape in self._outputs.items()}
