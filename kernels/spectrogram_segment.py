"""A segment of a spectrogram from the columns that are kept, standardised and finished in one pass over them."""

import math

import numpy as np
from numba import njit

from kernels.fft import BINS, N_FFT
from kernels.simd import JIT_OPTIONS, LANES, splat, vload, vload_first, vlog, vmax, vsqrt, vstore, vstore_first
from kernels.spectrogram_columns import LOGMAG, LOGMEL, MAG, SMALLEST, keep_columns

CONTEXT, REFLECT, ZERO = range(3)

_HALF = np.float32(0.5)


@njit(**JIT_OPTIONS)
def emit_segment(
    history, end, out, shift, base, mean, scales, output, edge, constant,
    tables, offsets, weights, spans, low_weights, transposed, work, kept, edges,
):  # fmt: skip
    """Write the segment that ends at history[end]; its kept columns begin at `base`."""
    hop_length, (bins, columns) = transposed.shape[0], out.shape
    left, right, at_edges = 0, 0, 0
    if edge != CONTEXT:
        left, right, at_edges = columns_over_ends(hop_length)
    _emit_inner(out, kept, base + right, output, scales, low_weights.shape[0])
    inner = columns - left - right
    _emit_low_rows(out, left, inner, kept, base + right + left, columns, output, scales, constant, low_weights)
    if edge != CONTEXT:
        _fill_edges(history[end - columns * hop_length : end], hop_length, shift, mean, edge, edges)
        keep_columns(
            edges, 0, at_edges, np.float32(0), shift, output, bins,
            tables, offsets, weights, spans, low_weights.shape[0], transposed, work,
            edges, transposed.size, at_edges,
        )  # fmt: skip
        for target, count, column in ((0, left, 0), (columns - right, right, at_edges - right)):
            first = transposed.size + column
            _emit_columns(out, target, count, edges, first, at_edges, output, scales, constant, low_weights)


@njit(**JIT_OPTIONS)
def columns_over_ends(hop_length):
    """Centred columns that reach over a segment's start, and over its end, and columns that hold both in a row."""
    left = -(-BINS // hop_length)
    right = left - 1
    left_samples = (left - 1) * hop_length + N_FFT
    return left, right, -(-left_samples // hop_length) + right


@njit(**JIT_OPTIONS)
def _fill_edges(segment, hop_length, shift, mean, edge, signal):
    """What the columns over the segment's ends see, less `shift`: first around its start, then around its end."""
    left, right, at_edges = columns_over_ends(hop_length)
    silence = np.float32(mean - shift)  # zero, once standardised
    for index in range((left - 1) * hop_length + N_FFT):
        signal[index] = _beyond_ends(segment, index - BINS, shift, silence, edge)
    target = (at_edges - right) * hop_length
    source = segment.size - right * hop_length - BINS
    if right:
        for index in range((right - 1) * hop_length + N_FFT):
            signal[target + index] = _beyond_ends(segment, source + index, shift, silence, edge)


@njit(**JIT_OPTIONS)
def _beyond_ends(segment, index, shift, silence, edge):
    """Sample `index` of the segment, less `shift`: mirrored or silence where that is outside."""
    if 0 <= index < segment.size:
        return segment[index] - shift
    if edge == ZERO:
        return silence
    return segment[-index if index < 0 else 2 * (segment.size - 1) - index] - shift


@njit(**JIT_OPTIONS)
def scales_of(mean, deviation, power_floor):
    """float32 of: mean, in two parts; 1 / deviation^2; its logarithm, halved; the floor; its logarithm, halved."""
    whole_mean = math.floor(mean)
    floor = max(np.float32(power_floor), SMALLEST)
    return (
        np.float32(whole_mean),
        np.float32(mean - whole_mean),
        np.float32(1 / (deviation * deviation)),
        np.float32(-math.log(deviation)),
        floor,
        np.float32(0.5 * math.log(floor)),
    )


@njit(**JIT_OPTIONS)
def _emit_inner(out, kept, first, output, scales, low_rows):
    """All rows but the low ones, standardised and finished, in one pass; row 0 of column 0 is kept[first].

    Vectors are stored where a cache line begins: a store across two costs a third of the pass.
    """
    begin, end = low_rows * out.shape[1], out.size
    lead = min(-(out.ctypes.data // out.itemsize + begin) % LANES, end - begin)
    _emit_first(out, begin, lead, kept, first, output, scales)
    whole = begin + lead + (end - begin - lead) // LANES * LANES
    for index in range(begin + lead, whole, LANES):
        vstore(out, index, _finished(vload(kept, first + index), output, scales))
    _emit_first(out, whole, end - whole, kept, first, output, scales)


@njit(forceinline=True, **JIT_OPTIONS)
def _emit_first(out, index, count, kept, first, output, scales):
    """Fewer elements than a vector has."""
    value = _finished(vload_first(kept, first + index, count), output, scales)
    vstore_first(out, index, value, count)


@njit(**JIT_OPTIONS)
def _emit_columns(out, target, count, kept, first, stride, output, scales, constant, low_weights):
    """All rows of a few columns, to `out` from column `target` on."""
    for row in range(low_weights.shape[0], out.shape[0]):
        for column in range(0, count, LANES):
            lanes = min(LANES, count - column)
            value = _finished(vload_first(kept, first + row * stride + column, lanes), output, scales)
            vstore_first(out, row * out.shape[1] + target + column, value, lanes)
    _emit_low_rows(out, target, count, kept, first, stride, output, scales, constant, low_weights)


@njit(**JIT_OPTIONS)
def _emit_low_rows(out, target, count, kept, first, stride, output, scales, constant, low_weights):
    """Rows in which the mean has a part: subtract its transform from the low bins, then take their power."""
    for column in range(0, count, LANES):
        lanes = min(LANES, count - column)
        source = first + column
        power_0, power_1 = _low_powers(kept, source + out.shape[0] * stride, stride, lanes, scales, constant)
        for row in range(low_weights.shape[0]):
            power = vload_first(kept, source + row * stride, lanes)
            power = power + power_0 * low_weights[row, 0] + power_1 * low_weights[row, 1]
            value = _finished_power(power, output, scales)
            vstore_first(out, row * out.shape[1] + target + column, value, lanes)


@njit(forceinline=True, **JIT_OPTIONS)
def _low_powers(kept, source, stride, lanes, scales, constant):
    """Power of bins 0 and 1 without the mean; whole numbers are subtracted from each other before the small rest."""
    missing = splat(scales[0]) - vload_first(kept, source + 3 * stride, lanes) + scales[1]
    real_0 = vload_first(kept, source, lanes) - missing * constant[0]
    real_1 = vload_first(kept, source + stride, lanes) - missing * constant[1]
    imaginary_1 = vload_first(kept, source + 2 * stride, lanes)
    return real_0 * real_0, real_1 * real_1 + imaginary_1 * imaginary_1


@njit(forceinline=True, **JIT_OPTIONS)
def _finished(value, output, scales):
    """What is kept, standardised: for "logmag" that is a logarithm already."""
    if output == LOGMAG:
        return vmax(_HALF * value + scales[3], splat(scales[5]))
    return _finished_power(value, output, scales)


@njit(forceinline=True, **JIT_OPTIONS)
def _finished_power(power, output, scales):
    """`output` from power."""
    power = power * scales[2]
    if output == LOGMEL:
        return vlog(vmax(power, splat(scales[4])))
    if output == LOGMAG:
        return _HALF * vlog(vmax(power, splat(scales[4])))
    if output == MAG:
        return vsqrt(power)
    return power
