"""The 512-point Fourier transform of one real frame, for the frames that no group of 16 takes in.

`kernels.fft` has a frame in each lane; here the 256 complex points of one frame, z[n] = x[2n] + i x[2n + 1], lie across
the lanes as a square, n = 16 a + b in row a, lane b, and are transformed down the columns, turned by their twiddle
factors, transposed, and transformed down the columns again: row d, lane c is Z[16 d + c].
"""

import numpy as np
from numba import njit

from kernels.butterflies import fourier16, power, split, turned
from kernels.fft import BINS, IMAGINARY, PASS_1, SPLIT
from kernels.simd import JIT_OPTIONS, LANES, splat, veven, vload, vodd, vreverse, vstore, vtranspose16

# Where each part begins in the work area, the frame before and after it is transposed and what becomes of it; the
# imaginary parts follow _PART later.
_PART = BINS + LANES  # Z[256] = Z[0] is there too: bin 0 is mirrored to it
_FRAME, _TURNED = 0, 2 * _PART
POWERS = 4 * _PART
"""Where |X[k]|^2 is, bin after bin."""

FIRST_BINS = POWERS + BINS
"""Where the real parts of X[0 .. 15] are, then the imaginary parts."""

FRAME_WORK_SIZE = FIRST_BINS + 2 * LANES


@njit(**JIT_OPTIONS)
def power_of_frame(signal, start, offset, tables, work):
    """Power spectrum of signal[start : start + 512] - offset.

    Parameters
    ----------
    tables : of `kernels.fft.transform_tables`.
    work : float32 [shape=(FRAME_WORK_SIZE,)], overwritten: what is at POWERS and FIRST_BINS.
    """
    for row in range(LANES):
        _window_row(signal, start, splat(offset), tables, work, row)
    _transform_columns(work, _FRAME, _TURNED)
    for row in range(LANES):
        _turn_row(work, row, tables)
    for part in (0, _PART):
        vtranspose16(work, _TURNED + part, LANES, work, _FRAME + part, LANES, np.float32(0))
    _transform_columns(work, _FRAME, _TURNED)
    work[_TURNED + BINS], work[_TURNED + _PART + BINS] = work[_TURNED], work[_TURNED + _PART]
    for row in range(LANES):
        _split_row(work, row, tables)


@njit(forceinline=True, **JIT_OPTIONS)
def _window_row(signal, start, offset, tables, work, row):
    """32 windowed samples, as 16 complex numbers."""
    sample = 2 * LANES * row
    first = (vload(signal, start + sample) - offset) * vload(tables, sample)
    second = (vload(signal, start + sample + LANES) - offset) * vload(tables, sample + LANES)
    _store_row(work, _FRAME + row * LANES, (veven(first, second), vodd(first, second)))


@njit(**JIT_OPTIONS)
def _transform_columns(work, source, target):
    """Not inlined: it takes a second to compile."""
    _store_rows(work, target, fourier16(_rows(work, source)))


@njit(forceinline=True, **JIT_OPTIONS)
def _turn_row(work, row, tables):
    place, factor = _TURNED + row * LANES, PASS_1 + row * 32
    z = turned(_row(work, place), vload(tables, factor), vload(tables, factor + IMAGINARY))
    _store_row(work, place, z)


@njit(forceinline=True, **JIT_OPTIONS)
def _split_row(work, row, tables):
    """Bins 16 row .. 16 row + 15."""
    bin_ = row * LANES
    ahead = _row(work, _TURNED + BINS - bin_ - LANES + 1)
    mirrored = vreverse(ahead[0]), vreverse(ahead[1])
    factor = SPLIT + bin_
    x, _ = split(_row(work, _TURNED + bin_), mirrored, vload(tables, factor), vload(tables, factor + IMAGINARY))
    vstore(work, POWERS + bin_, power(x))
    if row == 0:
        vstore(work, FIRST_BINS, x[0])
        vstore(work, FIRST_BINS + LANES, x[1])


@njit(forceinline=True, **JIT_OPTIONS)
def _rows(work, first):
    return (
        _row(work, first),
        _row(work, first + 16),
        _row(work, first + 32),
        _row(work, first + 48),
        _row(work, first + 64),
        _row(work, first + 80),
        _row(work, first + 96),
        _row(work, first + 112),
        _row(work, first + 128),
        _row(work, first + 144),
        _row(work, first + 160),
        _row(work, first + 176),
        _row(work, first + 192),
        _row(work, first + 208),
        _row(work, first + 224),
        _row(work, first + 240),
    )


@njit(forceinline=True, **JIT_OPTIONS)
def _store_rows(work, first, z):
    _store_row(work, first, z[0])
    _store_row(work, first + 16, z[1])
    _store_row(work, first + 32, z[2])
    _store_row(work, first + 48, z[3])
    _store_row(work, first + 64, z[4])
    _store_row(work, first + 80, z[5])
    _store_row(work, first + 96, z[6])
    _store_row(work, first + 112, z[7])
    _store_row(work, first + 128, z[8])
    _store_row(work, first + 144, z[9])
    _store_row(work, first + 160, z[10])
    _store_row(work, first + 176, z[11])
    _store_row(work, first + 192, z[12])
    _store_row(work, first + 208, z[13])
    _store_row(work, first + 224, z[14])
    _store_row(work, first + 240, z[15])


@njit(forceinline=True, **JIT_OPTIONS)
def _row(work, place):
    return vload(work, place), vload(work, place + _PART)


@njit(forceinline=True, **JIT_OPTIONS)
def _store_row(work, place, z):
    vstore(work, place, z[0])
    vstore(work, place + _PART, z[1])
