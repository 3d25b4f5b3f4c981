"""Face crops in plain NumPy and float64: slow, readable, and what every fast backend must equal."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def sample_faces(
    image: npt.NDArray[np.uint8],
    transforms: Floats,
    supersample: int,
    weights: Floats,
    bias: Floats,
    crops: npt.NDArray[np.floating[Any]],
) -> None:
    """Fill `crops` with `colour * weights + bias` of `image`, seen through each transform.

    Parameters
    ----------
    image : uint8 RGB, (H, W, 3), 0..255; black around it.
    transforms : crop-to-image transforms [shape=(n, 2, 3)].
    supersample : samples per crop pixel and axis, averaged.
    weights : of R, G and B [shape=(3,)].
    bias : of each channel [shape=(3,)].
    crops : written [shape=(n, 1 or 3, size, size)]; a single channel is the sum of the weighted colours.
    """
    size = crops.shape[-1]
    places = (np.arange(size * supersample) + 0.5) / supersample - 0.5  # of the samples, in crop pixels
    x, y = np.meshgrid(places, places)
    for transform, crop in zip(transforms, crops, strict=True):
        u, v = np.tensordot(transform, (x, y, np.ones_like(x)), 1)
        samples = _bilinear(image, u, v)
        colours = samples.reshape(size, supersample, size, supersample, 3).mean(axis=(1, 3))
        weighted = (colours * weights).transpose(2, 0, 1)
        channels = weighted.sum(axis=0, keepdims=True) if len(crop) == 1 else weighted
        crop[:] = channels + bias[: len(crop), None, None]


def _bilinear(image: npt.NDArray[np.uint8], u: Floats, v: Floats) -> Floats:
    """Colours at column u and row v, float64 [shape=(*u.shape, 3)]."""
    height, width = image.shape[:2]
    u, v = u.clip(-2, width + 1), v.clip(-2, height + 1)  # as black there as farther away, and fit for an integer
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    across, down = (u - column)[..., None], (v - row)[..., None]
    upper = _pixels(image, row, column) * (1 - across) + _pixels(image, row, column + 1) * across
    lower = _pixels(image, row + 1, column) * (1 - across) + _pixels(image, row + 1, column + 1) * across
    return upper * (1 - down) + lower * down


def _pixels(image: npt.NDArray[np.uint8], row: npt.NDArray[np.int_], column: npt.NDArray[np.int_]) -> Floats:
    """image[row, column], black outside."""
    height, width = image.shape[:2]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    colours = image[row.clip(0, height - 1), column.clip(0, width - 1)]
    return np.where(inside[..., None], colours, 0.0)
