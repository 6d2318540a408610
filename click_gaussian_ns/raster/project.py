"""3D Gaussians to 2D: projection, culling and the depth order of one view on CPU (gsplat 1.4.0's rules)."""

from __future__ import annotations

from typing import Literal, NamedTuple, no_type_check

import numpy as np
from numba import njit, prange

from click_gaussian_ns.raster.cpu import PACKED_FIELDS, tile_box
from click_gaussian_ns.raster.parallel_kernel import parallel_kernel
from click_gaussian_ns.raster.scalar_math import ALPHA_MIN, BLUR, FAR_PLANE, NEAR_PLANE, TILE, prefetch

RasterizeMode = Literal["classic", "antialiased"]


class Projection(NamedTuple):
    """Gaussians in one view, in the order in which they were asked for; radius 0 = culled."""

    packed: np.ndarray
    """[M, 8] float32, see raster.cpu.PACKED_FIELDS; conics are inverses of the blurred 2D covariance, opacities are
    after the antialiasing compensation, where it is on. Nothing of use where a Gaussian is culled."""
    depths: np.ndarray
    """[M] float32, along the camera's axis, world units."""
    radii_px: np.ndarray
    """[M] int32, gsplat's 3-sigma radius, which bounds the tiles that a Gaussian may touch."""
    boxes: np.ndarray
    """[M, 4] int16 of raster.cpu.tile_box."""


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


@njit(inline="always")
@no_type_check
def in_camera(viewmat, x, y, z):
    """A point in the camera's frame."""
    return (
        viewmat[0, 0] * x + viewmat[0, 1] * y + viewmat[0, 2] * z + viewmat[0, 3],
        viewmat[1, 0] * x + viewmat[1, 1] * y + viewmat[1, 2] * z + viewmat[1, 3],
        viewmat[2, 0] * x + viewmat[2, 1] * y + viewmat[2, 2] * z + viewmat[2, 3],
    )


@njit(inline="always")
@no_type_check
def footprint(viewmat, K, limits, blur, tx, ty, tz, w, qx, qy, qz, sx, sy, sz):
    """What a Gaussian at (tx, ty, tz) in the camera's frame covers, in float64.

    Args: K; limits of `direction_limits`; blur px^2; a quaternion of any length, and standard deviations.

    Returns the centre u, v in px; the blurred covariance xx, xy, yy; its determinant, which is not positive where
    nothing can be drawn; the one before the blur; and the 3-sigma radius in px.
    """
    limit_x_low, limit_x_high, limit_y_low, limit_y_high = limits
    inv_z = 1.0 / tz
    inv_norm = 1.0 / max(np.sqrt(w * w + qx * qx + qy * qy + qz * qz), 1e-12)
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = scaled_rotation(
        w * inv_norm, qx * inv_norm, qy * inv_norm, qz * inv_norm, sx, sy, sz
    )
    clamped_x = min(max(tx * inv_z, limit_x_low), limit_x_high)
    clamped_y = min(max(ty * inv_z, limit_y_low), limit_y_high)
    a0, a1, a2, b0, b1, b2 = jacobian_rows(viewmat, K[0, 0] * inv_z, K[1, 1] * inv_z, clamped_x, clamped_y)
    cov_xx, cov_xy, cov_yy = flattened(a0, a1, a2, b0, b1, b2, m00, m01, m02, m10, m11, m12, m20, m21, m22)
    det_sharp = cov_xx * cov_yy - cov_xy * cov_xy
    cov_xx += blur
    cov_yy += blur
    det = cov_xx * cov_yy - cov_xy * cov_xy
    middle = 0.5 * (cov_xx + cov_yy)
    radius = np.ceil(3.0 * np.sqrt(middle + np.sqrt(max(middle * middle - det, 0.01))))
    u, v = K[0, 0] * tx * inv_z + K[0, 2], K[1, 1] * ty * inv_z + K[1, 2]
    return u, v, cov_xx, cov_xy, cov_yy, det, det_sharp, radius


@njit(inline="always")
@no_type_check
def misses_picture(u, v, radius, width, height):
    """Whether a circle lies outside the picture."""
    return u + radius <= 0 or u - radius >= width or v + radius <= 0 or v - radius >= height


_FROZEN_FIELDS = 16
"""Centre 3, quaternion 4, scales 3, opacity, reach, and room to fill a cache line."""
_AHEAD = 12
"""Gaussians between one that is projected and the one whose parameters are asked for."""


@njit(inline="always")
@no_type_check
def _reach(opacity):
    """How many standard deviations away alpha falls to 1/255; a little farther, to be safe from rounding."""
    return np.sqrt(max(2.0 * np.log(opacity / float(ALPHA_MIN)) + 1e-3, 0.0))


@parallel_kernel()
@no_type_check
def freeze(means, quats, log_scales, opacity_logits):
    """[N, 16] float32: what every view's projection needs of each Gaussian, in one place and without exponentials.

    Rounding scales to float32 changes a Gaussian by 1e-7 of its size; rounding its axes would turn needles by more.
    """
    frozen = np.empty((means.shape[0], _FROZEN_FIELDS), np.float32)
    for i in prange(means.shape[0]):
        for k in range(3):
            frozen[i, k], frozen[i, 7 + k] = means[i, k], np.exp(float(log_scales[i, k]))
        for k in range(4):
            frozen[i, 3 + k] = quats[i, k]
        opacity = 1.0 / (1.0 + np.exp(-float(opacity_logits[i])))
        frozen[i, 10], frozen[i, 11] = opacity, _reach(opacity)
    return frozen


@parallel_kernel()
@no_type_check
def project(ids, frozen, viewmat, K, width, height, antialiased):
    """Arrays of `Projection` of the Gaussians `ids` [M] int32, or of all if that is empty; frozen: of `freeze`.

    Computed in float64 inside: a needle-thin Gaussian loses its determinant in float32.
    """
    has_ids = ids.shape[0] > 0
    num = ids.shape[0] if has_ids else frozen.shape[0]
    flat = frozen.reshape(-1)
    packed = np.empty((num, PACKED_FIELDS), np.float32)
    depths = np.empty(num, np.float32)
    radii = np.zeros(num, np.int32)
    boxes = np.empty((num, 4), np.int16)
    limits = direction_limits(K, width, height)
    tiles_x, tiles_y = (width + TILE - 1) // TILE, (height + TILE - 1) // TILE
    blur = float(BLUR)
    for j in prange(num):
        i = np.intp(j)
        if has_ids:
            i = np.intp(ids[j])
            prefetch(flat, np.intp(ids[min(j + _AHEAD, num - 1)]) * _FROZEN_FIELDS)
        x, y, z = float(frozen[i, 0]), float(frozen[i, 1]), float(frozen[i, 2])
        tx, ty, tz = in_camera(viewmat, x, y, z)
        depths[j] = tz
        if not (tz > NEAR_PLANE and tz < FAR_PLANE):
            continue
        opacity = float(frozen[i, 10])
        if not opacity >= ALPHA_MIN:
            continue
        w, qx, qy, qz = float(frozen[i, 3]), float(frozen[i, 4]), float(frozen[i, 5]), float(frozen[i, 6])
        sx, sy, sz = float(frozen[i, 7]), float(frozen[i, 8]), float(frozen[i, 9])
        u, v, cov_xx, cov_xy, cov_yy, det, det_sharp, radius = footprint(
            viewmat, K, limits, blur, tx, ty, tz, w, qx, qy, qz, sx, sy, sz
        )
        if not det > 0.0:
            continue
        if antialiased:
            opacity *= np.sqrt(max(det_sharp / det, 0.0))
            if not opacity >= ALPHA_MIN:
                continue
        if misses_picture(u, v, radius, width, height):
            continue
        inv_det = 1.0 / det
        radii[j] = min(radius, 1e9)
        reach = _reach(opacity) if antialiased else float(frozen[i, 11])
        extent_x = np.float32(reach * np.sqrt(cov_xx) + 1e-2)
        extent_y = np.float32(reach * np.sqrt(cov_yy) + 1e-2)
        packed[j, 0], packed[j, 1] = u, v
        packed[j, 2], packed[j, 3], packed[j, 4] = cov_yy * inv_det, -cov_xy * inv_det, cov_xx * inv_det
        packed[j, 5], packed[j, 6], packed[j, 7] = opacity, tz, extent_y
        boxes[j, 0], boxes[j, 1], boxes[j, 2], boxes[j, 3] = tile_box(
            packed[j, 0], packed[j, 1], radii[j], extent_x, extent_y, tiles_x, tiles_y
        )
    return packed, depths, radii, boxes


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
