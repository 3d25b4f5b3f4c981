"""Spectrogram segments by Numba: what a step adds is transformed once, and its columns are kept.

Standardising the wave, (x - m) / s, is done after the transform: it is linear, and the transform of a constant is
zero but in bins 0 and 1, for both windows. So what is kept of a column is the power of all other bins (or its
logarithm, or mel bands of it), and those two bins' complex values, from which a segment's mean is subtracted when it
is put together.

float32 would lose a quiet sound on a large constant offset: each step is transformed after subtracting its own mean,
rounded to a whole number so that samples stay exact, and the difference to the segment's mean is left for later.

Kept columns slide through memory. Row r of a segment of C columns begins at `base` + r C, so its rows lie one after
the other and a segment is made in one pass over them. A step moves `base` on by its n new columns: those of row r come
to lie where the oldest n of row r + 1 were, which have gone. At the memory's end all is moved back to its beginning.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from kernels import butterflies, fft, fft_frame
from kernels.fft import (
    BINS,
    N_FFT,
    bin_place,
    power_of_frames,
    sample_offsets,
    transform_tables,
    transpose_hops,
    transposed_width,
)
from kernels.fft_frame import FIRST_BINS, FRAME_WORK_SIZE, POWERS, power_of_frame
from kernels.filters import window_function
from kernels.jit import cached_njit
from kernels.reference import Moments
from kernels.simd import (
    JIT_OPTIONS,
    LANES,
    aligned_zeros,
    source_stamp,
    splat,
    vload,
    vload_first,
    vlog,
    vmax,
    vsqrt,
    vstore,
    vstore_first,
    vsum,
)
from kernels.spec import SpectrogramSpec

LOW_BINS = 2
"""Bins that a constant touches."""

LOGMEL, LOGMAG, MAG, POWER = range(4)
_OUTPUTS = {"logmel": LOGMEL, "logmag": LOGMAG, "mag": MAG, "power": POWER}
CONTEXT, REFLECT, ZERO = range(3)
_EDGES = {"context": CONTEXT, "reflect": REFLECT, "zero": ZERO}

LOW_ROWS = 4
"""Kept of a column's low bins, after its other rows: X[0], real and imaginary part of X[1], what was subtracted."""

_FEW = 6
"""Columns beyond the last whole group of 16 that are transformed one by one: a group costs as much as some eight."""

_SLIDES = 64
"""Steps between two moves of the kept columns."""

_SMALLEST = np.float32(1.2e-38)  # normal number: `vlog` takes no smaller
_HALF = np.float32(0.5)


class LaneSpectrogram:
    """The fast backend: 16 columns at a time, for n_fft 512 and hops that are multiples of 16."""

    def __init__(self, spec: SpectrogramSpec) -> None:
        self._standardized = spec.statistics_steps > 0
        self.moments: Moments | None = None  # of a wave known as a whole
        self._state = np.zeros(3, np.int64)  # steps so far, where the kept columns begin, whether sums are integers
        self._sums = np.zeros((2, max(1, spec.statistics_steps)))
        constant = tuple(np.fft.rfft(window_function(spec.window, N_FFT))[:LOW_BINS].real.astype(np.float32))
        names, floors = (_OUTPUTS[spec.output], _EDGES[spec.edge]), (float(spec.std_floor), float(spec.power_floor))
        self._fixed = (*names, spec.step, spec.bins, *floors, constant, *_constants(spec), *_work_areas(spec))
        self._steps = _compiled_steps()
        if not self._steps.signatures:  # compile now, and not when sound arrives
            silence = np.zeros(spec.lookback + LANES * spec.hop_length, np.float32)
            self.steps(silence, spec.lookback, 1, 0, np.empty((0, spec.columns), np.float32))
        self.reset()

    def reset(self, *, integer: bool = True) -> None:
        """As `kernels.reference.ReferenceSpectrogram.reset`."""
        self._state[:] = 0, 0, integer

    def steps(
        self, history: npt.NDArray[np.float32], end: int, skipped: int, count: int, out: npt.NDArray[np.float32]
    ) -> None:
        """As `kernels.reference.ReferenceSpectrogram.steps`."""
        running = self._standardized and self.moments is None
        mean, deviation = self.moments or (0.0, 1.0)
        self._steps(
            history, end, skipped, count, out, self._state, self._sums, running, mean, deviation, *self._fixed
        )  # fmt: skip


@lru_cache(maxsize=8)
def _constants(spec: SpectrogramSpec) -> tuple[npt.NDArray[Any], ...]:
    """tables, offsets, weights, spans, low weights: only read, so that streams share them."""
    window = window_function(spec.window, N_FFT)
    offsets = sample_offsets(spec.hop_length, _width(spec))
    return (transform_tables(window), offsets, *_filters(spec))


def _work_areas(spec: SpectrogramSpec) -> tuple[npt.NDArray[Any], ...]:
    """transposed, work; kept columns; the signal at the edges, and columns kept of it."""
    width, at_edges = _width(spec), _edge_columns(spec)
    new, rows = spec.step // spec.hop_length, spec.bins + LOW_ROWS
    shapes = (
        (spec.hop_length, width), (max(fft.WORK_SIZE, FRAME_WORK_SIZE),), (rows * spec.columns + _SLIDES * new,),
        (width * spec.hop_length + rows * at_edges,),
    )  # fmt: skip
    return tuple(aligned_zeros(shape) for shape in shapes)


def _width(spec: SpectrogramSpec) -> int:
    return transposed_width(spec.hop_length, max(spec.step // spec.hop_length, _edge_columns(spec)))


def _edge_columns(spec: SpectrogramSpec) -> int:
    """Columns that hold all of a segment that reach over its ends."""
    return 0 if spec.edge == "context" else _columns_over_ends(spec.hop_length)[2]


def _filters(
    spec: SpectrogramSpec,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Mel weights one after the other, spans [shape=(n_mels, 3)] (first bin, bin after the last, its first weight).

    And weights of the low bins in the first rows [shape=(rows, 2)], which are left out of the spans. Without mel
    filters the first two rows are the low bins.
    """
    if spec.output != "logmel":
        return np.zeros(0, np.float32), np.zeros((0, 3), np.int64), np.eye(LOW_BINS, dtype=np.float32)
    filters = spec.mel_filters()[:, :BINS]  # the Nyquist bin's weight is zero: no filter ends above it
    low_rows = max((row + 1 for row in np.flatnonzero(filters[:, :LOW_BINS].any(axis=1)).tolist()), default=0)
    weights: list[float] = []
    spans = []
    for row in filters:
        bins = [int(bin_) for bin_ in np.flatnonzero(row) if bin_ >= LOW_BINS]
        first, stop = (bins[0], bins[-1] + 1) if bins else (0, 0)
        spans.append((first, stop, len(weights)))
        weights.extend(row[first:stop])
    return np.array(weights, np.float32), np.array(spans, np.int64), filters[:low_rows, :LOW_BINS].astype(np.float32)


@njit(**JIT_OPTIONS)
def integer_moments(total, squares, count):
    """Mean and deviation from integer sums over `count` int16 samples, up to 2^31 of them, to float64's precision.

    Sums are taken about the whole number nearest to the mean, so that nothing large is left to cancel.
    """
    centre = (2 * total + count) // (2 * count)
    rest = (total - centre * count) / count
    about_centre = squares - 2 * centre * total + centre * centre * count
    return centre + rest, math.sqrt(about_centre / count - rest * rest)


def _compile_steps(stamp: str) -> Any:
    """The jitted steps; `stamp` is part of what Numba's cache knows them by.

    Their arguments are those of `LaneSpectrogram.steps`, the transform of x = 1 in the low bins, and what `_constants`
    and `_work_areas` name. They are few: Numba takes 65 ns to unpack an array.
    """

    @cached_njit(**JIT_OPTIONS)
    def steps(
        history, end, skipped, count, out, state, sums, running, mean, deviation,
        output, edge, step, bins, std_floor, power_floor, constant,
        tables, offsets, weights, spans, low_weights, transposed, work, kept, edges,
    ):  # fmt: skip
        _ = stamp
        for number in range(skipped + count):
            row = (number - skipped) * bins
            shift, base = _take_in(
                history, end + number * step, out.shape[1], state, sums, output, edge, step, bins,
                tables, offsets, weights, spans, low_weights, transposed, work, kept,
            )  # fmt: skip
            if row >= 0:
                if running:
                    mean, deviation = _running_moments(state, sums, step)
                    deviation = max(deviation, std_floor)
                _emit(
                    history, end + number * step, out[row : row + bins], shift, base, mean,
                    _scales(mean, deviation, power_floor), output, edge, constant,
                    tables, offsets, weights, spans, low_weights, transposed, work, kept, edges,
                )  # fmt: skip

    return steps


@lru_cache(maxsize=1)
def _compiled_steps() -> Any:
    return _compile_steps(source_stamp(butterflies.__file__, fft.__file__, fft_frame.__file__))


@njit(**JIT_OPTIONS)
def _take_in(
    history, end, columns, state, sums, output, edge, step, bins,
    tables, offsets, weights, spans, low_weights, transposed, work, kept,
):  # fmt: skip
    """Keep the columns of the step that ends at history[end]; what was subtracted, and where a segment begins now."""
    hop_length = transposed.shape[0]
    new = step // hop_length
    shift = _add_sums(history, end, step, state, sums)
    base = _slide(kept, state, (bins + LOW_ROWS) * columns, new)
    newest_end = end if edge == CONTEXT else end - -BINS % hop_length
    _transform(
        history, newest_end - (new - 1) * hop_length - N_FFT, new, shift, shift, output, bins,
        tables, offsets, weights, spans, low_weights.shape[0], transposed, work,
        kept, base + columns - new, columns,
    )  # fmt: skip
    return shift, base


@njit(**JIT_OPTIONS)
def _emit(
    history, end, out, shift, base, mean, scales, output, edge, constant,
    tables, offsets, weights, spans, low_weights, transposed, work, kept, edges,
):  # fmt: skip
    """Write the segment that ends at history[end]; its kept columns begin at `base`."""
    hop_length, (bins, columns) = transposed.shape[0], out.shape
    left, right, at_edges = 0, 0, 0
    if edge != CONTEXT:
        left, right, at_edges = _columns_over_ends(hop_length)
    _emit_segment(out, kept, base + right, output, scales, low_weights.shape[0])
    inner = columns - left - right
    _emit_low_rows(out, left, inner, kept, base + right + left, columns, output, scales, constant, low_weights)
    if edge != CONTEXT:
        _fill_edges(history[end - columns * hop_length : end], hop_length, shift, mean, edge, edges)
        _transform(
            edges, 0, at_edges, np.float32(0), shift, output, bins,
            tables, offsets, weights, spans, low_weights.shape[0], transposed, work,
            edges, transposed.size, at_edges,
        )  # fmt: skip
        for target, count, column in ((0, left, 0), (columns - right, right, at_edges - right)):
            first = transposed.size + column
            _emit_columns(out, target, count, edges, first, at_edges, output, scales, constant, low_weights)


@njit(**JIT_OPTIONS)
def _add_sums(history, end, step, state, sums):
    """Count the newest step and keep its sums, exact for integers; return its mean, rounded to a whole number."""
    newest = history[end - step : end]
    total, squares = 0.0, 0.0
    for position in range(step):
        value = np.float64(newest[position])
        total += value
        squares += value * value
    slot = state[0] % sums.shape[1]
    sums[0, slot], sums[1, slot] = total, squares
    state[0] += 1
    return np.float32(math.floor(total / step + 0.5))


@njit(**JIT_OPTIONS)
def _slide(kept, state, size, new):
    """Where `size` kept values begin once they have slid on by `new`."""
    base = state[1]
    if base + new + size > kept.size:
        for index in range(size):
            kept[index] = kept[base + index]
        base = 0
    state[1] = base + new
    return base + new


@njit(**JIT_OPTIONS)
def _running_moments(state, sums, step):
    """Mean and deviation of the steps that are kept."""
    filled = min(state[0], sums.shape[1])
    count = filled * step
    if state[2]:
        integer_total, integer_squares = np.int64(0), np.int64(0)
        for slot in range(filled):
            integer_total += np.int64(sums[0, slot])
            integer_squares += np.int64(sums[1, slot])
        return integer_moments(integer_total, integer_squares, count)
    total, squares = 0.0, 0.0
    for slot in range(filled):
        total += sums[0, slot]
        squares += sums[1, slot]
    mean = total / count
    return mean, math.sqrt(max(squares / count - mean * mean, 0.0))


@njit(**JIT_OPTIONS)
def _transform(
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
            value = vlog(vmax(value, splat(_SMALLEST)))
        if count == LANES:
            vstore(kept, position + bin_ * stride, value)
        else:
            vstore_first(kept, position + bin_ * stride, value, count)


@njit(**JIT_OPTIONS)
def _keep_bins_of_frame(work, output, low_rows, kept, position, stride):
    if output == LOGMAG:
        for bin_ in range(0, BINS, LANES):
            vstore(work, POWERS + bin_, vlog(vmax(vload(work, POWERS + bin_), splat(_SMALLEST))))
    for row in range(low_rows):
        kept[position + row * stride] = np.float32(0)
    for bin_ in range(low_rows, BINS):
        kept[position + bin_ * stride] = work[POWERS + bin_]


@njit(**JIT_OPTIONS)
def _columns_over_ends(hop_length):
    """Centred columns that reach over a segment's start, and over its end, and columns that hold both in a row."""
    left = -(-BINS // hop_length)
    right = left - 1
    left_samples = (left - 1) * hop_length + N_FFT
    return left, right, -(-left_samples // hop_length) + right


@njit(**JIT_OPTIONS)
def _fill_edges(segment, hop_length, shift, mean, edge, signal):
    """What the columns over the segment's ends see, less `shift`: first around its start, then around its end."""
    left, right, at_edges = _columns_over_ends(hop_length)
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
def _scales(mean, deviation, power_floor):
    """float32 of: mean, in two parts; 1 / deviation^2; its logarithm, halved; the floor; its logarithm, halved."""
    whole_mean = math.floor(mean)
    floor = max(np.float32(power_floor), _SMALLEST)
    return (
        np.float32(whole_mean),
        np.float32(mean - whole_mean),
        np.float32(1 / (deviation * deviation)),
        np.float32(-math.log(deviation)),
        floor,
        np.float32(0.5 * math.log(floor)),
    )


@njit(**JIT_OPTIONS)
def _emit_segment(out, kept, first, output, scales, low_rows):
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
