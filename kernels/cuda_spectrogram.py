"""The spectrogram's part of the CUDA kernel: new columns transformed, and the segment put together from all.

Columns are kept as power, without what a constant adds to it: bins 0 and 1 are kept as complex numbers beside it, so
that each segment can subtract its own mean (see `kernels.spectrogram_columns`, which does the same). A ring holds
exactly a segment's columns: a step's new ones take the place of the oldest.

The 512 real samples of a frame are read as 256 complex ones, z[n] = x[2n] + i x[2n + 1]. Their transform is made in
four passes over shared memory by Stockham's algorithm (Govindaraju et al. 2008, "High performance discrete Fourier
transforms on graphics processors", figure 2), then split into the spectrum of the real samples. A pass turns transforms
of m points into transforms of 4 m: thread j of a frame's 64 takes z[j], z[j + 64], z[j + 128], z[j + 192], one point
each of four transforms of m points, turns them by their twiddle factors, transforms these four, and writes the results
m apart, where the next pass finds them in order. So nothing is ever reordered by bit reversal.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import complex64, cuda, float32, int32

from kernels.filters import window_function
from kernels.spec import SpectrogramSpec

N_FFT = 512
POINTS = N_FFT // 2
"""Complex points of a frame, and bins without the Nyquist bin."""

POWER_PITCH = POINTS + 1
"""Of a frame's power in shared memory: odd, so that the same bin of other frames lies in other banks."""

THREADS = 256
"""Of a block of the kernel."""

FRAME_THREADS = 64
FRAMES = THREADS // FRAME_THREADS
"""Frames that a block transforms: four points of a frame to a thread."""

WARP = 32
ROWS = THREADS // WARP
"""Rows of a segment that a block puts together, a warp to each: its reads and writes are then consecutive."""

LOW_BINS = 2
"""Bins that a constant touches, for both windows."""

PRESENT, NEWEST = range(2)
"""Of `ring`: whether there is a new step, and the ring column at which it begins."""

SHIFT, MEAN, REST, GAIN = range(4)
"""Of `scales`: subtracted from the new samples; the segment's mean, whole part and rest; 1 / deviation ** 2."""

LOGMEL, LOGMAG, MAG, POWER = range(4)
_OUTPUTS = {"logmel": LOGMEL, "logmag": LOGMAG, "mag": MAG, "power": POWER}

_SMALLEST = float32(1.2e-38)  # a normal number; smaller ones count as zero


class SpectrogramArrays(NamedTuple):
    """What the kernel is given; arrays lie on the device."""

    adding: int  # blocks that transform new columns
    emitting: int  # blocks that write columns kept before
    new: int  # columns of a step
    hop_length: int
    output: int
    power_floor: float
    constant_0: float  # the transform of x = 1: bin 0 and, real, bin 1
    constant_1: float
    ring: Any  # int32 [shape=(2,)], changes with each tick, as do:
    scales: Any  # float32 [shape=(4,)]
    samples: Any  # float32 [shape=(n_fft - hop_length + step,)], the newest step and what its frames see before it
    window: Any  # float32 [shape=(n_fft,)], halved for the split's sake
    roots: Any  # complex64 [shape=(n_fft,)], exp(-2 pi i k / n_fft)
    filters: Any  # float32 [shape=(n_mels, bins)], of "logmel"
    spans: Any  # int32 [shape=(n_mels, 2)], first bin and bin after the last of each filter, low bins left out
    low_weights: Any  # float32 [shape=(rows, 2)], weights of the low bins in the first rows
    kept: Any  # float32 [shape=(bins, columns)], the ring: power, low bins left out
    low: Any  # float32 [shape=(4, columns)], of each: X[0], real and imaginary part of X[1], what was subtracted
    segment: Any  # float32 [shape=(bins, columns)], written


def spectrogram_arrays(spec: SpectrogramSpec, ring: Any, scales: Any, samples: Any) -> SpectrogramArrays:
    """Tables and memory for `spec` on the device; `ring`, `scales` and `samples` are there already."""
    new = spec.step // spec.hop_length
    window = window_function(spec.window, N_FFT)
    constant_0, constant_1 = np.fft.rfft(window)[:LOW_BINS].real.tolist()
    filters, spans, low_weights = _filters(spec)
    return SpectrogramArrays(
        adding=int32(-(-new // FRAMES)),
        emitting=int32(-(-spec.bins // ROWS)),
        new=int32(new),
        hop_length=int32(spec.hop_length),
        output=int32(_OUTPUTS[spec.output]),
        power_floor=float32(spec.power_floor),
        constant_0=float32(constant_0),
        constant_1=float32(constant_1),
        ring=ring,
        scales=scales,
        samples=samples,
        window=cuda.to_device((window / 2).astype(np.float32)),
        roots=cuda.to_device(np.exp(-2j * np.pi / N_FFT * np.arange(N_FFT)).astype(np.complex64)),
        filters=cuda.to_device(filters.astype(np.float32)),
        spans=cuda.to_device(spans.astype(np.int32)),
        low_weights=cuda.to_device(low_weights.astype(np.float32)),
        kept=cuda.to_device(np.zeros((spec.bins, spec.columns), np.float32)),
        low=cuda.to_device(np.zeros((4, spec.columns), np.float32)),
        segment=cuda.to_device(np.zeros((spec.bins, spec.columns), np.float32)),
    )


def _filters(spec: SpectrogramSpec) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """filters, spans and low weights of `SpectrogramArrays`; without mel filters the low bins are the first rows."""
    if spec.output != "logmel":
        return np.zeros((1, POINTS)), np.zeros((1, 2)), np.eye(LOW_BINS)
    filters = np.ascontiguousarray(spec.mel_filters()[:, :POINTS])  # the Nyquist bin's weight is zero
    used = filters > 0
    used[:, :LOW_BINS] = False
    stops = np.where(used.any(axis=1), POINTS - used[:, ::-1].argmax(axis=1), 0)
    low_rows = max((row + 1 for row in np.flatnonzero(filters[:, :LOW_BINS].any(axis=1)).tolist()), default=1)
    return filters, np.stack((used.argmax(axis=1), stops), axis=1), filters[:low_rows, :LOW_BINS]


@cuda.jit(device=True)
def add_columns(spectrogram, first, points, power):
    """Transform a block's frames, from new column `first` on; keep them, and write them to the segment.

    points : complex64, shared [shape=(FRAMES, POINTS)]. power : float32, shared [shape=(FRAMES, POWER_PITCH)].
    """
    frame, thread = cuda.threadIdx.x // FRAME_THREADS, cuda.threadIdx.x % FRAME_THREADS
    column = min(first + frame, spectrogram.new - 1)  # frames too many do as the last: all threads must keep step
    _load(spectrogram, column, points, frame, thread)
    _transform(points, frame, thread, spectrogram.roots)
    _split(spectrogram, column, points, power, frame, thread)
    cuda.syncthreads()
    frame, row = cuda.threadIdx.x % FRAMES, cuda.threadIdx.x // FRAMES  # neighbours write next to each other
    if first + frame < spectrogram.new:
        position = spectrogram.ring[NEWEST] + first + frame
        target = spectrogram.segment.shape[1] - spectrogram.new + first + frame
        for band in range(row, spectrogram.segment.shape[0], FRAME_THREADS):
            value = _band_power(spectrogram, power, frame, band)
            spectrogram.kept[band, position] = value
            spectrogram.segment[band, target] = _finished(spectrogram, value, band, position)


@cuda.jit(device=True)
def emit_rows(spectrogram, first):
    """Write a block's rows, from row `first` on, of the columns that were kept before."""
    row = first + cuda.threadIdx.x // WARP
    columns = spectrogram.segment.shape[1]
    if row < spectrogram.segment.shape[0]:
        for column in range(cuda.threadIdx.x % WARP, columns - spectrogram.new, WARP):
            position = spectrogram.ring[NEWEST] + spectrogram.new + column
            if position >= columns:
                position -= columns
            power = spectrogram.kept[row, position]
            spectrogram.segment[row, column] = _finished(spectrogram, power, row, position)


@cuda.jit(device=True)
def _load(spectrogram, column, points, frame, thread):
    """A frame, windowed, two samples to a point."""
    shift = spectrogram.scales[SHIFT]
    start = column * spectrogram.hop_length
    for point in range(thread, POINTS, FRAME_THREADS):
        even = (spectrogram.samples[start + 2 * point] - shift) * spectrogram.window[2 * point]
        odd = (spectrogram.samples[start + 2 * point + 1] - shift) * spectrogram.window[2 * point + 1]
        points[frame, point] = complex64(complex(even, odd))
    cuda.syncthreads()


@cuda.jit(device=True)
def _transform(points, frame, thread, roots):
    """The Fourier transform of each frame's points, in place and in order."""
    for bits in range(0, 8, 2):
        done = 1 << bits  # points of the transforms so far
        place = thread & (done - 1)  # in one of those
        turn = place << (7 - bits)  # exp(-2 pi i place / (4 done)) is roots[turn]
        a = points[frame, thread]
        b = points[frame, thread + 64] * roots[turn]
        c = points[frame, thread + 128] * roots[2 * turn]
        d = points[frame, thread + 192] * roots[3 * turn]
        cuda.syncthreads()
        even_sum, even_difference, odd_sum, odd_difference = a + c, a - c, b + d, b - d
        turned = complex64(complex(odd_difference.imag, -odd_difference.real))  # -i (b - d)
        target = 4 * (thread - place) + place
        points[frame, target] = even_sum + odd_sum
        points[frame, target + done] = even_difference + turned
        points[frame, target + 2 * done] = even_sum - odd_sum
        points[frame, target + 3 * done] = even_difference - turned
        cuda.syncthreads()


@cuda.jit(device=True)
def _split(spectrogram, column, points, power, frame, thread):
    """Power of each bin, from the transform of the points, Z; the low bins are kept as they are.

    The transform of the even samples is the part of Z that mirrors into its own conjugate, that of the odd samples the
    other part: X[k] = (Z[k] + Z*[-k]) / 2 - i exp(-2 pi i k / n_fft) (Z[k] - Z*[-k]) / 2. The halves are in the window.
    """
    position = spectrogram.ring[NEWEST] + column
    for bin_ in range(thread, POINTS, FRAME_THREADS):
        here, there = points[frame, bin_], points[frame, (POINTS - bin_) & (POINTS - 1)]
        even = complex64(complex(here.real + there.real, here.imag - there.imag))
        odd = complex64(complex(here.imag + there.imag, there.real - here.real))
        value = even + spectrogram.roots[bin_] * odd
        power[frame, bin_] = value.real * value.real + value.imag * value.imag
        if bin_ == 0:
            spectrogram.low[0, position] = value.real
            spectrogram.low[3, position] = spectrogram.scales[SHIFT]
        elif bin_ == 1:
            spectrogram.low[1, position] = value.real
            spectrogram.low[2, position] = value.imag


@cuda.jit(device=True)
def _band_power(spectrogram, power, frame, band):
    """Power of a mel band, or of a bin, without the low bins."""
    if spectrogram.output != LOGMEL:
        return power[frame, band] if band >= LOW_BINS else float32(0)
    total = float32(0)
    for bin_ in range(spectrogram.spans[band, 0], spectrogram.spans[band, 1]):
        total += spectrogram.filters[band, bin_] * power[frame, bin_]
    return total


@cuda.jit(device=True)
def _finished(spectrogram, power, row, position):
    """What a segment holds, from kept power: the low bins without the mean, standardised, as `output` says."""
    scales = spectrogram.scales
    if row < spectrogram.low_weights.shape[0]:
        missing = scales[MEAN] - spectrogram.low[3, position] + scales[REST]  # whole numbers first, exactly
        bin_0 = spectrogram.low[0, position] - missing * spectrogram.constant_0
        bin_1 = spectrogram.low[1, position] - missing * spectrogram.constant_1
        imaginary_1 = spectrogram.low[2, position]
        power += spectrogram.low_weights[row, 0] * bin_0 * bin_0
        power += spectrogram.low_weights[row, 1] * (bin_1 * bin_1 + imaginary_1 * imaginary_1)
    power *= scales[GAIN]
    if spectrogram.output == POWER:
        return power
    if spectrogram.output == MAG:
        return math.sqrt(power)
    value = math.log(max(power, max(spectrogram.power_floor, _SMALLEST)))
    return value if spectrogram.output == LOGMEL else float32(0.5) * value
