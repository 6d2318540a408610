"""Blending weights averaged over 2D segments: the pooling matrix A of one view (Eq. 6), in one pass over its tiles."""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from numba import njit, prange

from click_gaussian_ns.raster.cpu import _any_alive, _blend_entry, _start_tile
from click_gaussian_ns.raster.parallel_kernel import parallel_kernel
from click_gaussian_ns.raster.scalar_math import TILE

_PIXELS = TILE * TILE
_FEW = 6
"""Combinations in a tile up to which a vectorised sum for each is faster than sorting pixels into them one by one."""
_ZERO = np.float32(0.0)


@parallel_kernel()
@no_type_check
def tile_segments(labels, tiles_x, num_tiles):
    """Of every tile: which combination of segments each pixel lies in, one segment of each of the L levels.

    labels [L, H, W] uint16 -> local [T, 256] int16 (0 = unassigned at all levels), ids [T, 257, L] int32 behind them
    (ids[:, 0] = 0), counts [T] without the unassigned.
    """
    num_levels, height, width = labels.shape
    local = np.zeros((num_tiles, _PIXELS), np.int16)
    ids = np.zeros((num_tiles, _PIXELS + 1, num_levels), np.int32)
    counts = np.zeros(num_tiles, np.int64)
    for tile in prange(num_tiles):
        x0, y0 = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        known, found = 0, 0
        for i in range(_PIXELS):
            x, y = x0 + i % TILE, y0 + i // TILE
            if x >= width or y >= height:
                continue
            # most pixels are in the segments of their neighbour
            if not _is_at(labels, y, x, ids, tile, found):
                found = -1
                for s in range(known + 1):
                    if _is_at(labels, y, x, ids, tile, s):
                        found = s
                        break
                if found < 0:
                    known += 1
                    found = known
                    for level in range(num_levels):
                        ids[tile, found, level] = labels[level, y, x]
            local[tile, i] = found
        counts[tile] = known
    return local, ids, counts


@njit(inline="always")
@no_type_check
def _is_at(labels, y, x, ids, tile, s):
    same = True
    for level in range(labels.shape[0]):
        same &= np.int32(labels[level, y, x]) == ids[tile, s, level]
    return same


@njit(cache=True, nogil=True, fastmath={"reassoc"})
@no_type_check
def _sum_where(weights, local, s, low, high):
    """Sum of the weights of the pixels of one combination; reassociated, so that it vectorises."""
    total = _ZERO
    for i in range(low, high):
        total += weights[i] if local[i] == s else _ZERO
    return total


@parallel_kernel()
@no_type_check
def pool_tiles(packed, ids, offsets, entries, local, counts, width, height, tiles_x):
    """Sums of w per (tile, Gaussian, combination), used up to `used[tile]` from `starts[tile]` on; which entries met a
    pixel at all [E]."""
    num_tiles = offsets.shape[0] - 1
    starts = np.empty(num_tiles + 1, np.int64)
    total = 0
    for tile in range(num_tiles):
        starts[tile] = total
        total += (offsets[tile + 1] - offsets[tile]) * counts[tile]
    starts[num_tiles] = total
    out_locals = np.empty(total, np.int16)
    out_gaussians = np.empty(total, np.int32)
    out_sums = np.empty(total, np.float32)
    used = np.zeros(num_tiles, np.int64)
    met = np.zeros(entries.shape[0], np.uint8)
    for tile in prange(num_tiles):
        px, py = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        transmittance, weights = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
        sums = np.zeros(counts[tile] + 1, np.float32)
        _x0, y0 = _start_tile(tile, tiles_x, width, height, px, py, transmittance)
        place = starts[tile]
        for e in range(offsets[tile], offsets[tile + 1]):
            if (e - offsets[tile]) % 16 == 15 and not _any_alive(transmittance):
                break
            j = entries[e]
            low, high, touched = _blend_entry(packed, j, y0, px, py, transmittance, weights)
            if touched == 0:
                continue
            met[e] = 1
            if counts[tile] <= _FEW:
                for s in range(1, counts[tile] + 1):
                    sums[s] = _sum_where(weights, local[tile], s, low, high)
            else:
                for i in range(low, high):
                    if weights[i] > _ZERO:
                        sums[local[tile, i]] += weights[i]
            for s in range(1, counts[tile] + 1):
                if sums[s] > _ZERO:
                    out_locals[place], out_gaussians[place], out_sums[place] = s, ids[j], sums[s]
                    place += 1
                    sums[s] = _ZERO
        used[tile] = place - starts[tile]
    return starts, used, out_locals, out_gaussians, out_sums, met


@njit(cache=True, nogil=True)
@no_type_check
def _sort_by_segment(starts, used, locals_, gaussians, sums, local_ids, level, num_ids):
    """Counting sort of the tiles' triples by their segment at one level; the unassigned are left out."""
    bounds = np.zeros(num_ids + 1, np.int64)
    for tile in range(used.shape[0]):
        for k in range(starts[tile], starts[tile] + used[tile]):
            bounds[local_ids[tile, locals_[k], level] + 1] += 1
    bounds[1] = 0
    for s in range(num_ids):
        bounds[s + 1] += bounds[s]
    place = bounds.copy()
    sorted_gaussians = np.empty(bounds[num_ids], np.int32)
    sorted_sums = np.empty(bounds[num_ids], np.float32)
    for tile in range(used.shape[0]):
        for k in range(starts[tile], starts[tile] + used[tile]):
            s = local_ids[tile, locals_[k], level]
            if s > 0:
                sorted_gaussians[place[s]], sorted_sums[place[s]] = gaussians[k], sums[k]
                place[s] += 1
    return bounds, sorted_gaussians, sorted_sums


@parallel_kernel()
@no_type_check
def _merge_segments(bounds, gaussians, sums, num_gaussians, num_threads):
    """Add up, in place, the sums of each segment that fall on the same Gaussian; how many remain per segment."""
    num_ids = bounds.shape[0] - 1
    merged = np.zeros(num_ids, np.int64)
    for thread in prange(num_threads):
        place_of = np.full(num_gaussians, -1, np.int64)
        for s in range(thread, num_ids, num_threads):
            end = bounds[s]
            for k in range(bounds[s], bounds[s + 1]):
                g = gaussians[k]
                at = place_of[g]
                if at >= bounds[s] and at < end:
                    sums[at] += sums[k]
                else:
                    place_of[g] = end
                    gaussians[end], sums[end] = g, sums[k]
                    end += 1
            merged[s] = end - bounds[s]
    return merged


@parallel_kernel()
@no_type_check
def _gather_rows(bounds, merged, gaussians, sums, row_ids, num_pixels):
    row_offsets = np.zeros(row_ids.shape[0] + 1, np.int64)
    for r in range(row_ids.shape[0]):
        row_offsets[r + 1] = row_offsets[r] + merged[row_ids[r]]
    out_gaussians = np.empty(row_offsets[-1], np.int32)
    out_weights = np.empty(row_offsets[-1], np.float32)
    for r in prange(row_ids.shape[0]):
        start, scale = bounds[row_ids[r]], np.float32(1.0 / num_pixels[r])
        order = np.argsort(gaussians[start : start + merged[row_ids[r]]])
        for k in range(order.shape[0]):
            out_gaussians[row_offsets[r] + k] = gaussians[start + order[k]]
            out_weights[row_offsets[r] + k] = sums[start + order[k]] * scale
    return row_offsets, out_gaussians, out_weights


def pool_view(packed, ids, offsets, entries, labels, tiles_x, num_gaussians, num_threads):
    """A of one view for labels [L, H, W] uint16, and which entries of the tile lists meet a pixel.

    Per level: row_offsets, gaussian_ids (ascending in a row), weights, segment_ids ascending, num_pixels. The tiles are
    blended once for all levels.
    """
    _, height, width = labels.shape
    local, local_ids, counts = tile_segments(labels, tiles_x, offsets.shape[0] - 1)
    *triples, met = pool_tiles(packed, ids, offsets, entries, local, counts, width, height, tiles_x)
    pooled = []
    for level, level_labels in enumerate(labels):
        pixel_counts = np.bincount(level_labels.ravel())
        inputs: tuple[Any, ...] = (*triples, local_ids, level, pixel_counts.shape[0])
        bounds, gaussians, sums = _sort_by_segment(*inputs)
        merged = _merge_segments(bounds, gaussians, sums, num_gaussians, num_threads)
        segment_ids = np.flatnonzero(pixel_counts[1:]) + 1
        num_pixels = pixel_counts[segment_ids]
        rows = _gather_rows(bounds, merged, gaussians, sums, segment_ids, num_pixels)
        pooled.append((*rows, segment_ids, num_pixels))
    return pooled, met
