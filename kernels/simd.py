"""A vector of 16 float32 for Numba functions: what LLVM's loop vectoriser would not find by itself.

A function jitted by Numba may hold vectors in variables, add, subtract, multiply and divide them (also by a float32),
negate them, and call the functions below. One vector is a register of AVX-512, two of AVX2, four of NEON; LLVM
chooses when it compiles for the machine at hand, so nothing here names an instruction.

Arithmetic is "fast" in LLVM's sense: it may be reordered and fused, and takes NaN and infinity for absent.

Numba looks for a stale cache in a jitted function's own file only; `source_stamp` makes it look at others too.
"""

import hashlib
import math
import operator
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

LANES = 16

JIT_OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": True, "error_model": "numpy", "boundscheck": False}
"""For every jitted function here: other Python threads run on, and a division does not check for zero."""

_INT = ir.IntType(32)
_FLOAT = ir.FloatType()
_FLOATS = ir.VectorType(_FLOAT, LANES)
_INTS = ir.VectorType(_INT, LANES)
_FAST = ("fast",)


class Float32x16(types.Type):
    """Numba's type of 16 float32 in one value. It lives within jitted functions only: there is no boxing."""

    def __init__(self) -> None:
        super().__init__("float32x16")


float32x16 = Float32x16()


@register_model(Float32x16)
class _Float32x16Model(models.PrimitiveModel):
    def __init__(self, manager: Any, numba_type: Float32x16) -> None:
        super().__init__(manager, numba_type, _FLOATS)


@intrinsic
def vload(typing_context, array, index):
    """Elements index .. index + 15 of a C-contiguous float32 array, counted from its first whatever its shape."""

    def codegen(context, builder, sig, args):
        return _load(builder, _address(context, builder, sig.args[0], args[0], args[1]))

    _require_float32(array)
    return float32x16(array, types.intp), codegen


@intrinsic
def vstore(typing_context, array, index, vector):
    """Write `vector` to elements index .. index + 15 of a C-contiguous float32 array."""

    def codegen(context, builder, sig, args):
        _store(builder, args[2], _address(context, builder, sig.args[0], args[0], args[1]))
        return context.get_dummy_value()

    _require_float32(array)
    return types.void(array, types.intp, float32x16), codegen


@intrinsic
def vload_first(typing_context, array, index, count):
    """Elements index .. index + count - 1, then zeros; nothing beyond them is read. 0 <= count <= 16."""

    def codegen(context, builder, sig, args):
        pointer = _address(context, builder, sig.args[0], args[0], args[1])
        mask = _first_lanes(builder, args[2])
        kind = ir.FunctionType(_FLOATS, [pointer.type, _INT, mask.type, _FLOATS])
        load = _declare(builder, kind, "llvm.masked.load.v16f32.p0")
        return builder.call(load, [pointer, _INT(4), mask, _constant(0.0)])

    _require_float32(array)
    return float32x16(array, types.intp, types.intp), codegen


@intrinsic
def vstore_first(typing_context, array, index, vector, count):
    """Write the first `count` elements of `vector` only. 0 <= count <= 16."""

    def codegen(context, builder, sig, args):
        pointer = _address(context, builder, sig.args[0], args[0], args[1])
        mask = _first_lanes(builder, args[3])
        kind = ir.FunctionType(ir.VoidType(), [_FLOATS, pointer.type, _INT, mask.type])
        store = _declare(builder, kind, "llvm.masked.store.v16f32.p0")
        builder.call(store, [args[2], pointer, _INT(4), mask])
        return context.get_dummy_value()

    _require_float32(array)
    return types.void(array, types.intp, float32x16, types.intp), codegen


@intrinsic
def splat(typing_context, value):
    """A vector of 16 times `value`."""

    def codegen(context, builder, sig, args):
        return _splat(builder, args[0])

    return float32x16(types.float32), codegen


@intrinsic
def vsqrt(typing_context, vector):
    """Square root of each element."""

    def codegen(context, builder, sig, args):
        root = _declare(builder, ir.FunctionType(_FLOATS, [_FLOATS]), "llvm.sqrt.v16f32")
        return builder.call(root, args)

    return float32x16(float32x16), codegen


@intrinsic
def vsum(typing_context, vector):
    """Sum of the 16 elements, a float32."""

    def codegen(context, builder, sig, args):
        total = _declare(builder, ir.FunctionType(_FLOAT, [_FLOAT, _FLOATS]), "llvm.vector.reduce.fadd.v16f32")
        return builder.call(total, [ir.Constant(_FLOAT, 0.0), args[0]], fastmath=_FAST)

    return types.float32(float32x16), codegen


@intrinsic
def vmax(typing_context, left, right):
    """The larger of each pair of elements."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", *args, flags=_FAST), *args)

    return float32x16(float32x16, float32x16), codegen


@intrinsic
def vmin(typing_context, left, right):
    """The smaller of each pair of elements."""

    def codegen(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered("<", *args, flags=_FAST), *args)

    return float32x16(float32x16, float32x16), codegen


_LOG_POLYNOMIAL = (
    -0.10102239, 0.16419996, -0.17333467, 0.19873046, -0.24959343, 0.33336182, -0.50000667, 0.99999981,
)  # fmt: skip
"""log(1 + f) = f P(f) for sqrt(1/2) <= 1 + f < sqrt(2), highest power first: the least greatest absolute error, 3.4e-8.

Found by Lawson's iteratively reweighted least squares. One that is also exact to a unit of the last place near
log(1) = 0 would cost half as much again, and a logarithm that is added to others of 5 or 10 has no use for it.
"""

_SQRT_HALF_BITS, _EXPONENT_BITS = 0x3F3504F3, -1 << 23


@intrinsic
def vlog(typing_context, vector):
    """Natural logarithm of each element, within 1e-7 plus 1.5 units of the last place; elements must be >= 1.2e-38.

    x = m 2^e with sqrt(1/2) <= m < sqrt(2): e 2^23 and m are cut out of the bits, log(m) is a polynomial.
    """

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(args[0], _INTS)
        exponent = builder.and_(builder.sub(bits, _constant_int(_SQRT_HALF_BITS)), _constant_int(_EXPONENT_BITS))
        mantissa = builder.bitcast(builder.sub(bits, exponent), _FLOATS)
        f = builder.fsub(mantissa, _constant(1.0), flags=_FAST)
        small = builder.fmul(_polynomial(builder, f, _LOG_POLYNOMIAL), f, flags=_FAST)
        large = builder.fmul(builder.sitofp(exponent, _FLOATS), _constant(math.log(2) / 2**23), flags=_FAST)
        return builder.fadd(small, large, flags=_FAST)

    return float32x16(float32x16), codegen


@intrinsic
def vtranspose16(typing_context, source, source_index, source_stride, target, target_index, target_stride, offset):
    """target[row, column] = source[column, row] - offset for a block of 16 x 16 float32.

    Rows of a block are `stride` elements apart; its first element is number `index` of its array.
    """

    def codegen(context, builder, sig, args):
        first = _address(context, builder, sig.args[0], args[0], args[1])
        rows = [_load(builder, _row(builder, first, args[2], number)) for number in range(LANES)]
        shift = _splat(builder, args[6])
        rows = [builder.fsub(row, shift, flags=_FAST) for row in rows]
        first = _address(context, builder, sig.args[3], args[3], args[4])
        for number, column in enumerate(_transposed(builder, rows)):
            _store(builder, column, _row(builder, first, args[5], number))
        return context.get_dummy_value()

    index = types.intp
    _require_float32(source)
    _require_float32(target)
    return types.void(source, index, index, target, index, index, types.float32), codegen


@intrinsic
def veven(typing_context, first, second):
    """Elements 0, 2, .. 30 of the 32 of two vectors."""

    def codegen(context, builder, sig, args):
        return builder.shuffle_vector(*args, ir.Constant(_INTS, list(range(0, 2 * LANES, 2))))

    return float32x16(float32x16, float32x16), codegen


@intrinsic
def vodd(typing_context, first, second):
    """Elements 1, 3, .. 31 of the 32 of two vectors."""

    def codegen(context, builder, sig, args):
        return builder.shuffle_vector(*args, ir.Constant(_INTS, list(range(1, 2 * LANES, 2))))

    return float32x16(float32x16, float32x16), codegen


@intrinsic
def vreverse(typing_context, vector):
    """The last element first."""

    def codegen(context, builder, sig, args):
        return builder.shuffle_vector(args[0], args[0], ir.Constant(_INTS, list(range(LANES))[::-1]))

    return float32x16(float32x16), codegen


def aligned_zeros(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Zeros that begin on a cache line, 64 bytes, so that no vector of a whole row of them lies across two."""
    size = int(np.prod(shape))
    memory = np.zeros(size + LANES, np.float32)
    first = -memory.ctypes.data % 64 // memory.itemsize
    return memory[first : first + size].reshape(shape)


def source_stamp(*paths: str) -> str:
    """A digest of source files; a jitted closure that holds it is compiled anew when one of them changes.

    Numba's cache compares the values a function closes over, and the date of the file the function is in, but knows
    nothing of the functions it calls.
    """
    digest = hashlib.sha256()
    for path in (__file__, *paths):
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def _transposed(builder: ir.IRBuilder, rows: list[Any]) -> list[Any]:
    """16 vectors transposed: swap off-diagonal blocks of 1, 2, 4, then 8 elements (Eklundh 1972)."""
    for size in (1, 2, 4, 8):
        odd = [bool(lane & size) for lane in range(LANES)]
        low = [lane - size + LANES if odd[lane] else lane for lane in range(LANES)]
        high = [lane + LANES if odd[lane] else lane + size for lane in range(LANES)]
        swapped = list(rows)
        for number in range(LANES):
            if not number & size:
                pair = rows[number], rows[number + size]
                swapped[number] = builder.shuffle_vector(*pair, ir.Constant(_INTS, low))
                swapped[number + size] = builder.shuffle_vector(*pair, ir.Constant(_INTS, high))
        rows = swapped
    return rows


def _register_arithmetic(operation: Callable[..., Any], instruction: str) -> None:
    """Let jitted functions write `operation` between vectors, and between a vector and a float32."""

    class Template(ConcreteTemplate):
        cases = [  # noqa: RUF012 (Numba's protocol)
            signature(float32x16, float32x16, float32x16),
            signature(float32x16, types.float32, float32x16),
            signature(float32x16, float32x16, types.float32),
        ]

    def codegen(context, builder, sig, args):
        operands = [
            value if isinstance(kind, Float32x16) else _splat(builder, value)
            for kind, value in zip(sig.args, args, strict=True)
        ]
        return getattr(builder, instruction)(*operands, flags=_FAST)

    infer_global(operation)(Template)
    for pair in ((Float32x16, Float32x16), (types.Float, Float32x16), (Float32x16, types.Float)):
        lower_builtin(operation, *pair)(codegen)


for _operation, _instruction in (
    (operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv"),
):  # fmt: skip
    _register_arithmetic(_operation, _instruction)


@infer_global(operator.neg)
class _Negation(ConcreteTemplate):
    cases = [signature(float32x16, float32x16)]  # noqa: RUF012


@lower_builtin(operator.neg, Float32x16)
def _negate(context, builder, sig, args):
    return builder.fneg(args[0], flags=_FAST)


def _require_float32(array: types.Type) -> None:
    """Raise TypingError unless `array` is a C-contiguous float32 array."""
    if not isinstance(array, types.Array) or array.dtype != types.float32 or array.layout != "C":
        raise TypingError(f"array is {array}; expected a C-contiguous float32 array.")


def _address(context: Any, builder: ir.IRBuilder, array_type: Any, array: Any, index: Any) -> Any:
    """Address of element number `index`."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index], inbounds=True)


def _row(builder: ir.IRBuilder, first: Any, stride: Any, number: int) -> Any:
    """Address of the row `number` rows of `stride` elements after `first`."""
    return builder.gep(first, [builder.mul(stride, ir.Constant(stride.type, number))], inbounds=True)


def _load(builder: ir.IRBuilder, address: Any) -> Any:
    vector = builder.load(builder.bitcast(address, _FLOATS.as_pointer()))
    vector.align = 4
    return vector


def _store(builder: ir.IRBuilder, vector: Any, address: Any) -> None:
    builder.store(vector, builder.bitcast(address, _FLOATS.as_pointer())).align = 4


def _splat(builder: ir.IRBuilder, value: Any) -> Any:
    undefined = ir.Constant(_FLOATS, ir.Undefined)
    first = builder.insert_element(undefined, value, _INT(0))
    return builder.shuffle_vector(first, undefined, _constant_int(0))


def _first_lanes(builder: ir.IRBuilder, count: Any) -> Any:
    """A mask of the lanes with numbers below `count`."""
    undefined = ir.Constant(_INTS, ir.Undefined)
    first = builder.insert_element(undefined, builder.trunc(count, _INT), _INT(0))
    counts = builder.shuffle_vector(first, undefined, _constant_int(0))
    return builder.icmp_signed("<", ir.Constant(_INTS, list(range(LANES))), counts)


def _polynomial(builder: ir.IRBuilder, x: Any, coefficients: Sequence[float]) -> Any:
    """Horner's scheme; coefficients of the highest power first."""
    value = _constant(coefficients[0])
    for coefficient in coefficients[1:]:
        value = builder.fadd(builder.fmul(value, x, flags=_FAST), _constant(coefficient), flags=_FAST)
    return value


def _declare(builder: ir.IRBuilder, kind: ir.FunctionType, name: str) -> ir.Function:
    """LLVM's own function `name`."""
    known = builder.module.globals.get(name)
    return known if known is not None else ir.Function(builder.module, kind, name)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [float(value)] * LANES)


def _constant_int(value: int) -> ir.Constant:
    return ir.Constant(_INTS, [value] * LANES)
