"""Sound as the kernels take it: int16, or float32 with full scale at -1..1."""

from typing import Any

import numpy as np
import numpy.typing as npt

from kernels.arrays import check_array

INT16, FLOAT32 = np.dtype(np.int16), np.dtype(np.float32)  # compared with a dtype in a fifth of a scalar type's time

LOUDEST = 1e6
"""Limit of |float32 sample|: a million times full scale is no sound, and its power would soon overflow."""


def check_samples(samples: npt.NDArray[np.int16 | np.float32], name: str = "samples") -> None:
    """Raise ValueError for no array, no int16 or float32, another shape than (n,), or what is no sound.

    That is a float32 sample that is NaN, infinite or beyond a million. name : of the argument.
    """
    check_array(samples, name)
    if samples.dtype not in (INT16, FLOAT32) or samples.ndim != 1:
        raise ValueError(
            f"{name} is {samples.dtype} with shape {samples.shape}; expected int16 or float32 with shape (n,)."
        )
    if samples.dtype == FLOAT32 and len(samples) and not (samples.max() <= LOUDEST and samples.min() >= -LOUDEST):
        raise ValueError(f"{name} holds NaN, infinity or a value beyond a million; expected samples in -1..1.")


def check_same_dtype(chunk: npt.NDArray[np.int16 | np.float32], before: np.dtype[Any] | None) -> None:
    """Raise ValueError for a chunk of another dtype than the audio before it; None: there was none."""
    if before not in (None, chunk.dtype):
        raise ValueError(f"chunk is {chunk.dtype}, the audio before it {before}; call reset() in between.")


def float_from_samples(samples: npt.NDArray[np.int16 | np.float32]) -> npt.NDArray[np.float64]:
    """Samples with full scale at -1..1, float64 [shape=(n,)]; a copy. Errors as `check_samples`.

    Examples
    --------
    >>> float_from_samples(np.array([-32_768, 16_384], np.int16)).tolist()
    [-1.0, 0.5]
    """
    check_samples(samples)
    scale = 32_768 if samples.dtype == INT16 else 1
    return samples.astype(np.float64) / scale
