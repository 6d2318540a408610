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
def products_above(typingctx, rows, row_offset, row_stride, columns, column_offset, dim, limits, limit_offset):
    """Of ROWS rows, as uint32: bit k says whether the inner product with column k of 32 exceeds the row's limit.

    Rows start at row_offset + r * row_stride, columns are a [dim, 32] tile at column_offset, limits [ROWS] follow each
    other.
    """
    signature = types.UniTuple(types.uint32, ROWS)(
        rows, types.intp, types.intp, columns, types.intp, types.intp, limits, types.intp
    )

    def codegen(context, builder, signature, args):
        words = []
        for r, row in enumerate(_products(context, builder, signature, args)):
            place = builder.add(args[7], args[7].type(r))
            limit = _splat(builder, builder.load(_pointer(context, builder, signature.args[6], args[6], place, None)))
            word = ir.Constant(_INT, 0)
            for half, products in enumerate(row):
                bits = builder.bitcast(builder.fcmp_ordered(">", products, limit), ir.IntType(16))
                word = builder.or_(word, builder.shl(builder.zext(bits, _INT), _INT(16 * half)))
            words.append(word)
        return context.make_tuple(builder, signature.return_type, words)

    return signature, codegen


def _row_sum(vectors):
    """An intrinsic that adds a row, made of these vectors, to another."""

    @intrinsic
    @no_type_check
    def add_row(typingctx, target, target_offset, source, source_offset):
        signature = types.void(target, types.intp, source, types.intp)

        def codegen(context, builder, signature, args):
            start = 0
            for vector in vectors:
                target, source = (
                    _pointer(context, builder, signature.args[k], args[k], builder.add(args[k + 1], at), vector)
                    for k, at in ((0, args[1].type(start)), (2, args[3].type(start)))
                )
                total = builder.fadd(builder.load(target, align=4), builder.load(source, align=4))
                builder.store(total, target, align=4)
                start += vector.count
            return context.get_dummy_value()

        return signature, codegen

    return add_row


add_row_16 = _row_sum([_WIDE])
"""target[target_offset : + 16] += source[source_offset : + 16]."""
add_row_24 = _row_sum([_WIDE, _NARROW])
"""target[target_offset : + 24] += source[source_offset : + 24]."""


@intrinsic
@no_type_check
def sum_scaled_24(typingctx, target, rows, row_ids, places, start, count, scales):
    """target [24] = the sum over `count` places p from `start` on of scales[p] times row row_ids[p] of rows [N, 24]."""
    signature = types.void(target, rows, row_ids, places, types.intp, types.intp, scales)

    def codegen(context, builder, signature, args):
        def item(k, offset):
            return builder.load(_pointer(context, builder, signature.args[k], args[k], offset, None))

        zero, count = args[5].type(0), args[5]
        vectors = (_WIDE, _NARROW)
        totals = [cgutils.alloca_once(builder, vector) for vector in vectors]
        for total, vector in zip(totals, vectors):
            builder.store(ir.Constant(vector, None), total)
        with cgutils.for_range(builder, count) as loop:
            place = builder.zext(item(3, builder.add(args[4], loop.index)), count.type)
            row = builder.mul(builder.zext(item(2, place), count.type), count.type(24))
            scale = _splat(builder, item(6, place))
            narrow = builder.shuffle_vector(scale, scale, ir.Constant(ir.VectorType(_INT, 8), None))
            for total, vector, factor, offset in zip(totals, vectors, (scale, narrow), (0, 16)):
                at = _pointer(
                    context, builder, signature.args[1], args[1], builder.add(row, count.type(offset)), vector
                )
                added = builder.fadd(builder.load(total), builder.fmul(factor, builder.load(at, align=4)))
                builder.store(added, total)
        for total, vector, offset in zip(totals, vectors, (0, 16)):
            at = _pointer(context, builder, signature.args[0], args[0], builder.add(zero, zero.type(offset)), vector)
            builder.store(builder.load(total), at, align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
@no_type_check
def count_bits(typingctx, word):
    """How many bits of a uint32 are 1."""

    def codegen(context, builder, _signature, args):
        return builder.zext(builder.ctpop(args[0]), ir.IntType(64))

    return types.intp(types.uint32), codegen
