"""The 512-point Fourier transform of 16 real frames at a time, for Numba functions; `kernels.fft_frame` takes one.

A vector holds the same sample of 16 frames, so the arithmetic of one transform, written once, does 16. The 512 real
samples x are read as 256 complex ones, z[n] = x[2n] + i x[2n + 1], and 256 = 8 * 8 * 4 is transformed in three passes
(decimation in frequency, Gentleman & Sande 1966):

1. frame, window, and transform over every 32nd of z: 32 times 8 points; what comes out is turned by its twiddle
   factor, and now belongs to 8 separate transforms of 32 points;
2. each of those again, over every fourth: 8 points, 8 * 4 times, leaving 64 transforms of 4 points;
3. in place, the last 4 points, and the split of Z into the spectrum X of the real samples: the even samples' transform
   is the part of Z that mirrors into its conjugate, the odd samples' the part that does not.

The work area (32 KB) stays in the fastest cache, as long as little else is there: so the powers overwrite it.
Element j of it is two vectors: real parts, imaginary parts.
The loops over vectors have no branches: around one, Numba counts references to the arrays, and each call to count
empties the vector registers. That alone had doubled the time of the last pass.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from kernels.butterflies import fourier4, fourier8, power, split, turned
from kernels.simd import JIT_OPTIONS, LANES, vload, vstore, vtranspose16

N_FFT = 512
BINS = N_FFT // 2
"""Without the Nyquist bin, which nothing here needs."""

_BLOCK = 32 + 4
"""Elements from one of the second pass's blocks to the next: 4 more than it has, since processors take addresses a
multiple of 4096 bytes apart for the same at first, and a load then waits for an unrelated store."""

LOW = 8 * _BLOCK * 2 * LANES
"""Where X[0], and real and imaginary part of X[1] of 16 frames are in the work area, a vector each."""

WORK_SIZE = LOW + 3 * LANES

_ELEMENT = 2 * LANES  # float32 of a complex element
_TWO = np.float32(2)

# Where each table begins in `tables`; the imaginary parts follow IMAGINARY later.
PASS_1 = N_FFT
_PASS_2 = PASS_1 + 16 * 32
SPLIT = _PASS_2 + 8 * 4
IMAGINARY = 16 * 32 + 8 * 4 + BINS


def transform_tables(window: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """The window, halved for the split's sake, and the twiddle factors of both passes and of the split.

    The transform of a single frame needs more of them: 16 rows of the first pass, and all bins of the split.
    """
    pass_1 = np.exp(-2j * np.pi / 256 * np.outer(np.arange(16), np.arange(32)))
    pass_2 = np.exp(-2j * np.pi / 32 * np.outer(np.arange(8), np.arange(4)))
    split = np.exp(-2j * np.pi / N_FFT * np.arange(BINS))
    factors = np.concatenate((pass_1.ravel(), pass_2.ravel(), split))
    return np.concatenate((window / 2, factors.real, factors.imag)).astype(np.float32)


def sample_offsets(hop_length: int, width: int) -> npt.NDArray[np.int64]:
    """Where sample m of frame 0 is among transposed hops [shape=(hop_length, width)]; frame c is c elements on."""
    sample = np.arange(N_FFT)
    return sample % hop_length * width + sample // hop_length


def transposed_width(hop_length: int, frames: int) -> int:
    """Hops that groups of 16 frames look at to cover `frames` frames."""
    hops = -(-frames // LANES) * LANES + -(-N_FFT // hop_length)
    return -(-hops // LANES) * LANES


@njit(**JIT_OPTIONS)
def transpose_hops(signal, start, frames, offset, transposed):
    """transposed[r, c] = signal[start + c * hop_length + r] - offset: neighbours are the same sample of 16 frames.

    Hops that only the frames beyond `frames` have in the last group of 16 are left as they are. What is written comes
    in blocks of 16 hops, of which the last may reach 16 hops beyond the last frame.
    """
    hop_length, width = transposed.shape
    hops = frames - 1 + -(-N_FFT // hop_length)
    for column in range(0, hops, LANES):
        for row in range(0, hop_length, LANES):
            source = start + column * hop_length + row
            vtranspose16(signal, source, hop_length, transposed, row * width + column, width, offset)


@njit(**JIT_OPTIONS)
def power_of_frames(transposed, offsets, first, tables, work):
    """Power spectra of frames first .. first + 15.

    Parameters
    ----------
    transposed, offsets, tables : of the functions above.
    work : float32 [shape=(WORK_SIZE,)], overwritten: |X[k]|^2 of 16 frames from element `bin_place(k)` on, and what is
        at LOW.
    """
    _window_and_first_pass(transposed, offsets, first, tables, work)
    _second_pass(tables, work)
    _last_pass_of_own_mirrors(tables, work)
    first_bin = _last_pass_and_split(1, tables, work)
    vstore(work, LOW + LANES, first_bin[0])
    vstore(work, LOW + 2 * LANES, first_bin[1])
    for bin_ in range(2, 32):
        _last_pass_and_split(bin_, tables, work)


@njit(forceinline=True, **JIT_OPTIONS)
def bin_place(bin_):
    """Where in the work area the power of bin 0 .. 255 is: among the four points that the last pass made it of."""
    return (_residue_place(bin_ & 63) + (bin_ >> 6)) * _ELEMENT


@njit(forceinline=True, **JIT_OPTIONS)
def _residue_place(residue):
    """The element from which on the two passes leave what bins residue, residue + 64, + 128, + 192 are made of."""
    return (residue & 7) * _BLOCK + (residue >> 3) * 4


@njit(forceinline=True, **JIT_OPTIONS)
def _window_and_first_pass(transposed, offsets, first, tables, work):
    for n in range(32):
        points = (
            _windowed(transposed, offsets, first, tables, 2 * n),
            _windowed(transposed, offsets, first, tables, 2 * n + 64),
            _windowed(transposed, offsets, first, tables, 2 * n + 128),
            _windowed(transposed, offsets, first, tables, 2 * n + 192),
            _windowed(transposed, offsets, first, tables, 2 * n + 256),
            _windowed(transposed, offsets, first, tables, 2 * n + 320),
            _windowed(transposed, offsets, first, tables, 2 * n + 384),
            _windowed(transposed, offsets, first, tables, 2 * n + 448),
        )
        _store_turned(work, n, _BLOCK, fourier8(points), tables, PASS_1 + n, 32)


@njit(forceinline=True, **JIT_OPTIONS)
def _second_pass(tables, work):
    for block in range(0, 8 * _BLOCK, _BLOCK):
        for n in range(4):
            first = block + n
            points = (
                _element(work, first),
                _element(work, first + 4),
                _element(work, first + 8),
                _element(work, first + 12),
                _element(work, first + 16),
                _element(work, first + 20),
                _element(work, first + 24),
                _element(work, first + 28),
            )
            _store_turned(work, first, 4, fourier8(points), tables, _PASS_2 + n, 4)


@njit(forceinline=True, **JIT_OPTIONS)
def _last_pass_of_own_mirrors(tables, work):
    """Bins 0, 64, 128, 192, and 32, 96, 160, 224: their mirrors 256 - k are among themselves."""
    z = _last_four_points(work, 0)
    constant = _TWO * (z[0][0] + z[0][1])
    vstore(work, bin_place(0), constant * constant)
    vstore(work, LOW, constant)
    _store_pair(work, 64, _split(z[1], z[3], tables, 64))
    vstore(work, bin_place(128), _TWO * _TWO * power(z[2]))
    z = _last_four_points(work, 32)
    _store_pair(work, 32, _split(z[0], z[3], tables, 32))
    _store_pair(work, 96, _split(z[1], z[2], tables, 96))


@njit(forceinline=True, **JIT_OPTIONS)
def _last_pass_and_split(bin_, tables, work):
    """Bins k, k + 64, k + 128, k + 192 and their mirrors, for 0 < k < 32; return X[k]."""
    z = _last_four_points(work, bin_)
    mirrored = _last_four_points(work, 64 - bin_)
    pair = _split(z[0], mirrored[3], tables, bin_)
    _store_pair(work, bin_, pair)
    _store_pair(work, bin_ + 64, _split(z[1], mirrored[2], tables, bin_ + 64))
    _store_pair(work, 64 - bin_, _split(mirrored[0], z[3], tables, 64 - bin_))
    _store_pair(work, 128 - bin_, _split(mirrored[1], z[2], tables, 128 - bin_))
    return pair[0]


@njit(forceinline=True, **JIT_OPTIONS)
def _windowed(transposed, offsets, first, tables, sample):
    """Windowed samples `sample` and the next of 16 frames, as one complex number."""
    real = vload(transposed, offsets[sample] + first) * tables[sample]
    imaginary = vload(transposed, offsets[sample + 1] + first) * tables[sample + 1]
    return real, imaginary


@njit(forceinline=True, **JIT_OPTIONS)
def _element(work, number):
    return vload(work, number * _ELEMENT), vload(work, number * _ELEMENT + LANES)


@njit(forceinline=True, **JIT_OPTIONS)
def _store_element(work, number, z):
    vstore(work, number * _ELEMENT, z[0])
    vstore(work, number * _ELEMENT + LANES, z[1])


@njit(forceinline=True, **JIT_OPTIONS)
def _store_turned(work, first, stride, points, tables, factor, factor_stride):
    """Points to elements first, first + stride, ..., each but the first turned by its twiddle factor."""
    _store_element(work, first, points[0])
    _store_element(work, first + stride, _turned(points[1], tables, factor + factor_stride))
    _store_element(work, first + 2 * stride, _turned(points[2], tables, factor + 2 * factor_stride))
    _store_element(work, first + 3 * stride, _turned(points[3], tables, factor + 3 * factor_stride))
    _store_element(work, first + 4 * stride, _turned(points[4], tables, factor + 4 * factor_stride))
    _store_element(work, first + 5 * stride, _turned(points[5], tables, factor + 5 * factor_stride))
    _store_element(work, first + 6 * stride, _turned(points[6], tables, factor + 6 * factor_stride))
    _store_element(work, first + 7 * stride, _turned(points[7], tables, factor + 7 * factor_stride))


@njit(forceinline=True, **JIT_OPTIONS)
def _last_four_points(work, residue):
    """Z[residue], Z[residue + 64], Z[residue + 128], Z[residue + 192]."""
    first = _residue_place(residue)
    return fourier4(
        _element(work, first), _element(work, first + 1), _element(work, first + 2), _element(work, first + 3)
    )


@njit(forceinline=True, **JIT_OPTIONS)
def _split(z, mirrored, tables, bin_):
    return split(z, mirrored, tables[SPLIT + bin_], tables[SPLIT + bin_ + IMAGINARY])


@njit(forceinline=True, **JIT_OPTIONS)
def _store_pair(work, bin_, pair):
    vstore(work, bin_place(bin_), power(pair[0]))
    vstore(work, bin_place(BINS - bin_), power(pair[1]))


@njit(forceinline=True, **JIT_OPTIONS)
def _turned(z, tables, factor):
    return turned(z, tables[factor], tables[factor + IMAGINARY])
