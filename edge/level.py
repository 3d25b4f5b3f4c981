"""How loud sound is."""

import numpy as np
import numpy.typing as npt

SILENCE_DBFS = -96.0
"""The level of digital silence, and the lowest that int16 can tell."""


def dbfs_from_samples(samples: npt.NDArray[np.int16]) -> float:
    """Root mean square in dB of full scale, where a full-scale square wave is 0; -96 for silence."""
    if not len(samples):
        return SILENCE_DBFS
    mean_square = float(np.square(samples, dtype=np.float32).mean()) / 32_768**2
    return max(SILENCE_DBFS, 10 * float(np.log10(mean_square + 1e-12)))
