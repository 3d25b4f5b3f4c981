"""Vectors within jitted functions do what NumPy does to each element."""

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError

from kernels.simd import (
    splat,
    veven,
    vload,
    vload_first,
    vlog,
    vmax,
    vmin,
    vodd,
    vreverse,
    vsqrt,
    vstore,
    vstore_first,
    vsum,
    vtranspose16,
)

RNG = np.random.default_rng(0)
LEFT, RIGHT = RNG.uniform(-9, 9, (2, 16)).astype(np.float32)


@numba.njit
def arithmetic(left, right, out):
    a, b = vload(left, 0), vload(right, 0)
    three = np.float32(3)
    vstore(out, 0, a + b)
    vstore(out, 16, a - b)
    vstore(out, 32, a * b)
    vstore(out, 48, a / b)
    vstore(out, 64, -a)
    vstore(out, 80, three * a + b * three)
    vstore(out, 96, vmax(a, b))
    vstore(out, 112, vmin(a, splat(three)))
    vstore(out, 128, vsqrt(b * b))


def test_arithmetic_is_numpys():
    out = np.empty((9, 16), np.float32)
    arithmetic(LEFT, RIGHT, out)
    a, b = LEFT, RIGHT
    expected = [a + b, a - b, a * b, a / b, -a, 3 * a + b * 3, np.maximum(a, b), np.minimum(a, 3), np.abs(b)]
    np.testing.assert_allclose(out, expected, rtol=1e-6, atol=5e-6)  # a fused product and sum rounds once


@numba.njit
def reordered(left, right, out):
    a, b = vload(left, 0), vload(right, 0)
    vstore(out, 0, veven(a, b))
    vstore(out, 16, vodd(a, b))
    vstore(out, 32, vreverse(a))
    return vsum(a)


def test_elements_are_reordered_and_summed():
    out = np.empty((3, 16), np.float32)
    total = reordered(LEFT, RIGHT, out)
    both = np.concatenate((LEFT, RIGHT))
    np.testing.assert_array_equal(out, [both[::2], both[1::2], LEFT[::-1]])
    assert total == pytest.approx(LEFT.astype(float).sum(), abs=1e-5)


@numba.njit
def logarithms(values, out):
    for start in range(0, values.size, 16):
        vstore(out, start, vlog(vload(values, start)))


def test_logarithm_is_within_a_ten_millionth_and_one_and_a_half_units_of_the_last_place():
    exponents = np.concatenate((np.linspace(-37.9, 38.5, 32_000 - 512), np.linspace(-1e-3, 1e-3, 512)))
    values = (10.0**exponents).astype(np.float32)
    found = np.empty_like(values)
    logarithms(values, found)
    exact = np.log(values.astype(np.float64))
    assert (np.abs(found - exact) <= 1e-7 + 1.5 * np.spacing(np.abs(exact).astype(np.float32))).all()


def test_logarithm_of_one_is_zero():
    found = np.ones(16, np.float32)
    logarithms(np.ones(16, np.float32), found)
    np.testing.assert_array_equal(found, 0)


@numba.njit
def copy_first(source, target, index, count):
    vstore_first(target, index, vload_first(source, index, count), count)


@pytest.mark.parametrize("count", range(17))
def test_first_elements_are_copied_and_no_others(count):
    source, target = np.arange(40, dtype=np.float32), np.full(40, -1, np.float32)
    copy_first(source, target, 3, count)
    expected = np.full(40, -1, np.float32)
    expected[3 : 3 + count] = source[3 : 3 + count]
    np.testing.assert_array_equal(target, expected)


@numba.njit
def load_first(source, target, count):
    vstore(target, 0, vload_first(source, 0, count))


def test_elements_after_the_first_are_zero():
    target = np.empty(16, np.float32)
    load_first(np.full(16, np.inf, np.float32), target, 0)
    np.testing.assert_array_equal(target, 0)


@numba.njit
def transpose(source, source_index, target, target_index, offset):
    vtranspose16(source, source_index, source.shape[1], target, target_index, target.shape[1], offset)


def test_block_is_transposed_in_place_and_shifted():
    source = RNG.integers(-100, 100, (20, 40)).astype(np.float32)
    target = np.zeros((24, 32), np.float32)
    transpose(source, 2 * 40 + 5, target, 1 * 32 + 7, np.float32(8))
    expected = np.zeros((24, 32), np.float32)
    expected[1:17, 7:23] = source[2:18, 5:21].T - 8
    np.testing.assert_array_equal(target, expected)


@pytest.mark.parametrize(
    "array",
    [np.zeros(16), np.zeros(32, np.float32)[::2], np.asfortranarray(np.zeros((16, 16), np.float32))],
    ids=["float64", "strided", "Fortran"],
)
def test_another_kind_of_array_is_rejected_when_compiled(array):
    with pytest.raises(TypingError, match="C-contiguous float32"):
        load_first(array, np.empty(16, np.float32), 16)
