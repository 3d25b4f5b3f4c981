"""Spectrogram segments by Numba: what a step adds is transformed once, and its columns are kept.

What is kept of a column: `kernels.spectrogram_columns`. How a segment is made of them: `kernels.spectrogram_segment`.

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

from kernels import butterflies, fft, fft_frame, spectrogram_columns, spectrogram_segment
from kernels.fft import BINS, N_FFT, sample_offsets, transform_tables, transposed_width
from kernels.fft_frame import FRAME_WORK_SIZE
from kernels.filters import window_function
from kernels.jit import cached_njit
from kernels.reference import Moments
from kernels.simd import JIT_OPTIONS, LANES, aligned_zeros, source_stamp
from kernels.spec import SpectrogramSpec
from kernels.spectrogram_columns import LOGMAG, LOGMEL, LOW_BINS, LOW_ROWS, MAG, POWER, keep_columns
from kernels.spectrogram_segment import CONTEXT, REFLECT, ZERO, columns_over_ends, emit_segment, scales_of

_OUTPUTS = {"logmel": LOGMEL, "logmag": LOGMAG, "mag": MAG, "power": POWER}
_EDGES = {"context": CONTEXT, "reflect": REFLECT, "zero": ZERO}

_SLIDES = 64
"""Steps between two moves of the kept columns."""


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
    return 0 if spec.edge == "context" else columns_over_ends(spec.hop_length)[2]


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
                emit_segment(
                    history, end + number * step, out[row : row + bins], shift, base, mean,
                    scales_of(mean, deviation, power_floor), output, edge, constant,
                    tables, offsets, weights, spans, low_weights, transposed, work, kept, edges,
                )  # fmt: skip

    return steps


@lru_cache(maxsize=1)
def _compiled_steps() -> Any:
    modules = butterflies, fft, fft_frame, spectrogram_columns, spectrogram_segment
    return _compile_steps(source_stamp(*(str(module.__file__) for module in modules)))


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
    keep_columns(
        history, newest_end - (new - 1) * hop_length - N_FFT, new, shift, shift, output, bins,
        tables, offsets, weights, spans, low_weights.shape[0], transposed, work,
        kept, base + columns - new, columns,
    )  # fmt: skip
    return shift, base


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
