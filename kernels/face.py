"""Aligned face crops: a similarity transform that puts the eyes in place, and bilinear sampling through it."""

import numpy as np
import numpy.typing as npt

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of R, G, B in luma: ITU-R BT.601."""

MOUTH_BELOW_EYES = 0.375
"""From between the eyes to the mouth, as a fraction of the crop: the median over FER2013's training images."""


def similarity_from_eyes(
    left_eye: npt.ArrayLike,
    right_eye: npt.ArrayLike,
    size: int,
    *,
    mouth: npt.ArrayLike | None = None,
    eye_x: float = 0.32,
    eye_y: float = 0.40,
) -> npt.NDArray[np.float64]:
    """Similarity transform from crop pixels to image pixels, float64 [shape=(2, 3)].

    Parameters
    ----------
    left_eye, right_eye : (x, y) in image pixels; left and right as seen in the image.
    size : crop width and height, pixels.
    mouth : (x, y) of its centre. The crop is then scaled by the eyes' distance or by that from eyes to mouth,
        whichever shows more of the face: a turned head brings the eyes together, a nodding one the mouth closer.
    eye_x, eye_y : where the left eye lands, as fractions of `size`; the right eye lands at 1 - eye_x. With `mouth`,
        the point between them still lands in the middle at eye_y.

    Raises
    ------
    ValueError : eyes less than 1 pixel apart, or a landmark that is not finite.

    Examples
    --------
    >>> matrix = similarity_from_eyes((16, 20), (34, 20), 50)
    >>> np.allclose(matrix, [[1, 0, 0], [0, 1, 0]])
    True
    """
    left, right = np.asarray(left_eye, float), np.asarray(right_eye, float)
    across = right - left
    distance = float(np.hypot(*across))
    if not 1 <= distance < np.inf:
        raise ValueError(f"eyes at {left.tolist()} and {right.tolist()} are {distance:g} px apart; expected >= 1 px.")
    middle = (left + right) / 2
    extent = distance / (1 - 2 * eye_x)  # of the crop, in image pixels
    if mouth is not None:
        height = float(np.hypot(*(np.asarray(mouth, float) - middle)))
        if not height < np.inf:
            raise ValueError(f"mouth is at {mouth}; expected finite coordinates.")
        extent = max(extent, height / MOUTH_BELOW_EYES)
    a, b = across / distance * extent / size
    rotation = np.array([[a, -b], [b, a]])
    offset = middle - rotation @ (np.array([0.5, eye_y]) * size)
    return np.column_stack((rotation, offset))


def preprocess_faces(
    image: npt.NDArray[np.uint8],
    matrices: npt.ArrayLike,
    size: int,
    *,
    gray: bool = True,
    supersample: int = 2,
    mean: float = 127.0,
    std: float = 64.0,
) -> npt.NDArray[np.float32]:
    """Aligned, normalised face crops, float32 NCHW [shape=(n, 1 or 3, size, size)], (value - mean) / std.

    Parameters
    ----------
    image : uint8 RGB, (H, W, 3), 0..255.
    matrices : crop-to-image transforms [shape=(n, 2, 3)] of `similarity_from_eyes`.
    supersample : samples per crop pixel and axis, averaged; 1 aliases when a large face shrinks.

    Pixels outside the image are black. Pixel centres are at integer coordinates.

    Raises
    ------
    ValueError : `image` is not uint8 RGB, or `matrices` not [shape=(n, 2, 3)].

    Examples
    --------
    >>> image = np.full((90, 90, 3), 191, np.uint8)
    >>> preprocess_faces(image, [[[1, 0, 20], [0, 1, 20]]], 48).max()
    np.float32(1.0)
    """
    transforms = np.asarray(matrices, float)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image is {image.dtype} with shape {image.shape}; expected uint8 with shape (H, W, 3).")
    if transforms.ndim != 3 or transforms.shape[1:] != (2, 3):
        raise ValueError(f"matrices has shape {transforms.shape}; expected (n, 2, 3).")
    fine = (np.arange(size * supersample) + 0.5) / supersample - 0.5
    grid = np.stack((*np.meshgrid(fine, fine), np.ones((len(fine), len(fine)))))  # (x, y, 1) of each sample
    crops = np.empty((len(transforms), 1 if gray else 3, size, size), np.float32)
    for crop, transform in zip(crops, transforms, strict=True):
        samples = _bilinear(image, *np.tensordot(transform, grid, 1), gray=gray)
        pixels = samples.reshape(size, supersample, size, supersample, -1).mean(axis=(1, 3))
        crop[:] = ((pixels - mean) / std).transpose(2, 0, 1)
    return crops


def _bilinear(
    image: npt.NDArray[np.uint8], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], *, gray: bool
) -> npt.NDArray[np.float32]:
    """Bilinear samples of `image` at (x, y), float32 [shape=(*x.shape, 1 or 3)]; black outside."""
    left, top = int(np.floor(x.min())), int(np.floor(y.min()))
    right, bottom = int(np.floor(x.max())) + 2, int(np.floor(y.max())) + 2
    patch = _patch(image, left, top, right, bottom)
    patch = (patch @ LUMA)[..., None] if gray else patch
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    across = (x - column).astype(np.float32)[..., None]
    down = (y - row).astype(np.float32)[..., None]
    column, row = column - left, row - top
    upper = patch[row, column] * (1 - across) + patch[row, column + 1] * across
    lower = patch[row + 1, column] * (1 - across) + patch[row + 1, column + 1] * across
    return upper * (1 - down) + lower * down


def _patch(image: npt.NDArray[np.uint8], left: int, top: int, right: int, bottom: int) -> npt.NDArray[np.float32]:
    """image[top:bottom, left:right] as float32, black where that lies outside."""
    height, width = image.shape[:2]
    patch = np.zeros((bottom - top, right - left, 3), np.float32)
    x0, x1 = min(max(left, 0), width), min(max(right, 0), width)
    y0, y1 = min(max(top, 0), height), min(max(bottom, 0), height)
    patch[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0:y1, x0:x1]
    return patch
