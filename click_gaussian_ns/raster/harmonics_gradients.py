"""Gradients of `colors.colors_of`, for training the geometry on CPU."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit, prange

from click_gaussian_ns.raster.parallel_kernel import parallel_kernel
from click_gaussian_ns.splats.spherical_harmonics import _C1, _C2, _C2_0, _C3_0, _C3_1, _C3_2, _C3_3, SH_C0


@njit(inline="always")
@no_type_check
def _basis(degree, x, y, z, basis):
    basis[0] = SH_C0
    if degree >= 1:
        basis[1], basis[2], basis[3] = -_C1 * y, _C1 * z, -_C1 * x
    if degree >= 2:
        xx, yy, zz = x * x, y * y, z * z
        basis[4], basis[5], basis[6] = _C2 * x * y, -_C2 * y * z, _C2_0 * (2 * zz - xx - yy)
        basis[7], basis[8] = -_C2 * x * z, 0.5 * _C2 * (xx - yy)
        if degree >= 3:
            basis[9], basis[10] = -_C3_3 * y * (3 * xx - yy), _C3_2 * x * y * z
            basis[11], basis[12] = -_C3_1 * y * (4 * zz - xx - yy), _C3_0 * z * (2 * zz - 3 * xx - 3 * yy)
            basis[13], basis[14] = -_C3_1 * x * (4 * zz - xx - yy), 0.5 * _C3_2 * z * (xx - yy)
            basis[15] = -_C3_3 * x * (xx - 3 * yy)


@njit(inline="always")
@no_type_check
def _direction_gradient(degree, x, y, z, g):
    """Gradient along x, y, z of the sum of g[k] times basis function k, the functions taken as polynomials."""
    vx, vy, vz = -_C1 * g[3], -_C1 * g[1], _C1 * g[2]
    if degree >= 2:
        vx += _C2 * (y * g[4] - z * g[7] + x * g[8]) - 2 * _C2_0 * x * g[6]
        vy += _C2 * (x * g[4] - z * g[5] - y * g[8]) - 2 * _C2_0 * y * g[6]
        vz += 4 * _C2_0 * z * g[6] - _C2 * (y * g[5] + x * g[7])
    if degree >= 3:
        xx, yy, zz = x * x, y * y, z * z
        vx += -6 * _C3_3 * x * y * g[9] + _C3_2 * y * z * g[10] + 2 * _C3_1 * x * y * g[11]
        vx += -6 * _C3_0 * x * z * g[12] - _C3_1 * (4 * zz - 3 * xx - yy) * g[13]
        vx += _C3_2 * x * z * g[14] - 3 * _C3_3 * (xx - yy) * g[15]
        vy += -3 * _C3_3 * (xx - yy) * g[9] + _C3_2 * x * z * g[10] - _C3_1 * (4 * zz - xx - 3 * yy) * g[11]
        vy += -6 * _C3_0 * y * z * g[12] + 2 * _C3_1 * x * y * g[13] - _C3_2 * y * z * g[14]
        vy += 6 * _C3_3 * x * y * g[15]
        vz += _C3_2 * x * y * g[10] - 8 * _C3_1 * y * z * g[11] + _C3_0 * (6 * zz - 3 * xx - 3 * yy) * g[12]
        vz += -8 * _C3_1 * x * z * g[13] + 0.5 * _C3_2 * (xx - yy) * g[14]
    return vx, vy, vz


@parallel_kernel()
@no_type_check
def harmonics_gradients(means, sh, center, radii, degree, colors, grad_colors):
    """Gradients of sh [N, K, 3] and means [N, 3] from those of the colours."""
    num_bases = (degree + 1) ** 2
    grad_sh = np.zeros(sh.shape, np.float32)
    grad_means = np.zeros((means.shape[0], 3), np.float32)
    for i in prange(means.shape[0]):
        if radii[i] <= 0:
            continue
        basis, weights = np.empty(16, np.float64), np.zeros(16, np.float64)
        x, y, z = means[i, 0] - center[0], means[i, 1] - center[1], means[i, 2] - center[2]
        inv = 1.0 / max(np.sqrt(x * x + y * y + z * z), 1e-12)
        x, y, z = x * inv, y * inv, z * inv
        _basis(degree, x, y, z, basis)
        for c in range(3):
            grad = float(grad_colors[i, c])
            if not colors[i, c] > 0.0 or grad == 0.0:
                continue
            for k in range(num_bases):
                grad_sh[i, k, c] = basis[k] * grad
                weights[k] += sh[i, k, c] * grad
        if degree >= 1:
            vx, vy, vz = _direction_gradient(degree, x, y, z, weights)
            along = vx * x + vy * y + vz * z
            grad_means[i, 0] = (vx - x * along) * inv
            grad_means[i, 1] = (vy - y * along) * inv
            grad_means[i, 2] = (vz - z * along) * inv
    return grad_sh, grad_means
