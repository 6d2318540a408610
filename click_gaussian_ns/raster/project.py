"""3D Gaussians to 2D: projection, culling and the depth order of one view on CPU (gsplat 1.4.0's rules)."""

from __future__ import annotations

from typing import Literal, NamedTuple, no_type_check

import numpy as np
from numba import njit, prange

from click_gaussian_ns.raster.scalar_math import ALPHA_MIN, BLUR, FAR_PLANE, NEAR_PLANE

RasterizeMode = Literal["classic", "antialiased"]


class Projection(NamedTuple):
    """Every Gaussian in one view, in the order of the scene; radius_px 0 = culled. Float32 throughout."""

    means2d: np.ndarray
    """[N, 2] px."""
    conics: np.ndarray
    """[N, 3] inverse of the blurred 2D covariance: xx, xy, yy, px^-2."""
    opacities: np.ndarray
    """[N] after the antialiasing compensation, where it is on."""
    depths: np.ndarray
    """[N] along the camera's axis, world units."""
    radii_px: np.ndarray
    """[N] int32, gsplat's 3-sigma radius, which bounds the tiles that a Gaussian may touch."""
    extents_px: np.ndarray
    """[N, 2] half-size of the box outside which alpha is below 1/255."""


@njit(inline="always")
@no_type_check
def scaled_rotation(w, x, y, z, sx, sy, sz):
    """Rows of R diag(s), from a unit quaternion: the axes of a Gaussian as columns, one standard deviation long."""
    return (
        (1 - 2 * (y * y + z * z)) * sx,
        2 * (x * y - w * z) * sy,
        2 * (x * z + w * y) * sz,
        2 * (x * y + w * z) * sx,
        (1 - 2 * (x * x + z * z)) * sy,
        2 * (y * z - w * x) * sz,
        2 * (x * z - w * y) * sx,
        2 * (y * z + w * x) * sy,
        (1 - 2 * (x * x + y * y)) * sz,
    )


@njit(inline="always")
@no_type_check
def jacobian_rows(viewmat, jx, jy, clamped_x, clamped_y):
    """Both rows of J R: px per world unit; jx = fx / z, and gsplat's clamp of the direction x / z, y / z in J."""
    jxz, jyz = -jx * clamped_x, -jy * clamped_y
    return (
        jx * viewmat[0, 0] + jxz * viewmat[2, 0],
        jx * viewmat[0, 1] + jxz * viewmat[2, 1],
        jx * viewmat[0, 2] + jxz * viewmat[2, 2],
        jy * viewmat[1, 0] + jyz * viewmat[2, 0],
        jy * viewmat[1, 1] + jyz * viewmat[2, 1],
        jy * viewmat[1, 2] + jyz * viewmat[2, 2],
    )


@njit(inline="always")
@no_type_check
def flattened(a0, a1, a2, b0, b1, b2, m00, m01, m02, m10, m11, m12, m20, m21, m22):
    """2D covariance xx, xy, yy, px^2, of a Gaussian's scaled axes m through the rows a, b of J R."""
    p0, p1, p2 = (
        a0 * m00 + a1 * m10 + a2 * m20,
        a0 * m01 + a1 * m11 + a2 * m21,
        a0 * m02 + a1 * m12 + a2 * m22,
    )
    q0, q1, q2 = (
        b0 * m00 + b1 * m10 + b2 * m20,
        b0 * m01 + b1 * m11 + b2 * m21,
        b0 * m02 + b1 * m12 + b2 * m22,
    )
    return (
        p0 * p0 + p1 * p1 + p2 * p2,
        p0 * q0 + p1 * q1 + p2 * q2,
        q0 * q0 + q1 * q1 + q2 * q2,
    )


@njit(inline="always")
@no_type_check
def direction_limits(K, width, height):
    """Where gsplat clamps x / z and y / z in the Jacobian: the picture's edges and 0.3 of half the field of view."""
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    return (
        -(cx / fx + 0.15 * width / fx),
        (width - cx) / fx + 0.15 * width / fx,
        -(cy / fy + 0.15 * height / fy),
        (height - cy) / fy + 0.15 * height / fy,
    )


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def project(means, quats, log_scales, opacity_logits, viewmat, K, width, height, antialiased):
    """Arrays of `Projection` from float32 means [N,3], quats [N,4], log_scales [N,3], opacity_logits [N].

    Computed in float64 inside: a needle-thin Gaussian loses its determinant in float32.
    """
    num = means.shape[0]
    means2d = np.empty((num, 2), np.float32)
    conics = np.empty((num, 3), np.float32)
    opacities = np.empty(num, np.float32)
    depths = np.empty(num, np.float32)
    radii = np.zeros(num, np.int32)
    extents = np.zeros((num, 2), np.float32)
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    limit_x_low, limit_x_high, limit_y_low, limit_y_high = direction_limits(K, width, height)
    blur = float(BLUR)
    for i in prange(num):
        x, y, z = float(means[i, 0]), float(means[i, 1]), float(means[i, 2])
        tx = viewmat[0, 0] * x + viewmat[0, 1] * y + viewmat[0, 2] * z + viewmat[0, 3]
        ty = viewmat[1, 0] * x + viewmat[1, 1] * y + viewmat[1, 2] * z + viewmat[1, 3]
        tz = viewmat[2, 0] * x + viewmat[2, 1] * y + viewmat[2, 2] * z + viewmat[2, 3]
        depths[i] = tz
        if not (tz > NEAR_PLANE and tz < FAR_PLANE):
            continue
        opacity = 1.0 / (1.0 + np.exp(-float(opacity_logits[i])))
        if not opacity >= ALPHA_MIN:
            continue
        inv_z = 1.0 / tz
        u, v = fx * tx * inv_z + cx, fy * ty * inv_z + cy

        w, qx, qy, qz = float(quats[i, 0]), float(quats[i, 1]), float(quats[i, 2]), float(quats[i, 3])
        inv_norm = 1.0 / max(np.sqrt(w * w + qx * qx + qy * qy + qz * qz), 1e-12)
        w, qx, qy, qz = w * inv_norm, qx * inv_norm, qy * inv_norm, qz * inv_norm
        sx, sy, sz = (
            np.exp(float(log_scales[i, 0])),
            np.exp(float(log_scales[i, 1])),
            np.exp(float(log_scales[i, 2])),
        )
        m00, m01, m02, m10, m11, m12, m20, m21, m22 = scaled_rotation(w, qx, qy, qz, sx, sy, sz)
        clamped_x = min(max(tx * inv_z, limit_x_low), limit_x_high)
        clamped_y = min(max(ty * inv_z, limit_y_low), limit_y_high)
        a0, a1, a2, b0, b1, b2 = jacobian_rows(viewmat, fx * inv_z, fy * inv_z, clamped_x, clamped_y)
        cov_xx, cov_xy, cov_yy = flattened(a0, a1, a2, b0, b1, b2, m00, m01, m02, m10, m11, m12, m20, m21, m22)
        det_sharp = cov_xx * cov_yy - cov_xy * cov_xy
        cov_xx += blur
        cov_yy += blur
        det = cov_xx * cov_yy - cov_xy * cov_xy
        if not det > 0.0:
            continue
        if antialiased:
            opacity *= np.sqrt(max(det_sharp / det, 0.0))
            if not opacity >= ALPHA_MIN:
                continue
        middle = 0.5 * (cov_xx + cov_yy)
        radius = np.ceil(3.0 * np.sqrt(middle + np.sqrt(max(middle * middle - det, 0.01))))
        if u + radius <= 0 or u - radius >= width or v + radius <= 0 or v - radius >= height:
            continue
        inv_det = 1.0 / det
        means2d[i, 0], means2d[i, 1] = u, v
        conics[i, 0], conics[i, 1], conics[i, 2] = cov_yy * inv_det, -cov_xy * inv_det, cov_xx * inv_det
        opacities[i] = opacity
        radii[i] = min(radius, 1e9)
        # 1e-3 keeps the box conservative against rounding: alpha itself decides inside it
        reach = np.sqrt(2.0 * np.log(opacity / float(ALPHA_MIN)) + 1e-3)
        extents[i, 0] = reach * np.sqrt(cov_xx) + 1e-2
        extents[i, 1] = reach * np.sqrt(cov_yy) + 1e-2
    return means2d, conics, opacities, depths, radii, extents


@njit(cache=True, nogil=True)
@no_type_check
def depth_order(depths, radii):
    """IDs of the Gaussians that are not culled, front to back, ties in scene order: a stable radix sort, O(N)."""
    num_visible = 0
    for i in range(radii.shape[0]):
        num_visible += radii[i] > 0
    ids = np.empty(num_visible, np.int32)
    keys = np.empty(num_visible, np.uint32)
    bits = depths.view(np.uint32)  # the bits of positive floats order as the floats do
    histogram = np.zeros((3, 2048), np.int64)
    k = 0
    for i in range(radii.shape[0]):
        if radii[i] > 0:
            key = bits[i]
            ids[k], keys[k] = i, key
            histogram[0, key & 2047] += 1
            histogram[1, (key >> 11) & 2047] += 1
            histogram[2, key >> 22] += 1
            k += 1
    other_ids, other_keys = np.empty_like(ids), np.empty_like(keys)
    for digit in range(3):
        start = 0
        for b in range(2048):
            count = histogram[digit, b]
            histogram[digit, b] = start
            start += count
        shift = np.uint32(11 * digit)
        for j in range(num_visible):
            b = (keys[j] >> shift) & np.uint32(2047)
            place = histogram[digit, b]
            histogram[digit, b] = place + 1
            other_ids[place], other_keys[place] = ids[j], keys[j]
        ids, other_ids = other_ids, ids
        keys, other_keys = other_keys, keys
    return ids
