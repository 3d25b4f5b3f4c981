"""Columns of a spectrogram, 16 at a time, and what is kept of each until the segments that hold it are made.

Standardising the wave, (x - m) / s, is done after the transform: it is linear, and the transform of a constant is
zero but in bins 0 and 1, for both windows. So what is kept of a column is the power of all other bins (or its
logarithm, or mel bands of it), and those two bins' complex values, from which a segment's mean is subtracted when it
is put together.

float32 would lose a quiet sound on a large constant offset: each step is transformed after subtracting its own mean,
rounded to a whole number so that samples stay exact, and the difference to the segment's mean is left for later.
"""

import numpy as np
from numba import njit

from kernels import fft
from kernels.fft import BINS, bin_place, power_of_frames, transpose_hops
from kernels.fft_frame import FIRST_BINS, POWERS, power_of_frame
from kernels.simd import JIT_OPTIONS, LANES, splat, vload, vload_first, vlog, vmax, vstore, vstore_first, vsum

LOW_BINS = 2
"""Bins that a constant touches."""

LOW_ROWS = 4
"""Kept of a column's low bins, after its other rows: X[0], real and imaginary part of X[1], what was subtracted."""

LOGMEL, LOGMAG, MAG, POWER = range(4)

SMALLEST = np.float32(1.2e-38)  # normal number: `vlog` takes no smaller

_FEW = 6
"""Columns beyond the last whole group of 16 that are transformed one by one: a group costs as much as some eight."""


@njit(**JIT_OPTIONS)
def keep_columns(
    signal, start, columns, offset, shift, output, bins, tables, offsets, weights, spans, low_rows,
    transposed, work, kept, position, stride,
):  # fmt: skip
    """Columns of `signal` - offset from `start` on, to kept[position], each row `stride` after the one before.

    `shift` is what the signal lacks to the wave, `offset` included.
    """
    grouped = columns - columns % LANES if columns % LANES <= _FEW else columns
    if grouped:
        transpose_hops(signal, start, grouped, offset, transposed)
    for first in range(0, grouped, LANES):
        count = min(LANES, columns - first)
        power_of_frames(transposed, offsets, first, tables, work)
        _keep_low_bins(work, shift, kept, position + first + bins * stride, stride, count)
        if output == LOGMEL:
            _keep_mel_bands(work, weights, spans, kept, position + first, stride, count)
        else:
            _keep_bins(work, output, low_rows, kept, position + first, stride, count)
    for column in range(grouped, columns):
        power_of_frame(signal, start + column * transposed.shape[0], offset, tables, work)
        _keep_low_bins_of_frame(work, shift, kept, position + column + bins * stride, stride)
        if output == LOGMEL:
            _keep_mel_bands_of_frame(work, weights, spans, kept, position + column, stride)
        else:
            _keep_bins_of_frame(work, output, low_rows, kept, position + column, stride)


@njit(**JIT_OPTIONS)
def _keep_low_bins(work, shift, kept, position, stride, count):
    for row in range(3):
        vstore_first(kept, position + row * stride, vload(work, fft.LOW + row * LANES), count)
    vstore_first(kept, position + 3 * stride, splat(shift), count)


@njit(**JIT_OPTIONS)
def _keep_low_bins_of_frame(work, shift, kept, position, stride):
    kept[position] = work[FIRST_BINS]
    kept[position + stride] = work[FIRST_BINS + 1]
    kept[position + 2 * stride] = work[FIRST_BINS + LANES + 1]
    kept[position + 3 * stride] = shift


@njit(**JIT_OPTIONS)
def _keep_mel_bands(work, weights, spans, kept, position, stride, count):
    for band in range(spans.shape[0]):
        first, stop, weight = spans[band]
        total = splat(np.float32(0))
        for bin_ in range(first, stop):
            total = total + weights[weight + bin_ - first] * vload(work, bin_place(bin_))
        vstore_first(kept, position + band * stride, total, count)


@njit(**JIT_OPTIONS)
def _keep_mel_bands_of_frame(work, weights, spans, kept, position, stride):
    for band in range(spans.shape[0]):
        first, stop, weight = spans[band]
        total = splat(np.float32(0))
        for bin_ in range(first, stop, LANES):
            count = min(LANES, stop - bin_)
            total = total + vload_first(weights, weight + bin_ - first, count) * vload_first(work, POWERS + bin_, count)
        kept[position + band * stride] = vsum(total)


@njit(**JIT_OPTIONS)
def _keep_bins(work, output, low_rows, kept, position, stride, count):
    for row in range(low_rows):
        vstore_first(kept, position + row * stride, splat(np.float32(0)), count)
    for bin_ in range(low_rows, BINS):
        value = vload(work, bin_place(bin_))
        if output == LOGMAG:
            value = vlog(vmax(value, splat(SMALLEST)))
        if count == LANES:
            vstore(kept, position + bin_ * stride, value)
        else:
            vstore_first(kept, position + bin_ * stride, value, count)


@njit(**JIT_OPTIONS)
def _keep_bins_of_frame(work, output, low_rows, kept, position, stride):
    if output == LOGMAG:
        for bin_ in range(0, BINS, LANES):
            vstore(work, POWERS + bin_, vlog(vmax(vload(work, POWERS + bin_), splat(SMALLEST))))
    for row in range(low_rows):
        kept[position + row * stride] = np.float32(0)
    for bin_ in range(low_rows, BINS):
        kept[position + bin_ * stride] = work[POWERS + bin_]
