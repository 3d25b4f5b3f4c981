"""Fourier transforms of a few points, each a vector of complex numbers: a tuple (real, imaginary)."""

import numpy as np
from numba import njit

from kernels.simd import JIT_OPTIONS

_SQRT_HALF = np.float32(np.sqrt(0.5))


_TURNS = tuple((np.float32(np.cos(angle)), np.float32(-np.sin(angle))) for angle in np.pi / 8 * np.arange(8))
"""Twiddle factors of 16 points."""


@njit(forceinline=True, **JIT_OPTIONS)
def fourier16(x):
    """Sixteen-point transform: of even and odd points, the odd turned by -22.5 degrees each."""
    even = fourier8((x[0], x[2], x[4], x[6], x[8], x[10], x[12], x[14]))
    odd = fourier8((x[1], x[3], x[5], x[7], x[9], x[11], x[13], x[15]))
    odd_1 = turned(odd[1], _TURNS[1][0], _TURNS[1][1])
    odd_2 = turned(odd[2], _TURNS[2][0], _TURNS[2][1])
    odd_3 = turned(odd[3], _TURNS[3][0], _TURNS[3][1])
    odd_4 = times_minus_i(odd[4])
    odd_5 = turned(odd[5], _TURNS[5][0], _TURNS[5][1])
    odd_6 = turned(odd[6], _TURNS[6][0], _TURNS[6][1])
    odd_7 = turned(odd[7], _TURNS[7][0], _TURNS[7][1])
    return (
        plus(even[0], odd[0]),
        plus(even[1], odd_1),
        plus(even[2], odd_2),
        plus(even[3], odd_3),
        plus(even[4], odd_4),
        plus(even[5], odd_5),
        plus(even[6], odd_6),
        plus(even[7], odd_7),
        minus(even[0], odd[0]),
        minus(even[1], odd_1),
        minus(even[2], odd_2),
        minus(even[3], odd_3),
        minus(even[4], odd_4),
        minus(even[5], odd_5),
        minus(even[6], odd_6),
        minus(even[7], odd_7),
    )


@njit(forceinline=True, **JIT_OPTIONS)
def fourier8(x):
    """Eight-point transform: of even and odd points, the odd turned by -45 degrees each."""
    even = fourier4(x[0], x[2], x[4], x[6])
    odd = fourier4(x[1], x[3], x[5], x[7])
    odd_1 = (odd[1][0] + odd[1][1]) * _SQRT_HALF, (odd[1][1] - odd[1][0]) * _SQRT_HALF
    odd_2 = times_minus_i(odd[2])
    odd_3 = (odd[3][1] - odd[3][0]) * _SQRT_HALF, -((odd[3][0] + odd[3][1]) * _SQRT_HALF)
    return (
        plus(even[0], odd[0]),
        plus(even[1], odd_1),
        plus(even[2], odd_2),
        plus(even[3], odd_3),
        minus(even[0], odd[0]),
        minus(even[1], odd_1),
        minus(even[2], odd_2),
        minus(even[3], odd_3),
    )


@njit(forceinline=True, **JIT_OPTIONS)
def fourier4(a, b, c, d):
    even, even_difference = plus(a, c), minus(a, c)
    odd, odd_difference = plus(b, d), times_minus_i(minus(b, d))
    return (
        plus(even, odd),
        plus(even_difference, odd_difference),
        minus(even, odd),
        minus(even_difference, odd_difference),
    )


@njit(forceinline=True, **JIT_OPTIONS)
def turned(z, real, imaginary):
    """z times a factor."""
    return z[0] * real - z[1] * imaginary, z[0] * imaginary + z[1] * real


@njit(forceinline=True, **JIT_OPTIONS)
def plus(a, b):
    return a[0] + b[0], a[1] + b[1]


@njit(forceinline=True, **JIT_OPTIONS)
def minus(a, b):
    return a[0] - b[0], a[1] - b[1]


@njit(forceinline=True, **JIT_OPTIONS)
def times_minus_i(z):
    return z[1], -z[0]


@njit(forceinline=True, **JIT_OPTIONS)
def power(z):
    return z[0] * z[0] + z[1] * z[1]


@njit(forceinline=True, **JIT_OPTIONS)
def split(z, mirrored, real, imaginary):
    """X[k] and the conjugate of X[N - k] of 2 N real samples x, from Z[k] and Z[N - k] of z[n] = x[2n] + i x[2n + 1].

    Twice as large: the windows bring the factor 1/2. real, imaginary : parts of exp(-i pi k / N).
    """
    even = z[0] + mirrored[0], z[1] - mirrored[1]
    odd = turned((z[1] + mirrored[1], mirrored[0] - z[0]), real, imaginary)
    return plus(even, odd), minus(even, odd)
