"""Small products that stay in vector registers: 4 rows times 32 columns at once, and sums of rows.

Written in LLVM's vector types, as a loop in Python would keep its partial sums in memory: the bound is then stores, not
arithmetic. Any CPU runs them: LLVM splits the vectors of 16 where registers are shorter. Arrays are contiguous float32
and offsets count elements; nothing checks bounds.
"""

from __future__ import annotations

from typing import no_type_check

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

ROWS, COLUMNS = 4, 32
_WIDE, _NARROW = ir.VectorType(ir.FloatType(), 16), ir.VectorType(ir.FloatType(), 8)
_HALVES = COLUMNS // 16
_INT = ir.IntType(32)


@no_type_check
def _pointer(context, builder, array_type, array, offset, vector):
    data = context.make_array(array_type)(context, builder, array).data
    place = builder.gep(data, [offset])
    return builder.bitcast(place, vector.as_pointer()) if vector is not None else place


@no_type_check
def _splat(builder, value):
    first = builder.insert_element(ir.Constant(_WIDE, ir.Undefined), value, _INT(0))
    return builder.shuffle_vector(first, ir.Constant(_WIDE, ir.Undefined), ir.Constant(ir.VectorType(_INT, 16), None))


@no_type_check
def _products(context, builder, signature, args):
    """The 4 x 2 vectors of 16 inner products of the first six arguments of the intrinsics below."""
    rows, row_offset, row_stride, columns, column_offset, dim = args[:6]
    fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_WIDE, [_WIDE] * 3), "llvm.fma.v16f32")
    totals = [[cgutils.alloca_once(builder, _WIDE) for _ in range(_HALVES)] for _ in range(ROWS)]
    for row in totals:
        for total in row:
            builder.store(ir.Constant(_WIDE, None), total)
    with cgutils.for_range(builder, dim) as loop:
        start = builder.add(column_offset, builder.mul(loop.index, ir.Constant(loop.index.type, COLUMNS)))
        tile = [
            builder.load(
                _pointer(
                    context, builder, signature.args[3], columns, builder.add(start, start.type(16 * half)), _WIDE
                ),
                align=4,
            )
            for half in range(_HALVES)
        ]
        for r in range(ROWS):
            place = builder.add(row_offset, builder.add(builder.mul(row_stride, row_stride.type(r)), loop.index))
            value = builder.load(_pointer(context, builder, signature.args[0], rows, place, None))
            wide = _splat(builder, value)
            for half in range(_HALVES):
                builder.store(builder.call(fma, [wide, tile[half], builder.load(totals[r][half])]), totals[r][half])
    return [[builder.load(total) for total in row] for row in totals]


@intrinsic
@no_type_check
def products_above(typingctx, rows, row_offset, row_stride, columns, column_offset, dim, margin):
    """Of 4 rows, as uint32: bit k says whether the inner product with column k of 32 exceeds `margin`.

    Rows start at row_offset + r * row_stride, columns are a [dim, 32] tile at column_offset.
    """
    signature = types.UniTuple(types.uint32, ROWS)(
        rows, types.intp, types.intp, columns, types.intp, types.intp, types.float32
    )

    def codegen(context, builder, signature, args):
        limit = _splat(builder, args[6])
        words = []
        for row in _products(context, builder, signature, args):
            word = ir.Constant(_INT, 0)
            for half, products in enumerate(row):
                bits = builder.bitcast(builder.fcmp_ordered(">", products, limit), ir.IntType(16))
                word = builder.or_(word, builder.shl(builder.zext(bits, _INT), _INT(16 * half)))
            words.append(word)
        return context.make_tuple(builder, signature.return_type, words)

    return signature, codegen


@intrinsic
@no_type_check
def store_products(typingctx, rows, row_offset, row_stride, columns, column_offset, dim, out, out_offset, out_stride):
    """Inner products of 4 rows with 32 columns, written to out_offset + r * out_stride; the largest of each row."""
    signature = types.UniTuple(types.float32, ROWS)(
        rows, types.intp, types.intp, columns, types.intp, types.intp, out, types.intp, types.intp
    )

    def codegen(context, builder, signature, args):
        out, out_offset, out_stride = args[6:]
        maximum = ir.FunctionType(_WIDE, [_WIDE] * 2), "llvm.maxnum.v16f32"
        largest_of = ir.FunctionType(ir.FloatType(), [_WIDE]), "llvm.vector.reduce.fmax.v16f32"
        maximum, largest_of = (cgutils.get_or_insert_function(builder.module, *f) for f in (maximum, largest_of))
        largest = []
        for r, row in enumerate(_products(context, builder, signature, args)):
            start = builder.add(out_offset, builder.mul(out_stride, out_stride.type(r)))
            for half, products in enumerate(row):
                place = builder.add(start, start.type(16 * half))
                builder.store(products, _pointer(context, builder, signature.args[6], out, place, _WIDE), align=4)
            largest.append(builder.call(largest_of, [builder.call(maximum, row)]))
        return context.make_tuple(builder, signature.return_type, largest)

    return signature, codegen


@intrinsic
@no_type_check
def add_eight(typingctx, target, target_offset, source, source_offset):
    """target[target_offset : + 8] += source[source_offset : + 8]."""
    signature = types.void(target, types.intp, source, types.intp)

    def codegen(context, builder, signature, args):
        target = _pointer(context, builder, signature.args[0], args[0], args[1], _NARROW)
        source = _pointer(context, builder, signature.args[2], args[2], args[3], _NARROW)
        builder.store(builder.fadd(builder.load(target, align=4), builder.load(source, align=4)), target, align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
@no_type_check
def lowest_bit(typingctx, word):
    """Place of the lowest bit of a uint32 that is not 0."""

    def codegen(context, builder, _signature, args):
        return builder.zext(builder.cttz(args[0], ir.Constant(ir.IntType(1), 1)), ir.IntType(64))

    return types.intp(types.uint32), codegen
