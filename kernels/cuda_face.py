"""The faces' part of the CUDA kernel: samples, average, colours, normalisation and layout in one pass.

Only the part of the image that the crops see goes to the device. Coordinates count from its corner: small numbers, so
that float32 places a sample within 1e-4 px where a crop spans no more than a thousand.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import cuda, float32, int32, uint32

from kernels.cuda_spectrogram import WARP

COUNT, HEIGHT, WIDTH = range(3)
"""Of `view`: faces to sample, and the size of the image that was copied."""


class FaceArrays(NamedTuple):
    """What the kernel is given; arrays lie on the device."""

    supersample: int
    view: Any  # int32 [shape=(3,)], changes with each tick, as do:
    colours: Any  # float32 [shape=(2, 3)], weights of R, G, B, and what is added to each channel
    transforms: Any  # float32 [shape=(faces, 2, 3)], from crop pixels to pixels of the image that was copied
    image: Any  # uint8 [shape=(capacity,)], of which view[HEIGHT] * view[WIDTH] * 3 are in use, (H, W, 3)
    crops: Any  # float32 or float16 [shape=(faces, 1 or 3, size, size)], written


@dataclass(frozen=True)
class FaceShape:
    """What memory is laid out by."""

    count: int
    """Of faces, at most."""
    channels: int
    size: int
    supersample: int
    dtype: str
    """float32 or float16."""
    image_bytes: int
    """Of the largest image."""


def face_arrays(shape: FaceShape, view: Any, colours: Any, transforms: Any) -> FaceArrays:
    """Memory for crops on the device; `view`, `colours` and `transforms` are there already."""
    crops = (max(1, shape.count), shape.channels, shape.size, shape.size)
    return FaceArrays(
        supersample=int32(shape.supersample),
        view=view,
        colours=colours,
        transforms=transforms,
        image=cuda.device_array(shape.image_bytes, np.uint8),
        crops=cuda.to_device(np.zeros(crops, shape.dtype)),
    )


def visible_box(transforms: npt.NDArray[np.float64], size: int, height: int, width: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of what all crops see of an image, at least a pixel of it; right, bottom exclusive."""
    ends = np.array([-0.5, size - 0.5])  # no sample lies farther out
    x, y = np.meshgrid(ends, ends)
    places = transforms @ np.stack((x.ravel(), y.ravel(), np.ones(4)))  # (faces, 2, corners)
    lowest = np.floor(places.min(axis=(0, 2))) - 1
    highest = np.ceil(places.max(axis=(0, 2))) + 2  # the neighbour that a bilinear sample takes in, and a margin
    left, top = np.clip(lowest, 0, (width - 1, height - 1)).astype(int).tolist()
    right, bottom = np.clip(highest, (left + 1, top + 1), (width, height)).astype(int).tolist()
    return left, top, right, bottom


@cuda.jit(device=True)
def sample_rows(faces, face, first):
    """Write a block's rows of a crop, from row `first` on: a warp to each, a thread to a pixel and all its channels."""
    channels, size = faces.crops.shape[1], faces.crops.shape[2]
    y = first + cuda.threadIdx.x // WARP
    if face >= faces.view[COUNT] or y >= size:
        return
    weights, bias, crop = faces.colours[0], faces.colours[1], faces.crops[face]
    for x in range(cuda.threadIdx.x % WARP, size, WARP):
        red, green, blue = _average(faces, face, float32(x), float32(y))
        red, green, blue = red * weights[0], green * weights[1], blue * weights[2]
        if channels == 1:
            crop[0, y, x] = red + green + blue + bias[0]
        else:
            crop[0, y, x] = red + bias[0]
            crop[1, y, x] = green + bias[1]
            crop[2, y, x] = blue + bias[2]


@cuda.jit(device=True)
def _average(faces, face, x, y):
    """Mean colours of the samples of crop pixel (x, y)."""
    transform, samples = faces.transforms[face], faces.supersample
    spacing = float32(1) / float32(samples)
    red, green, blue = float32(0), float32(0), float32(0)
    for down in range(samples):
        sample_y = y + (float32(down) + float32(0.5)) * spacing - float32(0.5)
        for across in range(samples):
            sample_x = x + (float32(across) + float32(0.5)) * spacing - float32(0.5)
            u = transform[0, 0] * sample_x + transform[0, 1] * sample_y + transform[0, 2]
            v = transform[1, 0] * sample_x + transform[1, 1] * sample_y + transform[1, 2]
            colours = _bilinear(faces, u, v)
            red += colours[0]
            green += colours[1]
            blue += colours[2]
    share = spacing * spacing
    return red * share, green * share, blue * share


@cuda.jit(device=True)
def _bilinear(faces, u, v):
    """Colours at column u and row v. Pixels outside the image weigh nothing, so that no case needs a branch."""
    height, width = faces.view[HEIGHT], faces.view[WIDTH]
    left, right, left_weight, right_weight = _neighbours(u, width)
    upper, lower, upper_weight, lower_weight = _neighbours(v, height)
    image = faces.image
    upper_left, upper_right = 3 * (upper * width + left), 3 * (upper * width + right)
    lower_left, lower_right = 3 * (lower * width + left), 3 * (lower * width + right)
    a, b = upper_weight * left_weight, upper_weight * right_weight
    c, d = lower_weight * left_weight, lower_weight * right_weight
    return (
        a * _level(image, upper_left) + b * _level(image, upper_right)
        + c * _level(image, lower_left) + d * _level(image, lower_right),
        a * _level(image, upper_left + 1) + b * _level(image, upper_right + 1)
        + c * _level(image, lower_left + 1) + d * _level(image, lower_right + 1),
        a * _level(image, upper_left + 2) + b * _level(image, upper_right + 2)
        + c * _level(image, lower_left + 2) + d * _level(image, lower_right + 2),
    )  # fmt: skip


@cuda.jit(device=True)
def _level(image, index):
    return float32(image[uint32(index)])  # Numba would look for negative ones otherwise, and count them from the end


@cuda.jit(device=True)
def _neighbours(place, length):
    """The pixels before and after a coordinate, moved into 0..length - 1, and their weights: 0 if they were outside."""
    place = min(max(place, float32(-2)), float32(length + 1))  # as black there as farther away, and fit for an integer
    whole = math.floor(place)
    after_weight = place - float32(whole)
    before = int32(whole)
    before_weight = float32(1) - after_weight if 0 <= before < length else float32(0)
    after_weight = after_weight if -1 <= before < length - 1 else float32(0)
    return min(max(before, 0), length - 1), min(max(before + 1, 0), length - 1), before_weight, after_weight
