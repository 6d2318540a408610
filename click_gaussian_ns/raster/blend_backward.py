"""Gradients of the blending on CPU: each tile walks its list front to back once more, in numba.

The walk repeats `cpu.blend` operation by operation, so that it stops and cuts where the picture did. What lies behind
a Gaussian is the picture minus what lies in front of it: no second walk from the back, no division of transmittances.

Every (tile, Gaussian) pair writes its sums to a place of its own, and each Gaussian then adds up its places in a
fixed order: no two threads write to the same place, and the result does not depend on their number.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Int16, Int64
from numba import njit, prange

from click_gaussian_ns.raster.cpu import _any_alive, _load_entry, _start_tile
from click_gaussian_ns.raster.parallel_kernel import parallel_kernel
from click_gaussian_ns.raster.scalar_math import (
    ALPHA_MAX,
    TILE,
    TRANSMITTANCE_MIN,
    add_any_order,
    count_if,
    gaussian_alpha,
)

_PIXELS = TILE * TILE
_ONE = np.float32(1.0)
_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)

SUM_FIELDS = 8
"""Of a (tile, Gaussian) pair: d/du, d/dv, their sums of absolute values per pixel, d/dconic xx, xy, yy, d/dopacity; the
values' gradients follow."""


def pair_starts(boxes: Int16[np.ndarray, "M 4"]) -> Int64[np.ndarray, "M+1"]:
    """Where the pairs of each Gaussian start, row by row of its tile box (`cpu.tile_boxes`)."""
    sides = np.maximum(boxes[:, 1::2].astype(np.int64) - boxes[:, 0::2], 0)
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(sides[:, 0] * sides[:, 1])))


@njit(inline="always")
@no_type_check
def _load_tile(grads, behind, x0, y0, width, height, image, alpha, grad_image, grad_alpha):
    """Fill in the gradients of a tile's pixels, and what they weigh the whole pixel with."""
    num_channels = image.shape[2]
    for i in range(_PIXELS):
        x, y = x0 + i % TILE, y0 + i // TILE
        inside = x < width and y < height
        total = _ZERO
        for c in range(num_channels):
            grad = grad_image[y, x, c] if inside else _ZERO
            grads[c, i] = grad
            total += grad * image[y, x, c] if inside else _ZERO
        grad = grad_alpha[y, x] if inside else _ZERO
        grads[num_channels, i] = grad
        behind[i] = total + grad * alpha[y, x] if inside else _ZERO


@parallel_kernel(error_model="numpy")
@no_type_check
def pair_gradients(packed, ids, offsets, entries, boxes, starts, values, image, alpha, grad_image, grad_alpha, tiles_x):
    """Gradients [pairs, SUM_FIELDS + C] of image [H, W, C] and alpha [H, W] with respect to each pair's Gaussian."""
    height, width, num_channels = image.shape
    out = np.zeros((starts[-1], SUM_FIELDS + num_channels), np.float32)
    for tile in prange(offsets.shape[0] - 1):
        px, py = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        transmittance, behind = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        dots, weights = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        grads = np.empty((num_channels + 1, _PIXELS), np.float32)
        x0, y0 = _start_tile(tile, tiles_x, width, height, px, py, transmittance)
        _load_tile(grads, behind, x0, y0, width, height, image, alpha, grad_image, grad_alpha)
        tile_x, tile_y = tile % tiles_x, tile // tiles_x
        for e in range(offsets[tile], offsets[tile + 1]):
            if (e - offsets[tile]) % 16 == 15 and not _any_alive(transmittance):
                break
            j = entries[e]
            u, v, a, b, c, opacity, low, high = _load_entry(packed, j, y0)
            if low >= high:
                continue
            gaussian = ids[j]
            grad_row = grads[num_channels]
            for i in range(low, high):
                dots[i] = grad_row[i]
            for channel in range(num_channels):
                value, grad_row = values[gaussian, channel], grads[channel]
                for i in range(low, high):
                    dots[i] += value * grad_row[i]
            s, sx, sy, sxx, sxy, syy, abs_x, abs_y = (_ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO, _ZERO)
            touched = np.int32(0)
            for i in range(low, high):
                dx, dy = px[i] - u, py[i] - v
                alpha_i = gaussian_alpha(dx, dy, a, b, c, opacity)
                t, dot = transmittance[i], dots[i]
                left = _ONE - alpha_i
                t_next = t * left
                alive = t_next > TRANSMITTANCE_MIN
                w = alpha_i * t if alive else _ZERO
                rest = behind[i] - w * dot
                pull = alpha_i * (rest / left - t * dot)
                pull = pull if alive else _ZERO
                g = pull if alpha_i < ALPHA_MAX else _ZERO
                behind[i] = rest
                transmittance[i] = t_next if alive else _ZERO
                weights[i] = w
                touched = count_if(touched, w > _ZERO)
                gx, gy = g * dx, g * dy
                s = add_any_order(s, g)
                sx, sy = add_any_order(sx, gx), add_any_order(sy, gy)
                sxx, sxy = add_any_order(sxx, gx * dx), add_any_order(sxy, gx * dy)
                syy = add_any_order(syy, gy * dy)
                abs_x = add_any_order(abs_x, abs(a * gx + b * gy))
                abs_y = add_any_order(abs_y, abs(b * gx + c * gy))
            if touched == 0:
                continue
            across = boxes[j, 1] - boxes[j, 0]
            place = starts[j] + (tile_y - boxes[j, 2]) * across + (tile_x - boxes[j, 0])
            row = out[place]
            row[0], row[1] = -(a * sx + b * sy), -(b * sx + c * sy)
            row[2], row[3] = abs_x, abs_y
            row[4], row[5], row[6] = _HALF * sxx, sxy, _HALF * syy
            row[7] = -s / opacity
            for channel in range(num_channels):
                grad_row, total = grads[channel], _ZERO
                for i in range(low, high):
                    total = add_any_order(total, weights[i] * grad_row[i])
                row[SUM_FIELDS + channel] = total
    return out


@parallel_kernel()
@no_type_check
def sum_pairs(pairs, starts, ids, num_gaussians):
    """Gradients of every Gaussian from those of its pairs: means2d, |means2d|, conics, opacities, values."""
    num_channels = pairs.shape[1] - SUM_FIELDS
    means2d = np.zeros((num_gaussians, 2), np.float32)
    absolute = np.zeros((num_gaussians, 2), np.float32)
    conics = np.zeros((num_gaussians, 3), np.float32)
    opacities = np.zeros(num_gaussians, np.float32)
    values = np.zeros((num_gaussians, num_channels), np.float32)
    for j in prange(ids.shape[0]):
        i = ids[j]
        for place in range(starts[j], starts[j + 1]):
            row = pairs[place]
            for k in range(2):
                means2d[i, k] += row[k]
                absolute[i, k] += row[2 + k]
            for k in range(3):
                conics[i, k] += row[4 + k]
            opacities[i] += row[7]
            for k in range(num_channels):
                values[i, k] += row[SUM_FIELDS + k]
    return means2d, absolute, conics, opacities, values
