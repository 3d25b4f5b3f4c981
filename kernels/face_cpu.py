"""Face crops in one pass, 16 pixels at a time: samples, average, colours, normalisation and layout without a copy.

Blocks of 16 pixels inside the image go through vectors: where their samples lie is found first, of a whole row. Blocks
that touch its border, where pixels outside are black, go one pixel at a time in float64.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from kernels import simd_pixels
from kernels.jit import cached_njit
from kernels.simd import JIT_OPTIONS, LANES, source_stamp
from kernels.simd_pixels import FRACTION_BITS, bilinear_rgb, place, store

MARGIN_PX = 1 / 64
"""Kept from the image's border by vectors: their coordinates are off by less."""

MAX_SPAN_PX = 1024
"""Longest row of a crop that vectors sample, in the image: coordinates in fixed point reach twice as far."""

EXTRA_BITS = 20
"""Of the fixed point in which blocks are placed, so that many small steps add up."""

MAX_ROW_BYTES = 2**20
"""Longest row of an image that vectors sample: offsets within a crop's row of MAX_SPAN_PX then fit into 32 bits."""

_compiled = njit(forceinline=True, **JIT_OPTIONS)
"""A helper becomes part of its caller: a call would pass vectors through memory. So only the caller is cached."""


def sample_faces(
    image: npt.NDArray[np.uint8],
    transforms: npt.NDArray[np.float64],
    supersample: int,
    weights: npt.NDArray[np.float64],
    bias: npt.NDArray[np.float64],
    crops: npt.NDArray[np.floating[Any]],
) -> None:
    """Fill `crops` as `kernels.face_reference.sample_faces` does, within 0.05 gray levels; releases the GIL."""
    pixels = np.ascontiguousarray(image).view()
    pixels.flags.writeable = False  # one compiled version, whether or not the caller's image is writeable
    count, channels, size, _ = crops.shape
    bits = crops.view(np.uint16) if crops.dtype == np.float16 else crops  # Numba knows no float16 on CPUs
    planes = bits.reshape(count, channels, size * size)
    _sample_faces(pixels, transforms, size, supersample, weights, bias, planes)


@_compiled
def _sample_face(image, transform, size, supersample, weights, bias, planes):
    gray, area, row_bytes = len(planes) == 1, size * size, 3 * image.shape[1]
    share = weights / supersample**2
    mix = np.float32(share[0]), np.float32(share[1]), np.float32(share[2])  # no reference counts in the loop
    shift = np.float32(bias[0]), np.float32(bias[1]), np.float32(bias[2])
    step_u, step_v = transform[0, 0], transform[1, 0]  # in the image, from a crop pixel to the next
    spread_u, spread_v = _spreads(transform, supersample)
    bounds = _vector_bounds(image, transform, size, supersample)
    samples = _sample_places(transform, supersample)
    places = np.empty((3, len(samples) * size), np.int32)
    for y in range(size):
        row_u, row_v = _position(transform, 0, y)
        left = _before(row_u, step_u * size, spread_u)
        top = _before(row_v, step_v * size, spread_v)
        origin = top * row_bytes + 3 * left
        if bounds[0] < bounds[1]:
            _place_row(places, size, row_bytes, row_u - left, row_v - top, step_u, step_v, samples)
        last_u, last_v = row_u + step_u * (size - LANES), row_v + step_v * (size - LANES)
        whole = _within(bounds, row_u, row_v) and _within(bounds, last_u, last_v)
        for start in range(0, size, LANES):
            x = max(0, min(start, size - LANES))  # the last block of a row may overlap the one before
            if whole or _within(bounds, row_u + step_u * x, row_v + step_v * x):
                red, green, blue = _block(image, origin, row_bytes, places, x, size, len(samples))
                _write(planes, y * size + x, area, gray, red, green, blue, mix, shift)
            else:
                for single in range(x, min(x + LANES, size)):
                    u, v = row_u + step_u * single, row_v + step_v * single
                    red, green, blue = _pixel(image, u, v, samples)
                    _write(planes, y * size + single, area, gray, red, green, blue, mix, shift)


@_compiled
def _vector_bounds(image, transform, size, supersample):
    """(low_u, high_u, low_v, high_v): vectors may sample a block whose first pixel lies within; nothing may: 1, 0."""
    height, width = image.shape[0], image.shape[1]
    step_u, step_v = transform[0, 0], transform[1, 0]
    spread_u, spread_v = _spreads(transform, supersample)
    span = size * max(abs(step_u), abs(step_v)) + 2 * max(spread_u, spread_v)
    if size < LANES or span > MAX_SPAN_PX or 3 * width > MAX_ROW_BYTES:
        return 1.0, 0.0, 1.0, 0.0
    last_u, last_v = step_u * (LANES - 1), step_v * (LANES - 1)  # from a block's first pixel
    low_u, high_u = spread_u - min(0.0, last_u), width - 5 - spread_u - max(0.0, last_u)  # see bilinear_rgb
    low_v, high_v = spread_v - min(0.0, last_v), height - 1 - spread_v - max(0.0, last_v)
    return low_u, high_u, low_v, high_v


@_compiled
def _within(bounds, u, v):
    low_u, high_u, low_v, high_v = bounds
    return low_u <= u < high_u and low_v <= v < high_v


@_compiled
def _spreads(transform, supersample):
    """Farthest that a sample lies from its pixel's centre, across and down the image, and a margin."""
    reach = 0.5 - 0.5 / supersample
    across = (abs(transform[0, 0]) + abs(transform[0, 1])) * reach
    down = (abs(transform[1, 0]) + abs(transform[1, 1])) * reach
    return across + MARGIN_PX, down + MARGIN_PX


@_compiled
def _before(first, length, spread):
    """A whole coordinate at or before all samples of a row of the crop."""
    return int(np.floor(min(first, first + length) - spread))


@_compiled
def _position(transform, x, y):
    """Image coordinates of the crop's pixel (x, y)."""
    u = transform[0, 0] * x + transform[0, 1] * y + transform[0, 2]
    v = transform[1, 0] * x + transform[1, 1] * y + transform[1, 2]
    return u, v


@_compiled
def _sample_places(transform, supersample):
    """Where the samples of a crop pixel lie from its centre, in the image [shape=(supersample ** 2, 2)]."""
    places = np.empty((supersample * supersample, 2))
    for sample in range(len(places)):
        x = (sample % supersample + 0.5) / supersample - 0.5
        y = (sample // supersample + 0.5) / supersample - 0.5
        places[sample, 0] = transform[0, 0] * x + transform[0, 1] * y
        places[sample, 1] = transform[1, 0] * x + transform[1, 1] * y
    return places


@_compiled
def _place_row(places, size, row_bytes, u, v, step_u, step_v, samples):
    """Fill `places` [shape=(3, samples * size)], sample by sample, for a row of the crop that begins at (u, v)."""
    across, down = _fixed(step_u), _fixed(step_v)
    for sample in range(len(samples)):
        first_u, first_v = _fixed(u + samples[sample, 0]), _fixed(v + samples[sample, 1])
        for start in range(0, size, LANES):
            x = min(start, size - LANES)
            place(
                places, sample * size + x, row_bytes, _short(first_u + across * x), _short(first_v + down * x),
                _short(across), _short(down),
            )  # fmt: skip


@_compiled
def _fixed(coordinate):
    """In fixed point, with `EXTRA_BITS` beyond those of vectors."""
    return int(np.floor(coordinate * 2.0 ** (FRACTION_BITS + EXTRA_BITS)))


@_compiled
def _short(fixed):
    """As vectors have it."""
    return np.int32(fixed >> EXTRA_BITS)


@_compiled
def _block(image, origin, row_bytes, places, x, size, samples):
    """Sums over the samples of LANES pixels from x on."""
    red, green, blue = bilinear_rgb(image, origin, row_bytes, places, x)
    for sample in range(1, samples):
        colours = bilinear_rgb(image, origin, row_bytes, places, sample * size + x)
        red, green, blue = red + colours[0], green + colours[1], blue + colours[2]
    return red, green, blue


@_compiled
def _pixel(image, u, v, samples):
    """Sums over the samples of the pixel at (u, v), anywhere."""
    red = green = blue = 0.0
    for sample in range(len(samples)):
        sample_u, sample_v = u + samples[sample, 0], v + samples[sample, 1]
        red += _sample(image, sample_u, sample_v, 0)
        green += _sample(image, sample_u, sample_v, 1)
        blue += _sample(image, sample_u, sample_v, 2)
    return np.float32(red), np.float32(green), np.float32(blue)


@_compiled
def _sample(image, u, v, channel):
    """Bilinear sample at (u, v), anywhere."""
    height, width = image.shape[0], image.shape[1]
    u, v = min(max(u, -1.0), float(width)), min(max(v, -1.0), float(height))  # as black there as farther away
    column, row = int(np.floor(u)), int(np.floor(v))
    across, down = u - column, v - row
    upper_left, upper_right = _value(image, row, column, channel), _value(image, row, column + 1, channel)
    lower_left, lower_right = _value(image, row + 1, column, channel), _value(image, row + 1, column + 1, channel)
    upper = upper_left * (1 - across) + upper_right * across
    lower = lower_left * (1 - across) + lower_right * across
    return upper * (1 - down) + lower * down


@_compiled
def _value(image, row, column, channel):
    """image[row, column, channel], black outside."""
    inside = 0 <= row < image.shape[0] and 0 <= column < image.shape[1]
    return float(image[row, column, channel]) if inside else 0.0


@_compiled
def _write(planes, index, area, gray, red, green, blue, weights, bias):
    """Store the output channels of one pixel or of a block; the colours are float32 or vectors of it."""
    red, green, blue = red * weights[0], green * weights[1], blue * weights[2]
    if gray:
        store(planes, index, red + green + blue + bias[0])
    else:
        store(planes, index, red + bias[0])
        store(planes, area + index, green + bias[1])
        store(planes, 2 * area + index, blue + bias[2])


def _compiled_and_cached(stamp: str) -> Any:
    """The function that Python calls; `stamp` makes the cache stale when the vectors' source changes."""

    @cached_njit(**JIT_OPTIONS)
    def sample_each(image, transforms, size, supersample, weights, bias, planes):
        _ = stamp
        for face in range(len(transforms)):
            _sample_face(image, transforms[face], size, supersample, weights, bias, planes[face])

    return sample_each


_sample_faces = _compiled_and_cached(source_stamp(simd_pixels.__file__))
