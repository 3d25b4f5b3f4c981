"""Sound as the clip features take it: int16, or float32 with full scale at -1..1."""

import numpy as np
import numpy.typing as npt

LOUDEST = 1e6
"""Limit of |float32 sample|: a million times full scale is no sound."""


def float_from_samples(samples: npt.NDArray[np.int16 | np.float32]) -> npt.NDArray[np.float64]:
    """Samples with full scale at -1..1, float64 [shape=(n,)]; a copy.

    Raises
    ------
    ValueError : another dtype than int16 and float32, another shape than (n,); a float32 sample that is NaN, infinite
        or beyond a million.

    Examples
    --------
    >>> float_from_samples(np.array([-32_768, 16_384], np.int16)).tolist()
    [-1.0, 0.5]
    """
    if samples.dtype not in (np.int16, np.float32) or samples.ndim != 1:
        raise ValueError(
            f"samples are {samples.dtype} with shape {samples.shape}; expected int16 or float32 with shape (n,)."
        )
    if samples.dtype == np.int16:
        return samples.astype(np.float64) / 32_768
    if len(samples) and not (samples.max() <= LOUDEST and samples.min() >= -LOUDEST):
        raise ValueError("samples hold NaN, infinity or a value beyond a million; expected samples in -1..1.")
    return samples.astype(np.float64)
