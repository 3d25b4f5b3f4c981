"""Aligned face crops: a similarity transform that puts the eyes in place, and bilinear sampling through it."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from kernels.arrays import check_array, is_whole

Backend = Literal["numba", "cuda", "numpy"]
Floats = npt.NDArray[np.float64]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of R, G, B in luma: ITU-R BT.601."""

MOUTH_BELOW_EYES = 0.375
"""From between the eyes to the mouth, as a fraction of the crop: the median over FER2013's training images."""

LARGEST_ENTRY = 1e9
"""Of a transform: far beyond any image, yet float64 still places its samples within 1e-4 px."""


def similarity_from_eyes(
    left_eye: npt.ArrayLike,
    right_eye: npt.ArrayLike,
    size: int,
    *,
    mouth: npt.ArrayLike | None = None,
    eye_x: float = 0.32,
    eye_y: float = 0.40,
) -> Floats:
    """Similarity transform from crop pixels to image pixels, centres at whole numbers, float64 [shape=(2, 3)].

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
    ValueError : eyes less than 1 pixel apart; a landmark that is not finite, or not (x, y); not 0 <= eye_x < 0.5, not
        0 <= eye_y <= 1; size < 1.

    Examples
    --------
    >>> matrix = similarity_from_eyes((15.5, 19.5), (33.5, 19.5), 50)
    >>> np.allclose(matrix, [[1, 0, 0], [0, 1, 0]])
    True
    """
    if not (0 <= eye_x < 0.5 and 0 <= eye_y <= 1 and size >= 1):
        raise ValueError(
            f"eye_x is {eye_x}, eye_y is {eye_y}, size is {size}; "
            "expected 0 <= eye_x < 0.5, 0 <= eye_y <= 1, size >= 1."
        )
    left, right = _point("left_eye", left_eye), _point("right_eye", right_eye)
    across = right - left
    distance = float(np.hypot(*across))
    if not 1 <= distance < np.inf:
        raise ValueError(f"eyes at {left.tolist()} and {right.tolist()} are {distance:g} px apart; expected >= 1 px.")
    middle = (left + right) / 2
    extent = distance / (1 - 2 * eye_x)  # of the crop, in image pixels
    if mouth is not None:
        height = float(np.hypot(*(_point("mouth", mouth) - middle)))
        if not height < np.inf:
            raise ValueError(f"mouth is at {mouth}; expected finite coordinates.")
        extent = max(extent, height / MOUTH_BELOW_EYES)
    a, b = across / distance * extent / size
    rotation = np.array([[a, -b], [b, a]])
    offset = middle - rotation @ (np.array([0.5, eye_y]) * size - 0.5)  # the crop begins half a pixel before index 0
    return np.column_stack((rotation, offset))


def _point(name: str, landmark: npt.ArrayLike) -> Floats:
    point = np.asarray(landmark, float)
    if point.shape != (2,):
        raise ValueError(f"{name} has shape {point.shape}; expected (x, y). Drop a depth or a confidence.")
    return point


def preprocess_faces(
    image: npt.NDArray[np.uint8],
    matrices: npt.ArrayLike,
    size: int,
    *,
    gray: bool = True,
    supersample: int = 2,
    mean: float | Sequence[float] = 127.0,
    std: float | Sequence[float] = 64.0,
    dtype: npt.DTypeLike = np.float32,
    out: npt.NDArray[Any] | None = None,
    backend: Backend = "numba",
) -> npt.NDArray[Any]:
    """Aligned, normalised face crops, NCHW [shape=(n, 1 or 3, size, size)], (value - mean) / std.

    Parameters
    ----------
    image : uint8 RGB, (H, W, 3), 0..255; copied if it is not C-contiguous.
    matrices : crop-to-image transforms [shape=(n, 2, 3)] of `similarity_from_eyes`; an empty list of no faces.
    gray : one channel, luma, instead of R, G, B.
    supersample : samples per crop pixel and axis, averaged; 1 aliases when a large face shrinks.
    mean, std : of all channels, or of each: three numbers, with gray=False.
    dtype : np.float32 or np.float16 of the result.
    out : written and returned, if given; C-contiguous, of the result's dtype and shape.
    backend : "numba" compiles on its first use, seconds that are cached on disk; "cuda" takes the image to a GPU and
        the crops back (`kernels.cuda.CudaTick` leaves them there); "numpy" is the readable reference.

    Pixels outside the image are black. Pixel centres are at integer coordinates.

    Raises
    ------
    ValueError : `image` is not uint8 RGB of >= 1 x 1 pixels; `matrices` is not [shape=(n, 2, 3)], or holds a number
        that is not finite or beyond 1e9; `size` or `supersample` is no whole number >= 1; `mean` or `std` is not
        finite, or std <= 0; another `dtype`, `out` or `backend` than said.
    RuntimeError : "cuda" without its extra, or without a device.

    Examples
    --------
    >>> image = np.full((90, 90, 3), 191, np.uint8)
    >>> preprocess_faces(image, [[[1, 0, 20], [0, 1, 20]]], 48).max().round(6)
    np.float32(1.0)
    """
    check_image(image)
    transforms = checked_transforms(matrices)
    if not (is_whole(size) and is_whole(supersample) and size >= 1 and supersample >= 1):
        raise ValueError(f"size is {size!r} and supersample {supersample!r}; expected whole numbers >= 1.")
    size, supersample = int(size), int(supersample)  # NumPy's small integers overflow
    weights, bias = weights_and_bias(gray, mean, std)
    crops = _crops((len(transforms), 1 if gray else 3, size, size), dtype, out)
    _sampler(backend)(image, transforms, supersample, weights, bias, crops)
    return crops


@lru_cache
def _sampler(backend: Backend) -> Callable[..., None]:
    """`sample_faces` of a backend, which is imported when it is first used: Numba takes a while."""
    if backend == "numba":
        from kernels.face_cpu import sample_faces
    elif backend == "cuda":
        from kernels.cuda import sample_faces
    elif backend == "numpy":
        from kernels.face_reference import sample_faces
    else:
        raise ValueError(f"backend is {backend!r}; expected one of {get_args(Backend)}.")
    return sample_faces


def check_image(image: npt.NDArray[np.uint8]) -> None:
    check_array(image, "image")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            f"image is {image.dtype} with shape {image.shape}; expected uint8 with shape (H, W, 3). "
            "Convert it to RGB, 0..255."
        )
    if image.size == 0:
        raise ValueError(f"image has shape {image.shape}; expected H >= 1 and W >= 1. Drop empty images.")


def checked_transforms(matrices: npt.ArrayLike) -> Floats:
    """`matrices`, checked; a C-contiguous copy."""
    transforms = np.array(matrices, np.float64, order="C")
    if transforms.shape == (0,):  # a list of no faces
        return transforms.reshape(0, 2, 3)
    if transforms.ndim != 3 or transforms.shape[1:] != (2, 3):
        raise ValueError(
            f"matrices has shape {transforms.shape}; expected (n, 2, 3). Put the matrix of a single face into a list."
        )
    fit = np.abs(transforms) <= LARGEST_ENTRY
    if not fit.all():
        raise ValueError(
            f"matrices holds {transforms[~fit][0]}; expected finite numbers within +-{LARGEST_ENTRY:g}. "
            "Drop faces without finite landmarks."
        )
    return transforms


def weights_and_bias(gray: bool, mean: float | Sequence[float], std: float | Sequence[float]) -> tuple[Floats, Floats]:
    """Weights of R, G and B, and what to add to each channel, both [shape=(3,)]; the first channel may be gray."""
    try:
        return _weights_and_bias(gray, mean, std)
    except TypeError:  # a list or an array, in which no cache can look up
        return _weights_and_bias.__wrapped__(gray, mean, std)


@lru_cache
def _weights_and_bias(gray: bool, mean: float | Sequence[float], std: float | Sequence[float]) -> tuple[Floats, Floats]:
    means, deviations = (np.array(_per_channel(*each, gray)) for each in (("mean", mean), ("std", std)))
    if not (deviations > 0).all():
        raise ValueError(f"std is {std}; expected > 0.")
    weights = LUMA if gray else np.ones(3)
    return weights / deviations, np.zeros(3) - means / deviations


def _per_channel(name: str, values: float | Sequence[float], gray: bool) -> tuple[float, ...]:
    """`values`, checked: one finite number, or with colours one of each channel."""
    numbers: tuple[Any, ...] = tuple(values) if isinstance(values, Iterable) and np.ndim(values) else (values,)
    if len(numbers) != 1 and (gray or len(numbers) != 3):
        raise ValueError(f"{name} is {values!r}; expected one number, or with gray=False one or three.")
    if not all(isinstance(number, int | float | np.number) and math.isfinite(number) for number in numbers):
        raise ValueError(f"{name} is {values!r}; expected finite numbers.")
    return numbers


def _crops(shape: tuple[int, ...], dtype: npt.DTypeLike, out: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    """`out`, checked, or a new array."""
    try:
        dtype = np.dtype(dtype)
        known = dtype in (np.float32, np.float16)
    except TypeError:
        known = False
    if not known:
        raise ValueError(f"dtype is {dtype}; expected float32 or float16. Convert the result to others.")
    if out is None:
        return np.empty(shape, dtype)
    check_array(out, "out")
    if out.dtype != dtype or out.shape != shape or not (out.flags.c_contiguous and out.flags.writeable):
        kind = "C-contiguous" if out.flags.c_contiguous else "not C-contiguous"
        writeable = "writeable" if out.flags.writeable else "read-only"
        raise ValueError(
            f"out is {out.dtype} with shape {out.shape}, {kind}, {writeable}; expected {dtype} with shape {shape}, "
            "C-contiguous, writeable. Pass dtype=out.dtype for another one."
        )
    return out
