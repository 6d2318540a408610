"""View-dependent colours of the Gaussians that a view shows, on CPU: `eval_sh` of chosen rows, in one pass."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import prange

from click_gaussian_ns.raster.cpu import AHEAD
from click_gaussian_ns.raster.parallel_kernel import parallel_kernel
from click_gaussian_ns.raster.scalar_math import prefetch
from click_gaussian_ns.splats import spherical_harmonics

_LINE = 16
"""Floats in a cache line."""
_C0 = np.float32(spherical_harmonics.SH_C0)
_C1 = np.float32(spherical_harmonics._C1)
_C2 = np.float32(spherical_harmonics._C2)
_C2_0 = np.float32(spherical_harmonics._C2_0)
_C3_3 = np.float32(spherical_harmonics._C3_3)
_C3_2 = np.float32(spherical_harmonics._C3_2)
_C3_1 = np.float32(spherical_harmonics._C3_1)
_C3_0 = np.float32(spherical_harmonics._C3_0)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_TWO, _THREE, _FOUR = np.float32(2.0), np.float32(3.0), np.float32(4.0)


@parallel_kernel()
@no_type_check
def colors_of(sh, means, center, ids):
    """RGB [N, 3] clamped below at 0 of the Gaussians `ids` seen from `center`, 0 for all others.

    sh [N, K, 3], means [N, 3], center [3], all float32, K in {1, 4, 9, 16}; the basis is that of `sh_basis`.
    """
    num_coefficients = sh.shape[1]
    colors = np.zeros((means.shape[0], 3), np.float32)
    flat, row = sh.reshape(-1), np.intp(num_coefficients * 3)
    for k in prange(ids.shape[0]):
        i, ahead = ids[k], np.intp(ids[min(k + AHEAD, ids.shape[0] - 1)])
        for line in range(0, row, _LINE):
            prefetch(flat, ahead * row + line)
        x, y, z = means[i, 0] - center[0], means[i, 1] - center[1], means[i, 2] - center[2]
        length = np.sqrt(x * x + y * y + z * z)
        inverse = _ONE / length if length > _ZERO else _ZERO
        x, y, z = x * inverse, y * inverse, z * inverse
        xx, yy, zz = x * x, y * y, z * z
        for c in range(3):
            value = _HALF + _C0 * sh[i, 0, c]
            if num_coefficients > 1:
                value += _C1 * (z * sh[i, 2, c] - y * sh[i, 1, c] - x * sh[i, 3, c])
            if num_coefficients > 4:
                value += _C2 * (x * y * sh[i, 4, c] - y * z * sh[i, 5, c] - x * z * sh[i, 7, c])
                value += _C2_0 * (_TWO * zz - xx - yy) * sh[i, 6, c] + _HALF * _C2 * (xx - yy) * sh[i, 8, c]
            if num_coefficients > 9:
                value -= _C3_3 * (y * (_THREE * xx - yy) * sh[i, 9, c] + x * (xx - _THREE * yy) * sh[i, 15, c])
                value += _C3_2 * (x * y * z * sh[i, 10, c] + _HALF * z * (xx - yy) * sh[i, 14, c])
                value -= _C3_1 * (_FOUR * zz - xx - yy) * (y * sh[i, 11, c] + x * sh[i, 13, c])
                value += _C3_0 * z * (_TWO * zz - _THREE * xx - _THREE * yy) * sh[i, 12, c]
            colors[i, c] = value if value > _ZERO else _ZERO
    return colors
