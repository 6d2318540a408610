"""Float32 building blocks of the CPU kernels.

Every kernel that evaluates an alpha does it through `gaussian_alpha`, with explicit fused multiply-adds and no
fast-math flags, so that a dense render and the sparse weights of the same pixel agree to the last bit: otherwise
Gaussians near the alpha cut would appear in the one and not in the other.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from click_gaussian_ns.raster.kernel_cache import use_kernel_cache

use_kernel_cache()

ALPHA_MAX = np.float32(0.999)
ALPHA_MIN = np.float32(1.0 / 255.0)
TRANSMITTANCE_MIN = np.float32(1e-4)
BLUR = np.float32(0.3)
"""Added to the diagonal of every 2D covariance, square pixels (gsplat's eps2d)."""
TILE = 16
NEAR_PLANE = np.float32(0.01)
FAR_PLANE = np.float32(1e10)

_LOG2_E = np.float32(1.4426950408889634)
_ROUND_MAGIC = np.float32(12582912.0)  # 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits
_EXP2_MIN = np.float32(-126.0)
_C0 = np.float32(1.0)
_C1 = np.float32(0.6931471805599453)
_C2 = np.float32(0.2402265069591007)
_C3 = np.float32(0.05550410866482158)
_C4 = np.float32(0.009618129107628477)
_C5 = np.float32(0.0013333558146428443)
_C6 = np.float32(0.00015403530393381608)
_HALF = np.float32(0.5)
_ZERO = np.float32(0.0)


@intrinsic
@no_type_check
def fma(typingctx, a, b, c):
    """a * b + c with one rounding, all float32."""
    signature = types.float32(types.float32, types.float32, types.float32)

    def codegen(context, builder, _signature, args):
        return builder.fma(*args)

    return signature, codegen


@intrinsic
@no_type_check
def _float_bits(typingctx, value):
    def codegen(context, builder, _signature, args):
        return builder.bitcast(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@intrinsic
@no_type_check
def count_if(typingctx, total, condition):
    """total + 1 where the condition holds; int32 throughout (numba's own sum would widen the loop to int64)."""

    def codegen(context, builder, _signature, args):
        return builder.add(args[0], builder.zext(args[1], ir.IntType(32)))

    return types.int32(types.int32, types.boolean), codegen


@intrinsic
@no_type_check
def add_any_order(typingctx, total, value):
    """total + value, float32, for sums whose terms the compiler may reorder: without it a sum does not vectorise.

    The order is fixed when the code is compiled, so that a sum is the same in every call.
    """
    signature = types.float32(types.float32, types.float32)

    def codegen(context, builder, _signature, args):
        return builder.fadd(*args, flags=("reassoc", "nsz", "contract"))

    return signature, codegen


@intrinsic
@no_type_check
def prefetch(typingctx, array, offset):
    """Ask for the cache line of array[offset], a contiguous array, for what comes later; changes nothing else."""
    signature = types.void(array, types.intp)

    def codegen(context, builder, signature, args):
        integer, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, integer, integer, integer])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        for_reading, keep, into_data_cache = integer(0), integer(3), integer(1)
        place = builder.bitcast(builder.gep(data, [args[1]]), pointer)
        builder.call(fetch, [place, for_reading, keep, into_data_cache])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
@no_type_check
def lowest_bit(typingctx, word):
    """Place of the lowest bit of a uint32 that is not 0."""

    def codegen(context, builder, _signature, args):
        return builder.zext(builder.cttz(args[0], ir.Constant(ir.IntType(1), 1)), ir.IntType(64))

    return types.intp(types.uint32), codegen


@intrinsic
@no_type_check
def positive_bits(typingctx, values, offset):
    """Which of the 32 float32 from values[offset] on, a contiguous array, are above 0, as the bits of a uint32."""
    signature = types.uint32(values, types.intp)

    def codegen(context, builder, signature, args):
        lanes = ir.VectorType(ir.FloatType(), 32)
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        loaded = builder.load(builder.bitcast(builder.gep(data, [args[1]]), lanes.as_pointer()), align=4)
        return builder.bitcast(builder.fcmp_ordered(">", loaded, ir.Constant(lanes, None)), ir.IntType(32))

    return signature, codegen


@intrinsic
@no_type_check
def _exponent_scale(typingctx, bits):
    """2^k as float32, where k is the integer in the low mantissa bits of a magic-rounded float."""

    def codegen(context, builder, _signature, args):
        shifted = builder.shl(args[0], ir.Constant(ir.IntType(32), 23))
        biased = builder.add(shifted, ir.Constant(ir.IntType(32), 0x3F800000))
        return builder.bitcast(biased, ir.FloatType())

    return types.float32(types.int32), codegen


@njit(inline="always")
@no_type_check
def exp_neg(sigma):
    """exp(-sigma) for float32 sigma >= 0, never below 2^-126.

    Relative error below 5e-7 where an alpha can pass the 1/255 cut (sigma < 5.6), 5e-6 anywhere; absolute below 2e-7.
    """
    x = -sigma * _LOG2_E
    x = x if x > _EXP2_MIN else _EXP2_MIN
    rounded = x + _ROUND_MAGIC
    f = x - (rounded - _ROUND_MAGIC)
    p = fma(_C6, f, _C5)
    p = fma(p, f, _C4)
    p = fma(p, f, _C3)
    p = fma(p, f, _C2)
    p = fma(p, f, _C1)
    p = fma(p, f, _C0)
    return p * _exponent_scale(_float_bits(rounded))


@njit(inline="always")
@no_type_check
def gaussian_alpha(dx, dy, conic_a, conic_b, conic_c, opacity):
    """Opacity of a projected Gaussian at offset (dx, dy) px from its centre; 0 below the 1/255 cut."""
    sigma = fma(_HALF * fma(conic_a, dx, (conic_b + conic_b) * dy), dx, _HALF * conic_c * dy * dy)
    alpha = opacity * exp_neg(sigma if sigma > _ZERO else _ZERO)
    alpha = alpha if alpha < ALPHA_MAX else ALPHA_MAX
    return alpha if (alpha >= ALPHA_MIN) and (sigma >= _ZERO) else _ZERO
