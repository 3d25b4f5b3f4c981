"""Vectors of image samples for Numba: what `kernels.simd` lacks for pictures. Written for little-endian machines.

Each function here is an intrinsic: it writes LLVM instructions, which become AVX-512, AVX2 or NEON on the machine
that compiles them.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from kernels.simd import LANES, float32x16

FRACTION_BITS = 20
"""Of a coordinate in fixed point, which is an int32: up to 2047 pixels, and steps of a millionth."""

WEIGHT_BITS = 14
"""Of what a point's four neighbours weigh, so that one of them alone, at 2 ** 14, fits into an int16."""

_INT16 = ir.IntType(16)
_INT32 = ir.IntType(32)
_INT64 = ir.IntType(64)
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_INTS = ir.VectorType(_INT32, LANES)
_EIGHT_INTS = ir.VectorType(_INT32, 8)
_SIXTEEN_BYTES = ir.VectorType(ir.IntType(8), 16)


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
def place(typing, places, index, row_bytes, x, y, step_x, step_y):
    """Write where the 16 points (x, y), (x + step_x, y + step_y) ... lie to elements index .. index + 15 of each row.

    `places` is C-contiguous int32 [shape=(3, n)]: the offset of the pixel left of and above a point, in bytes, and
    the weights of its two upper and of its two lower neighbours, the left one in the lower half of the integer.
    Coordinates are in fixed point, >= 0. Nothing is checked.
    """

    def generate(context, builder, signature, arguments):
        places, index, row_bytes = arguments[:3]
        x, y, step_x, step_y = (_broadcast(builder, value, _INTS) for value in arguments[3:])
        lanes = ir.Constant(_INTS, list(range(LANES)))
        (column, across), (row, down) = (
            _split(builder, builder.add(first, builder.mul(step, lanes))) for first, step in ((x, step_x), (y, step_y))
        )
        pitch = _broadcast(builder, builder.trunc(row_bytes, _INT32), _INTS)
        offset = builder.add(builder.mul(row, pitch), builder.mul(column, _constant(3)))
        product = builder.add(builder.mul(across, down), _constant(1 << WEIGHT_BITS - 1))
        lower_right = builder.lshr(product, _constant(WEIGHT_BITS))
        lower_left, upper_right = builder.sub(down, lower_right), builder.sub(across, lower_right)
        upper_left = builder.sub(builder.sub(_constant(1 << WEIGHT_BITS), down), upper_right)
        upper, lower = _pairs(builder, upper_left, upper_right), _pairs(builder, lower_left, lower_right)
        for number, value in enumerate((offset, upper, lower)):
            first = _element(context, builder, signature.args[0], places, number, index)
            builder.store(value, builder.bitcast(first, _INTS.as_pointer())).align = 4
        return context.get_dummy_value()

    index, fixed = types.intp, types.int32
    return types.void(places, index, index, fixed, fixed, fixed, fixed), generate


@intrinsic
def bilinear_rgb(typing, image, origin, row_bytes, places, index):
    """Red, green and blue at 16 points, vectors of 0..255, from what `place` wrote to elements index .. index + 15.

    `image` is C-contiguous uint8 RGB; the offsets count from its byte number `origin`. Of each of two rows, 16 bytes
    are read from the pixel left of the point on: so five columns must follow it. Nothing is checked.
    """

    def generate(context, builder, signature, arguments):
        image, origin, row_bytes, places, index = arguments
        upper_row = builder.gep(context.make_array(signature.args[0])(context, builder, image).data, [origin])
        lower_row = builder.gep(upper_row, [row_bytes])
        offsets, upper, lower = (
            _element(context, builder, signature.args[3], places, number, index) for number in range(3)
        )
        halves = []
        for start in (0, 8):
            sums = [
                builder.add(
                    _weighted(builder, upper_row, offsets, upper, point),
                    _weighted(builder, lower_row, offsets, lower, point),
                )
                for point in range(start, start + 4)
            ]
            halves.append(_by_colour(builder, sums))
        unit = ir.Constant(_FLOATS, [2.0**-WEIGHT_BITS] * LANES)
        colours = [
            builder.fmul(builder.sitofp(_shuffle(builder, pair, range(LANES)), _FLOATS), unit, ("fast",))
            for pair in zip(*halves, strict=True)
        ]
        return context.make_tuple(builder, signature.return_type, colours)

    index = types.intp
    return types.UniTuple(float32x16, 3)(image, index, index, places, index), generate


def _split(builder, coordinates):
    """Whole pixels, and what is left of them in the weights' units."""
    half = 1 << FRACTION_BITS - WEIGHT_BITS - 1
    rounded = builder.lshr(builder.add(coordinates, _constant(half)), _constant(FRACTION_BITS - WEIGHT_BITS))
    return builder.lshr(rounded, _constant(WEIGHT_BITS)), builder.and_(rounded, _constant((1 << WEIGHT_BITS) - 1))


def _pairs(builder, left, right):
    """Two integers of 16 bits in one of 32."""
    return builder.or_(left, builder.shl(right, _constant(16)))


def _weighted(builder, row, offsets, weights, point):
    """Of `point` and of the fourth after it, its neighbours in a row, weighted and added: R, G, B, 0, R, G, B, 0.

    Products of neighbouring words, added: LLVM finds the instruction that does both.
    """
    points, pixels = (point, point + 4), []
    for each in points:
        offset = builder.zext(builder.load(_after(builder, offsets, each)), _INT64)
        pixels.append(_load(builder, _SIXTEEN_BYTES, _after(builder, row, offset)))
    both = _shuffle(builder, pixels, range(32))
    zero = 32  # the first lane of a vector of zeros that follows
    one = [0, zero, 3, zero, 1, zero, 4, zero, 2, zero, 5, zero, zero, zero, zero, zero]
    other = [lane if lane == zero else 16 + lane for lane in one]
    paired = _shuffle(builder, (both, ir.Constant(both.type, [0] * 32)), one + other)
    words = builder.bitcast(paired, ir.VectorType(_INT16, 16))

    first = point - point % 8
    eight = _load(builder, _EIGHT_INTS, _after(builder, weights, first))
    repeated = _shuffle(builder, (eight, eight), [each - first for each in points for _ in range(4)])
    factors = builder.bitcast(repeated, words.type)

    products = builder.mul(builder.sext(words, _INTS), builder.sext(factors, _INTS), flags=("nsw",))
    left, right = (_shuffle(builder, (products, products), range(start, LANES, 2)) for start in (0, 1))
    return builder.add(left, right)


def _by_colour(builder, sums):
    """Four vectors of R, G, B, 0 of a pixel and of the fourth after it -> the reds, the greens, the blues of eight."""
    pairs = sums[:2], sums[2:]
    reds_greens = [_shuffle(builder, pair, (0, 8, 1, 9, 4, 12, 5, 13)) for pair in pairs]
    blues = [_shuffle(builder, pair, (2, 10, 3, 11, 6, 14, 7, 15)) for pair in pairs]
    lower, upper = (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)
    return [_shuffle(builder, *each) for each in ((reds_greens, lower), (reds_greens, upper), (blues, lower))]


def _element(context, builder, array_type, array, row, column):
    """Address of array[row, column]."""
    values = context.make_array(array_type)(context, builder, array)
    skipped = builder.mul(builder.extract_value(values.shape, 1), ir.Constant(_INT64, row))
    return builder.gep(values.data, [builder.add(skipped, column)])


def _after(builder, address, number):
    """The address so many elements on."""
    return builder.gep(address, [ir.Constant(_INT64, number) if isinstance(number, int) else number])


def _load(builder, kind, address):
    vector = builder.load(builder.bitcast(address, kind.as_pointer()))
    vector.align = 1
    return vector


def _shuffle(builder, pair, lanes):
    """Chosen lanes of two vectors, which are counted through."""
    return builder.shuffle_vector(*pair, ir.Constant(ir.VectorType(_INT32, len(lanes)), list(lanes)))


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
