"""Vectors of image samples for Numba: what `kernels.simd` lacks for pictures. Written for little-endian machines.

Each function here is an intrinsic: it writes LLVM instructions, which become AVX-512, AVX2 or NEON on the machine
that compiles them.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.simd import LANES, float32x16

_INT32 = ir.IntType(32)
_INT64 = ir.IntType(64)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTS = ir.VectorType(_INT32, LANES)
_HALF_LANES = LANES // 2
_WORDS = ir.VectorType(_INT64, _HALF_LANES)
_ADDRESSES = ir.VectorType(_INT64.as_pointer(), _HALF_LANES)
_MASK = ir.VectorType(ir.IntType(1), _HALF_LANES)
_FAST = ("fast",)


@intrinsic
def ramp(typing, start, step):
    """The vector start, start + step, start + 2 step ...; both float32."""

    def generate(context, builder, signature, arguments):
        start, step = (_broadcast(builder, value, _FLOATS) for value in arguments)
        lanes = ir.Constant(_FLOATS, [float(lane) for lane in range(LANES)])
        return builder.fadd(start, builder.fmul(step, lanes, _FAST), _FAST)

    return float32x16(types.float32, types.float32), generate


@intrinsic
def store(typing, target, index, value):
    """Write a float32 to element number `index` of an array, or a vector to elements index .. index + 15.

    `target` is C-contiguous float32, or uint16 that takes the bits of float16; elements count from its first whatever
    its shape. Nothing is checked.
    """

    def generate(context, builder, signature, arguments):
        array_type = signature.args[0]
        array, index, value = arguments
        if array_type.dtype == types.uint16:
            value = _float16_bits(builder, value)
        first = builder.gep(context.make_array(array_type)(context, builder, array).data, [index])
        written = builder.store(value, builder.bitcast(first, value.type.as_pointer()))
        written.align = array_type.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(target, types.intp, value), generate


@intrinsic
def bilinear_rgb(typing, image, origin, row_bytes, x, y):
    """Red, green and blue at 16 points (x, y) >= 0, vectors of 0..255.

    `image` is C-contiguous uint8 RGB; x and y count from the pixel whose first byte is at `origin`. Of each of two
    rows, 8 bytes are read from the pixel left of the point on: so two columns must follow it. Nothing is checked.
    """

    def generate(context, builder, signature, arguments):
        image, origin, row_bytes, x, y = arguments
        column, row = builder.fptosi(x, _INTS), builder.fptosi(y, _INTS)
        across = builder.fsub(x, builder.sitofp(column, _FLOATS), _FAST)
        down = builder.fsub(y, builder.sitofp(row, _FLOATS), _FAST)
        pitch = _broadcast(builder, builder.trunc(row_bytes, _INT32), _INTS)
        offset = builder.add(builder.mul(row, pitch), builder.mul(column, _constant(3)))
        first = builder.gep(context.make_array(signature.args[0])(context, builder, image).data, [origin])
        upper = _between_columns(builder, first, offset, across)
        lower = _between_columns(builder, first, builder.add(offset, pitch), across)
        samples = [_between(builder, *pair, down) for pair in zip(upper, lower, strict=True)]
        return context.make_tuple(builder, signature.return_type, samples)

    return types.UniTuple(float32x16, 3)(image, types.intp, types.intp, float32x16, float32x16), generate


def _between_columns(builder, first, offset, across):
    """Colours between the two neighbours in a row whose bytes begin at `offset`: R, G, B, R, G, B."""
    start, end = _eight_bytes(builder, first, offset)
    left = [_byte(builder, start, place) for place in (0, 1, 2)]
    right = [_byte(builder, start, 3), _byte(builder, end, 0), _byte(builder, end, 1)]
    return [_between(builder, *pair, across) for pair in zip(left, right, strict=True)]


def _between(builder, start, end, fraction):
    """start + fraction * (end - start)."""
    return builder.fadd(start, builder.fmul(fraction, builder.fsub(end, start, _FAST), _FAST), _FAST)


def _byte(builder, integers, place):
    """Byte `place` of each 32-bit lane, as float32."""
    shifted = builder.lshr(integers, _constant(8 * place))
    return builder.sitofp(builder.and_(shifted, _constant(255)), _FLOATS)


def _eight_bytes(builder, first, offset):
    """Bytes 0..3 and bytes 4..7 at each offset, two vectors of 32-bit lanes."""
    lower, upper = (_gather(builder, first, offset, half) for half in (0, _HALF_LANES))
    start = builder.shuffle_vector(lower, upper, ir.Constant(_INTS, list(range(0, 2 * LANES, 2))))
    end = builder.shuffle_vector(lower, upper, ir.Constant(_INTS, list(range(1, 2 * LANES, 2))))
    return start, end


def _gather(builder, first, offset, lane):
    """The 64-bit words at eight offsets from `lane` on, as twice as many 32-bit lanes."""
    lanes = ir.Constant(ir.VectorType(_INT32, _HALF_LANES), list(range(lane, lane + _HALF_LANES)))
    eight = builder.sext(builder.shuffle_vector(offset, _undefined(_INTS), lanes), _WORDS)
    base = _broadcast(builder, builder.ptrtoint(first, _INT64), _WORDS)
    addresses = builder.inttoptr(builder.add(base, eight), _ADDRESSES)
    kind = ir.FunctionType(_WORDS, [_ADDRESSES, _INT32, _MASK, _WORDS])
    gather = cgutils.get_or_insert_function(builder.module, kind, "llvm.masked.gather.v8i64.v8p0")
    everywhere = ir.Constant(_MASK, [1] * _HALF_LANES)
    alignment = ir.Constant(_INT32, 1)
    words = builder.call(gather, [addresses, alignment, everywhere, _undefined(_WORDS)])
    return builder.bitcast(words, _INTS)


def _float16_bits(builder, value):
    """`value` rounded to float16, as an integer or a vector of them."""
    if isinstance(value.type, ir.VectorType):
        halves, bits = ir.VectorType(ir.HalfType(), LANES), ir.VectorType(ir.IntType(16), LANES)
    else:
        halves, bits = ir.HalfType(), ir.IntType(16)
    return builder.bitcast(builder.fptrunc(value, halves), bits)


def _broadcast(builder, value, vector):
    """`value` in every lane."""
    single = builder.insert_element(_undefined(vector), value, ir.Constant(_INT32, 0))
    first = ir.Constant(ir.VectorType(_INT32, vector.count), [0] * vector.count)
    return builder.shuffle_vector(single, _undefined(vector), first)


def _constant(value):
    return ir.Constant(_INTS, [value] * LANES)


def _undefined(vector):
    return ir.Constant(vector, ir.Undefined)
