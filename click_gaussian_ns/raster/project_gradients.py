"""Projection for training the geometry on CPU, and its gradients: gsplat 1.4.0's rules, scales and opacities activated.

Float64 inside, as `project.project`. The clamp of the Jacobian's direction passes no gradient outside its range, as
torch.clamp does it.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import prange

from click_gaussian_ns.raster.parallel_kernel import parallel_kernel
from click_gaussian_ns.raster.project import (
    direction_limits,
    footprint,
    in_camera,
    jacobian_rows,
    misses_picture,
    scaled_rotation,
)
from click_gaussian_ns.raster.scalar_math import ALPHA_MIN


@parallel_kernel()
@no_type_check
def project_geometry(means, quats, scales, viewmat, K, width, height, eps2d, near, far, radius_clip):
    """Of float32 means [N, 3], quats [N, 4], scales [N, 3]; viewmat and K float64; what is culled has radius 0.

    Returns radii [N] int32, means2d [N, 2], depths [N], conics [N, 3], compensations [N] (of the blur, for
    antialiasing), and the standard deviations in px along x and y [N, 2].
    """
    num = means.shape[0]
    radii = np.zeros(num, np.int32)
    means2d = np.zeros((num, 2), np.float32)
    depths = np.zeros(num, np.float32)
    conics = np.zeros((num, 3), np.float32)
    compensations = np.zeros(num, np.float32)
    deviations = np.zeros((num, 2), np.float32)
    limits = direction_limits(K, width, height)
    for i in prange(num):
        x, y, z = float(means[i, 0]), float(means[i, 1]), float(means[i, 2])
        tx, ty, tz = in_camera(viewmat, x, y, z)
        if not (tz > near and tz < far):
            continue
        w, qx, qy, qz = float(quats[i, 0]), float(quats[i, 1]), float(quats[i, 2]), float(quats[i, 3])
        sx, sy, sz = float(scales[i, 0]), float(scales[i, 1]), float(scales[i, 2])
        u, v, xx, xy, yy, det, det_sharp, radius = footprint(
            viewmat, K, limits, eps2d, tx, ty, tz, w, qx, qy, qz, sx, sy, sz
        )
        if not det > 0.0:
            continue
        if radius <= radius_clip or misses_picture(u, v, radius, width, height):
            continue
        radii[i] = min(radius, 1e9)
        means2d[i, 0], means2d[i, 1], depths[i] = u, v, tz
        conics[i, 0], conics[i, 1], conics[i, 2] = yy / det, -xy / det, xx / det
        compensations[i] = np.sqrt(max(det_sharp / det, 0.0))
        deviations[i, 0], deviations[i, 1] = np.sqrt(xx), np.sqrt(yy)
    return radii, means2d, depths, conics, compensations, deviations


@parallel_kernel()
@no_type_check
def project_geometry_gradients(
    means, quats, scales, viewmat, K, width, height, eps2d, radii, grad_means2d, grad_depths, grad_conics, grad_comps
):
    """Gradients of means, quats and scales from those of means2d, depths, conics and compensations; 0 where culled."""
    num = means.shape[0]
    grad_means = np.zeros((num, 3), np.float32)
    grad_quats = np.zeros((num, 4), np.float32)
    grad_scales = np.zeros((num, 3), np.float32)
    fx, fy = K[0, 0], K[1, 1]
    low_x, high_x, low_y, high_y = direction_limits(K, width, height)
    for i in prange(num):
        if radii[i] <= 0:
            continue
        x, y, z = float(means[i, 0]), float(means[i, 1]), float(means[i, 2])
        tx, ty, tz = in_camera(viewmat, x, y, z)
        inv_z = 1.0 / tz
        w, qx, qy, qz = float(quats[i, 0]), float(quats[i, 1]), float(quats[i, 2]), float(quats[i, 3])
        inv_norm = 1.0 / max(np.sqrt(w * w + qx * qx + qy * qy + qz * qz), 1e-12)
        w, qx, qy, qz = w * inv_norm, qx * inv_norm, qy * inv_norm, qz * inv_norm
        r00, r01, r02, r10, r11, r12, r20, r21, r22 = scaled_rotation(w, qx, qy, qz, 1.0, 1.0, 1.0)
        s0, s1, s2 = float(scales[i, 0]), float(scales[i, 1]), float(scales[i, 2])
        ratio_x, ratio_y = tx * inv_z, ty * inv_z
        clamped_x, clamped_y = min(max(ratio_x, low_x), high_x), min(max(ratio_y, low_y), high_y)
        jx, jy = fx * inv_z, fy * inv_z
        a0, a1, a2, b0, b1, b2 = jacobian_rows(viewmat, jx, jy, clamped_x, clamped_y)
        # rows of J R times the unrotated axes, before (e, f) and after (p, q) scaling
        e0, e1, e2 = a0 * r00 + a1 * r10 + a2 * r20, a0 * r01 + a1 * r11 + a2 * r21, a0 * r02 + a1 * r12 + a2 * r22
        f0, f1, f2 = b0 * r00 + b1 * r10 + b2 * r20, b0 * r01 + b1 * r11 + b2 * r21, b0 * r02 + b1 * r12 + b2 * r22
        p0, p1, p2, q0, q1, q2 = e0 * s0, e1 * s1, e2 * s2, f0 * s0, f1 * s1, f2 * s2
        xx, xy, yy = p0 * p0 + p1 * p1 + p2 * p2, p0 * q0 + p1 * q1 + p2 * q2, q0 * q0 + q1 * q1 + q2 * q2
        det_sharp = xx * yy - xy * xy
        bxx, byy = xx + eps2d, yy + eps2d
        det = bxx * byy - xy * xy
        ca, cb, cc = byy / det, -xy / det, bxx / det

        # inverse of a symmetric 2 x 2 matrix: dL/dC = -X G X
        g00, g01, g11 = float(grad_conics[i, 0]), 0.5 * float(grad_conics[i, 1]), float(grad_conics[i, 2])
        h00, h01 = g00 * ca + g01 * cb, g00 * cb + g01 * cc
        h10, h11 = g01 * ca + g11 * cb, g01 * cb + g11 * cc
        v_xx, v_yy = -(ca * h00 + cb * h10), -(cb * h01 + cc * h11)
        v_xy = -((ca * h01 + cb * h11) + (cb * h00 + cc * h10))
        ratio = det_sharp / det
        if grad_comps[i] != 0.0 and ratio > 0.0:
            scale = 0.5 * float(grad_comps[i]) / (np.sqrt(ratio) * det)
            v_xx += scale * (yy - ratio * byy)
            v_yy += scale * (xx - ratio * bxx)
            v_xy += scale * (2.0 * ratio * xy - 2.0 * xy)

        vp0, vp1, vp2 = 2 * v_xx * p0 + v_xy * q0, 2 * v_xx * p1 + v_xy * q1, 2 * v_xx * p2 + v_xy * q2
        vq0, vq1, vq2 = 2 * v_yy * q0 + v_xy * p0, 2 * v_yy * q1 + v_xy * p1, 2 * v_yy * q2 + v_xy * p2
        grad_scales[i, 0], grad_scales[i, 1], grad_scales[i, 2] = (
            vp0 * e0 + vq0 * f0,
            vp1 * e1 + vq1 * f1,
            vp2 * e2 + vq2 * f2,
        )
        ve0, ve1, ve2, vf0, vf1, vf2 = vp0 * s0, vp1 * s1, vp2 * s2, vq0 * s0, vq1 * s1, vq2 * s2
        g_00, g_01, g_02 = a0 * ve0 + b0 * vf0, a0 * ve1 + b0 * vf1, a0 * ve2 + b0 * vf2
        g_10, g_11, g_12 = a1 * ve0 + b1 * vf0, a1 * ve1 + b1 * vf1, a1 * ve2 + b1 * vf2
        g_20, g_21, g_22 = a2 * ve0 + b2 * vf0, a2 * ve1 + b2 * vf1, a2 * ve2 + b2 * vf2
        v_w = 2 * (qx * (g_21 - g_12) + qy * (g_02 - g_20) + qz * (g_10 - g_01))
        v_x = 2 * (w * (g_21 - g_12) + qy * (g_01 + g_10) + qz * (g_02 + g_20) - 2 * qx * (g_11 + g_22))
        v_y = 2 * (w * (g_02 - g_20) + qx * (g_01 + g_10) + qz * (g_12 + g_21) - 2 * qy * (g_00 + g_22))
        v_z = 2 * (w * (g_10 - g_01) + qx * (g_02 + g_20) + qy * (g_12 + g_21) - 2 * qz * (g_00 + g_11))
        along = w * v_w + qx * v_x + qy * v_y + qz * v_z
        grad_quats[i, 0], grad_quats[i, 1], grad_quats[i, 2], grad_quats[i, 3] = (
            (v_w - w * along) * inv_norm,
            (v_x - qx * along) * inv_norm,
            (v_y - qy * along) * inv_norm,
            (v_z - qz * along) * inv_norm,
        )

        va0, va1 = r00 * ve0 + r01 * ve1 + r02 * ve2, r10 * ve0 + r11 * ve1 + r12 * ve2
        va2 = r20 * ve0 + r21 * ve1 + r22 * ve2
        vb0, vb1 = r00 * vf0 + r01 * vf1 + r02 * vf2, r10 * vf0 + r11 * vf1 + r12 * vf2
        vb2 = r20 * vf0 + r21 * vf1 + r22 * vf2
        v_jx = va0 * viewmat[0, 0] + va1 * viewmat[0, 1] + va2 * viewmat[0, 2]
        v_jxz = va0 * viewmat[2, 0] + va1 * viewmat[2, 1] + va2 * viewmat[2, 2]
        v_jy = vb0 * viewmat[1, 0] + vb1 * viewmat[1, 1] + vb2 * viewmat[1, 2]
        v_jyz = vb0 * viewmat[2, 0] + vb1 * viewmat[2, 1] + vb2 * viewmat[2, 2]
        v_u, v_v = float(grad_means2d[i, 0]), float(grad_means2d[i, 1])
        v_tx, v_ty = v_u * jx, v_v * jy
        v_tz = -(v_u * jx * ratio_x + v_v * jy * ratio_y) + float(grad_depths[i])
        # jx = fx / z and jxz = -fx clamp(x / z) / z
        v_tz -= (v_jx * jx - v_jxz * jx * clamped_x + v_jy * jy - v_jyz * jy * clamped_y) * inv_z
        if ratio_x >= low_x and ratio_x <= high_x:
            v_tx -= v_jxz * jx * inv_z
            v_tz += v_jxz * jx * ratio_x * inv_z
        if ratio_y >= low_y and ratio_y <= high_y:
            v_ty -= v_jyz * jy * inv_z
            v_tz += v_jyz * jy * ratio_y * inv_z
        for k in range(3):
            grad_means[i, k] = viewmat[0, k] * v_tx + viewmat[1, k] * v_ty + viewmat[2, k] * v_tz
    return grad_means, grad_quats, grad_scales


@parallel_kernel()
@no_type_check
def visible_extents(radii, deviations, opacities):
    """Radii, 0 where opacity is below 1/255, and half-sizes [N, 2] px of the boxes in which alpha can reach it."""
    num = radii.shape[0]
    seen = np.zeros(num, np.int32)
    extents = np.zeros((num, 2), np.float32)
    for i in prange(num):
        opacity = float(opacities[i])
        if radii[i] <= 0 or not opacity >= ALPHA_MIN:
            continue
        # 1e-3 keeps the box conservative against rounding: alpha itself decides inside it
        reach = np.sqrt(2.0 * np.log(opacity / float(ALPHA_MIN)) + 1e-3)
        seen[i] = radii[i]
        extents[i, 0] = reach * float(deviations[i, 0]) + 1e-2
        extents[i, 1] = reach * float(deviations[i, 1]) + 1e-2
    return seen, extents
