"""How far one computation of a network lies from another, and on which inputs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perception.engine import Tensors

SILENT_DB = 300.0
"""What two equal tensors are said to have: more than float64 can tell."""

FLOAT32_ERROR, FLOAT32_DB = 1e-5, 90.0
"""What two float32 computations of one network may differ by: the largest error, relative to the largest value or to 1,
or the signal to noise. One of them must hold: small outputs of large sums have little signal over their rounding, and a
saturated attention can turn the rounding of a single sample into a larger error."""

FLOAT16_DB = 40.0
"""Least signal to noise of a part in float16, against float32 on random input; below it the part stays in float32."""

ENGINE_DB = {"float32": 60.0, "float16": 35.0, "int8": 5.0}
"""Least signal to noise of an engine against ONNX Runtime on the same file, by its precision.

Seen with the default bundle's parts: float32 in another order of sums leaves 115 dB or more, float16 48 to 64. INT8 is
compared with its own file: what rounds to another step in one layer goes on through all, and two runtimes leave 14 to
26. Weights of one layer off by 1 % leave 18 to 39, a layer of zeros -1 at most.
"""


@dataclass(frozen=True)
class Difference:
    """Of one tensor.

    max_error : largest absolute difference. scale : largest absolute value, at least 1. sqnr_db : signal to noise.
    """

    tensor: str
    max_error: float
    scale: float
    sqnr_db: float

    @property
    def is_rounding(self) -> bool:
        """Whether both may be the same computation in float32."""
        return self.max_error <= FLOAT32_ERROR * self.scale or self.sqnr_db >= FLOAT32_DB


def differences(expected: Tensors, found: Tensors) -> list[Difference]:
    """What `found` differs from `expected` by, tensor by tensor."""
    return [_difference(name, expected[name], found[name]) for name in expected]


def _difference(name: str, expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> Difference:
    scale = max(1.0, float(np.abs(expected).max()))
    return Difference(name, float(np.abs(found - expected).max()), scale, sqnr_db(expected, found))


def sqnr_db(expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32]) -> float:
    """Signal to quantization noise: 10 log10 of the sum of expected^2 over that of (found - expected)^2, dB.

    At most SILENT_DB; -SILENT_DB where `found` is not finite.
    """
    wide = expected.astype(np.float64)
    signal, noise = float(np.square(wide).sum()), float(np.square(found - wide).sum())
    if not np.isfinite(noise):
        return -SILENT_DB
    if noise == 0:
        return SILENT_DB
    return max(-SILENT_DB, min(SILENT_DB, 10 * float(np.log10(max(signal, 1e-300) / noise))))


def random_inputs(inputs: Mapping[str, tuple[int, ...]], batch: int) -> dict[str, np.ndarray]:
    """Standard normal values, and masks of zeros and ones, float32 (batch, *shape); the same every time."""
    rng = np.random.default_rng(batch)
    return {
        name: rng.integers(0, 2, (batch, *shape)).astype(np.float32)
        if name.endswith("_mask")
        else rng.standard_normal((batch, *shape), np.float32)
        for name, shape in inputs.items()
    }
