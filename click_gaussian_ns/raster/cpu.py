"""The CPU rasterizer: tile binning and front-to-back blending in numba, 16 x 16 tiles, one thread per tile.

Blending runs over whole pixel rows of a tile per Gaussian, so that the inner loops are branch-free and vectorise.
Everything here is float32 and deterministic: no two threads write to the same place.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit, prange

from click_gaussian_ns.raster.parallel_kernel import parallel_kernel
from click_gaussian_ns.raster.scalar_math import (
    TILE,
    TRANSMITTANCE_MIN,
    count_if,
    gaussian_alpha,
    prefetch,
)

_PIXELS = TILE * TILE
AHEAD = 16
"""Rows between one that is read and the one that memory is asked for."""
_ENTRIES_AHEAD = 8
"""The same in a tile's list, in which each row lies far from the last: waiting for them took half of the blending."""
_ONE = np.float32(1.0)
_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)
_TILE_F = np.float32(TILE)
_MARGIN = 1e-2
"""px, by which rounding may move a pixel's distance."""
_ROUNDING = 2.0**-20
"""Of the terms of a quadratic form in float32, which for a needle cancel almost whole."""
_INV_TILE = 1.0 / TILE

PACKED_FIELDS = 8
"""u, v, conic xx, xy, yy, opacity, depth, half-height of the box outside which alpha is below the cut."""


@parallel_kernel()
@no_type_check
def pack(ids, means2d, conics, opacities, depths, extents):
    """[M, 8] float32 in depth order, see PACKED_FIELDS: one cache line feeds two Gaussians."""
    packed = np.empty((ids.shape[0], PACKED_FIELDS), np.float32)
    for j in prange(ids.shape[0]):
        i = ids[j]
        packed[j, 0], packed[j, 1] = means2d[i, 0], means2d[i, 1]
        packed[j, 2], packed[j, 3], packed[j, 4] = conics[i, 0], conics[i, 1], conics[i, 2]
        packed[j, 5], packed[j, 6], packed[j, 7] = opacities[i], depths[i], extents[i, 1]
    return packed


@njit(inline="always")
@no_type_check
def _tile_range(center, radius, extent, num_tiles):
    """First and one past the last tile: gsplat's 3-sigma range, cut to where alpha can reach 1/255."""
    tile_center, tile_radius = center / _TILE_F, np.float32(radius) / _TILE_F
    low = max(np.floor(tile_center - tile_radius), np.floor((center - extent - _HALF) / _TILE_F))
    high = min(np.ceil(tile_center + tile_radius), np.floor((center + extent - _HALF) / _TILE_F) + _ONE)
    bound = np.float32(num_tiles)
    return int(min(max(low, _ZERO), bound)), int(min(max(high, _ZERO), bound))


@njit(inline="always")
@no_type_check
def tile_box(u, v, radius, extent_x, extent_y, tiles_x, tiles_y):
    """First and one past the last tile column, then row, that a Gaussian may reach."""
    x0, x1 = _tile_range(u, radius, extent_x, tiles_x)
    y0, y1 = _tile_range(v, radius, extent_y, tiles_y)
    return x0, x1, y0, y1


@parallel_kernel()
@no_type_check
def tile_boxes(ids, means2d, radii, extents, tiles_x, tiles_y):
    """`tile_box` [M, 4] int16 of the Gaussians `ids`, in that order."""
    boxes = np.empty((ids.shape[0], 4), np.int16)
    for j in prange(ids.shape[0]):
        i = ids[j]
        boxes[j, 0], boxes[j, 1], boxes[j, 2], boxes[j, 3] = tile_box(
            means2d[i, 0], means2d[i, 1], radii[i], extents[i, 0], extents[i, 1], tiles_x, tiles_y
        )
    return boxes


@parallel_kernel()
@no_type_check
def in_order(ids, packed, boxes):
    """The rows `ids` of both, in that order."""
    sorted_packed = np.empty((ids.shape[0], PACKED_FIELDS), np.float32)
    sorted_boxes = np.empty((ids.shape[0], 4), np.int16)
    flat, flat_boxes = packed.reshape(-1), boxes.reshape(-1)
    for j in prange(ids.shape[0]):
        ahead = np.intp(ids[min(j + AHEAD, ids.shape[0] - 1)])
        prefetch(flat, ahead * PACKED_FIELDS)
        prefetch(flat_boxes, ahead * 4)
        for field in range(PACKED_FIELDS):
            sorted_packed[j, field] = packed[ids[j], field]
        for side in range(4):
            sorted_boxes[j, side] = boxes[ids[j], side]
    return sorted_packed, sorted_boxes


@njit(inline="always")
@no_type_check
def _ellipse(packed, box, j):
    """Of the ellipse outside which alpha is below 1/255: what `_tiles_in_row` needs to know.

    Its determinant, what kernels may round off (for needles more than the ellipse: then the whole box is kept), how far
    from the centre its rightmost point lies below it, and one over the conic's xx.
    """
    u, v, a, b, c = packed[j, 0], packed[j, 1], float(packed[j, 2]), float(packed[j, 3]), float(packed[j, 4])
    half_height = float(packed[j, 7])
    far_x = max(u - box[0] * TILE, box[1] * TILE - u)
    far_y = max(v - box[2] * TILE, box[3] * TILE - v)
    terms = 2.0 * (a * far_x * far_x + c * far_y * far_y) + c * half_height * half_height
    return a * c - b * b, _ROUNDING * a * terms, -b * half_height / np.sqrt(a * c), 1.0 / a


@njit(inline="always")
@no_type_check
def _tiles_in_row(packed, box, j, ty, det, rounding, widest, inv_a):
    """First and one past the last tile column in which the ellipse may meet a pixel of a row of tiles."""
    u, b, half_height = float(packed[j, 0]), float(packed[j, 3]), float(packed[j, 7])
    top = ty * TILE + 0.5 - float(packed[j, 1])
    low, high = max(top, -half_height), min(top + TILE - 1.0, half_height)
    if low > high:
        return np.intp(box[0]), np.intp(box[0])
    # a band of rows that does not hold the rightmost point meets the ellipse farthest right at its nearer edge
    right_y, left_y = min(max(widest, low), high), min(max(-widest, low), high)
    squared = half_height * half_height
    right = (np.sqrt(max(det * (squared - right_y * right_y) + rounding, 0.0)) - b * right_y) * inv_a
    left = (-np.sqrt(max(det * (squared - left_y * left_y) + rounding, 0.0)) - b * left_y) * inv_a
    # a pixel's centre is half a pixel from its edge
    first = (u + left - _MARGIN - 0.5) * _INV_TILE
    last = (u + right + _MARGIN - 0.5) * _INV_TILE + 1.0
    return np.intp(max(first, float(box[0]))), np.intp(min(max(last, float(box[0])), float(box[1])))


@njit(inline="always")
@no_type_check
def _is_wide(box):
    """Whether an ellipse can miss a tile of its box: one of a single row or column it runs through from end to end."""
    return box[1] - box[0] > 1 and box[3] - box[2] > 1


@parallel_kernel()
@no_type_check
def bin_tiles(packed, boxes, tiles_x, tiles_y, num_chunks):
    """Offsets [T+1] and entries (places in depth order) of every tile's list, front to back, both given in that order.

    A tile of the box is listed where the ellipse of alpha 1/255 reaches into it. Counting sort by chunks of the depth
    order: each chunk owns its own stretch of every tile's list.
    """
    num, num_tiles = boxes.shape[0], tiles_x * tiles_y
    step = (num + num_chunks - 1) // num_chunks
    first_span = np.zeros(num_chunks + 1, np.int64)
    for chunk in prange(num_chunks):
        count = 0
        for j in range(chunk * step, min(num, (chunk + 1) * step)):
            count += boxes[j, 3] - boxes[j, 2] if _is_wide(boxes[j]) else 0
        first_span[chunk + 1] = count
    for chunk in range(num_chunks):
        first_span[chunk + 1] += first_span[chunk]
    spans = np.empty((first_span[num_chunks], 2), np.int16)  # of a wide box's rows: first and one past the last column
    starts = np.zeros((num_chunks, num_tiles), np.int64)
    for chunk in prange(num_chunks):
        span = first_span[chunk]
        for j in range(chunk * step, min(num, (chunk + 1) * step)):
            box = boxes[j]
            if _is_wide(box):
                det, rounding, widest, inv_a = _ellipse(packed, box, j)
                for ty in range(box[2], box[3]):
                    first, last = _tiles_in_row(packed, box, j, ty, det, rounding, widest, inv_a)
                    spans[span, 0], spans[span, 1] = first, last
                    span += 1
                    for tx in range(first, last):
                        starts[chunk, ty * tiles_x + tx] += 1
            else:
                for ty in range(box[2], box[3]):
                    for tx in range(box[0], box[1]):
                        starts[chunk, ty * tiles_x + tx] += 1
    offsets = np.empty(num_tiles + 1, np.int64)
    total = 0
    for tile in range(num_tiles):
        offsets[tile] = total
        for chunk in range(num_chunks):
            count = starts[chunk, tile]
            starts[chunk, tile] = total
            total += count
    offsets[num_tiles] = total
    entries = np.empty(total, np.int32)
    for chunk in prange(num_chunks):
        span = first_span[chunk]
        for j in range(chunk * step, min(num, (chunk + 1) * step)):
            box = boxes[j]
            is_wide = _is_wide(box)
            first, last = box[0], box[1]
            for ty in range(box[2], box[3]):
                if is_wide:
                    first, last = spans[span, 0], spans[span, 1]
                    span += 1
                for tx in range(first, last):
                    tile = ty * tiles_x + tx
                    entries[starts[chunk, tile]] = j
                    starts[chunk, tile] += 1
    return offsets, entries


@njit(inline="always")
@no_type_check
def _start_tile(tile, tiles_x, width, height, px, py, transmittance):
    """Pixel centres and transmittance 1 inside the image, 0 (finished) outside; how many are inside."""
    x0, y0 = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
    for i in range(_PIXELS):
        x, y = x0 + i % TILE, y0 + i // TILE
        px[i], py[i] = np.float32(x) + _HALF, np.float32(y) + _HALF
        transmittance[i] = _ONE if x < width and y < height else _ZERO
    return x0, y0


@njit(inline="always")
@no_type_check
def _row_range(v, reach, y0):
    """First and one past the last pixel row of a tile, as floats, in which a Gaussian's alpha can reach 1/255.

    Beyond it a needle's alpha is all rounding: every kernel has to apply the same range.
    """
    top = np.float32(y0) + _HALF
    low = min(max(np.ceil(v - reach - top), _ZERO), _TILE_F)
    high = min(max(np.floor(v + reach - top) + _ONE, _ZERO), _TILE_F)
    return low, high


@njit(inline="always")
@no_type_check
def _load_entry(packed, j, y0):
    """Centre, conic and opacity of one Gaussian, and the first and one past the last pixel of a tile it can touch."""
    v = packed[j, 1]
    first_row, last_row = _row_range(v, packed[j, 7], y0)
    low, high = np.uintp(first_row) * np.uintp(TILE), np.uintp(last_row) * np.uintp(TILE)
    return packed[j, 0], v, packed[j, 2], packed[j, 3], packed[j, 4], packed[j, 5], low, high


@njit(inline="always")
@no_type_check
def _blend_entry(packed, j, y0, px, py, transmittance, weights):
    """Write the weights of one Gaussian for the pixel rows that it can touch; return them and how many pixels it meets.

    A pixel that it meets but blends no more, as too little light is left, is finished: its weight is 0.
    """
    u, v, a, b, c, opacity, low, high = _load_entry(packed, j, y0)
    touched = np.int32(0)
    for i in range(low, high):
        alpha = gaussian_alpha(px[i] - u, py[i] - v, a, b, c, opacity)
        t = transmittance[i]
        t_next = t * (_ONE - alpha)
        alive = t_next > TRANSMITTANCE_MIN
        w = alpha * t if alive else _ZERO
        weights[i] = w
        transmittance[i] = t_next if alive else _ZERO
        touched = count_if(touched, t_next < t)
    return low, high, touched


@njit(inline="always")
@no_type_check
def _any_alive(transmittance):
    alive = np.int32(0)
    for i in range(_PIXELS):
        alive = count_if(alive, transmittance[i] > _ZERO)
    return alive > 0


@parallel_kernel()
@no_type_check
def blend(packed, ids, offsets, entries, values, width, height, tiles_x):
    """Blend values [N, C] into image [H, W, C]; also the sums of w z [H, W] and of w [H, W] (alpha).

    All arrays are contiguous.
    """
    num_channels = values.shape[1]
    flat, flat_values = packed.reshape(-1), values.reshape(-1)
    image = np.empty((height, width, num_channels), np.float32)
    depth = np.empty((height, width), np.float32)
    alpha = np.empty((height, width), np.float32)
    for tile in prange(offsets.shape[0] - 1):
        px, py = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        transmittance, weights = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        sums = np.zeros((num_channels + 2, _PIXELS), np.float32)
        x0, y0 = _start_tile(tile, tiles_x, width, height, px, py, transmittance)
        last = offsets[tile + 1] - 1
        for e in range(offsets[tile], offsets[tile + 1]):
            if (e - offsets[tile]) % 16 == 15 and not _any_alive(transmittance):
                break
            soon = np.intp(entries[min(e + _ENTRIES_AHEAD, last)])
            prefetch(flat, soon * PACKED_FIELDS)
            prefetch(ids, soon)
            sooner = np.intp(ids[entries[min(e + _ENTRIES_AHEAD // 2, last)]])
            prefetch(flat_values, sooner * num_channels)
            j = entries[e]
            low, high, touched = _blend_entry(packed, j, y0, px, py, transmittance, weights)
            if touched == 0:
                continue
            gaussian, z = ids[j], packed[j, 6]
            for c in range(num_channels):
                value, row = values[gaussian, c], sums[c]
                for i in range(low, high):
                    row[i] += weights[i] * value
            depth_row, alpha_row = sums[num_channels], sums[num_channels + 1]
            for i in range(low, high):
                depth_row[i] += weights[i] * z
                alpha_row[i] += weights[i]
        for i in range(_PIXELS):
            x, y = x0 + i % TILE, y0 + i // TILE
            if x < width and y < height:
                for c in range(num_channels):
                    image[y, x, c] = sums[c, i]
                depth[y, x] = sums[num_channels, i]
                alpha[y, x] = sums[num_channels + 1, i]
    return image, depth, alpha


@parallel_kernel()
@no_type_check
def keep_entries(packed, ids, offsets, entries, kept):
    """The lists of a view without the entries whose `kept` [E] is 0, and without Gaussians that no entry is left of."""
    num_tiles = offsets.shape[0] - 1
    place = np.zeros(ids.shape[0], np.int32)
    new_offsets = np.zeros(num_tiles + 1, np.int64)
    for tile in range(num_tiles):
        count = 0
        for e in range(offsets[tile], offsets[tile + 1]):
            if kept[e]:
                count += 1
                place[entries[e]] = 1
        new_offsets[tile + 1] = new_offsets[tile] + count
    num = 0
    for j in range(ids.shape[0]):
        used = place[j]
        place[j] = num
        num += used
    new_ids, new_packed = np.empty(num, np.int32), np.empty((num, PACKED_FIELDS), np.float32)
    for j in prange(ids.shape[0]):
        k = place[j]
        if (place[j + 1] if j + 1 < ids.shape[0] else num) > k:
            new_ids[k] = ids[j]
            for field in range(PACKED_FIELDS):
                new_packed[k, field] = packed[j, field]
    new_entries = np.empty(new_offsets[num_tiles], np.int32)
    for tile in prange(num_tiles):
        k = new_offsets[tile]
        for e in range(offsets[tile], offsets[tile + 1]):
            if kept[e]:
                new_entries[k] = place[entries[e]]
                k += 1
    return new_packed, new_ids, new_offsets, new_entries
