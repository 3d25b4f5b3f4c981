"""Spectrograms as images, for networks made for images."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from kernels.arrays import check_array, is_whole

Floats = npt.NDArray[np.float32]

LARGEST_LOGARITHM = 1e6
"""No unit's logarithm of a sound is larger, and float32 would soon overflow."""

LEAST_DEVIATION = 0.1
"""Of a log spectrogram: one that varies less is silence, and its image is zero."""


def image_from_spectrogram(log_spectrograms: Floats, size: int = 224) -> Floats:
    """Images of log spectrograms, float32 [shape=(n, 3, size, size)], each of zero mean and unit deviation.

    The input of the audio ResNet-18 of Mocanu et al. 2023, section 4.2: 224 x 224, from spectrograms of 256 bins
    (Hamming, 32 ms every 10 ms) of one second. Row 0 is the highest frequency, as spectrograms are drawn; time runs to
    the right; three equal channels, as a network pre-trained on photographs wants them. Resampled bilinearly, as
    `torch.nn.functional.interpolate` does with align_corners=False.

    The paper normalises "each batch of elements". A segment's image must not depend on what else is in the batch, nor
    on what is yet to be heard, so here each has its own mean and deviation, taken once it is resampled.

    Parameters
    ----------
    log_spectrograms : float32 [shape=(n, bins, columns)], as of `spectrogram_segments(..., output="logmag")`; the unit
        of the logarithm does not matter.
    size : height and width, pixels.

    Raises
    ------
    ValueError : another dtype or number of dimensions; no bins or columns; a value that is NaN, infinite or beyond a
        million; `size` is no whole number >= 1.

    Examples
    --------
    >>> image_from_spectrogram(np.zeros((6, 256, 100), np.float32)).shape
    (6, 3, 224, 224)
    """
    _check(log_spectrograms, size)
    bins, columns = log_spectrograms.shape[1:]
    images = _resampling(bins, size)[::-1] @ log_spectrograms @ _resampling(columns, size).T
    images -= images.mean((1, 2), keepdims=True)
    images /= np.maximum(images.std((1, 2), keepdims=True), LEAST_DEVIATION)
    return np.repeat(images[:, None], 3, axis=1)


@lru_cache(maxsize=8)
def _resampling(length: int, size: int) -> Floats:
    """Weights of `length` values in `size` linearly interpolated ones, [shape=(size, length)]; rows add up to 1."""
    places = ((np.arange(size) + 0.5) * length / size - 0.5).clip(0, length - 1)
    weights = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(length)))
    return weights.astype(np.float32)


def _check(log_spectrograms: Floats, size: int) -> None:
    check_array(log_spectrograms, "log_spectrograms")
    shape = log_spectrograms.shape
    if log_spectrograms.dtype != np.float32 or len(shape) != 3 or 0 in shape[1:]:
        raise ValueError(
            f"log_spectrograms is {log_spectrograms.dtype} with shape {shape}; expected float32 with shape "
            "(n, bins, columns). Put a single one into an array of one."
        )
    if log_spectrograms.size and not np.abs(log_spectrograms).max() <= LARGEST_LOGARITHM:
        raise ValueError(
            "log_spectrograms holds NaN, infinity or a value beyond a million; expected logarithms. "
            "Use a power_floor > 0."
        )
    if not (is_whole(size) and size >= 1):
        raise ValueError(f"size is {size!r}; expected >= 1, a whole number.")
