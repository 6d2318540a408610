"""Blending weights averaged over 2D segments: the pooling matrix A of one view (Eq. 6), in one pass over its tiles."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit, prange

from click_gaussian_ns.raster.cpu import _any_alive, _blend_entry, _start_tile
from click_gaussian_ns.raster.scalar_math import TILE

_PIXELS = TILE * TILE
_ZERO = np.float32(0.0)


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def tile_segments(labels, height, width, tiles_x, num_tiles):
    """Of every tile: local segment of each pixel (0 = unassigned), the IDs behind them, and how many there are.

    labels [H, W] uint16 -> local [T, 256] int16, ids [T, 257] int32 (ids[:, 0] = 0), counts [T] without the unassigned.
    """
    local = np.zeros((num_tiles, _PIXELS), np.int16)
    ids = np.zeros((num_tiles, _PIXELS + 1), np.int32)
    counts = np.zeros(num_tiles, np.int64)
    for tile in prange(num_tiles):
        x0, y0 = (tile % tiles_x) * TILE, (tile // tiles_x) * TILE
        known = 0
        for i in range(_PIXELS):
            x, y = x0 + i % TILE, y0 + i // TILE
            if x >= width or y >= height or labels[y, x] == 0:
                continue
            label = np.int32(labels[y, x])
            found = 0
            for s in range(1, known + 1):
                if ids[tile, s] == label:
                    found = s
                    break
            if found == 0:
                known += 1
                found = known
                ids[tile, found] = label
            local[tile, i] = found
        counts[tile] = known
    return local, ids, counts


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def pool_tiles(packed, ids, offsets, entries, local, local_ids, counts, width, height, tiles_x):
    """Sums of w per (tile, Gaussian, segment): three arrays that are used up to `used[tile]` from `starts[tile]` on."""
    num_tiles = offsets.shape[0] - 1
    starts = np.empty(num_tiles + 1, np.int64)
    total = 0
    for tile in range(num_tiles):
        starts[tile] = total
        total += (offsets[tile + 1] - offsets[tile]) * counts[tile]
    starts[num_tiles] = total
    out_segments = np.empty(total, np.int32)
    out_gaussians = np.empty(total, np.int32)
    out_sums = np.empty(total, np.float32)
    used = np.zeros(num_tiles, np.int64)
    for tile in prange(num_tiles):
        if counts[tile] == 0:
            continue
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
            for i in range(low, high):
                if weights[i] > _ZERO:
                    sums[local[tile, i]] += weights[i]
            for s in range(1, counts[tile] + 1):
                if sums[s] > _ZERO:
                    out_segments[place], out_gaussians[place], out_sums[place] = (
                        local_ids[tile, s],
                        ids[j],
                        sums[s],
                    )
                    place += 1
                    sums[s] = _ZERO
        used[tile] = place - starts[tile]
    return starts, used, out_segments, out_gaussians, out_sums


@njit(cache=True, nogil=True)
@no_type_check
def _sort_by_segment(starts, used, segments, gaussians, sums, num_ids):
    """Counting sort of the tiles' triples by segment ID."""
    bounds = np.zeros(num_ids + 1, np.int64)
    for tile in range(used.shape[0]):
        for k in range(starts[tile], starts[tile] + used[tile]):
            bounds[segments[k] + 1] += 1
    for s in range(num_ids):
        bounds[s + 1] += bounds[s]
    place = bounds.copy()
    sorted_gaussians = np.empty(bounds[num_ids], np.int32)
    sorted_sums = np.empty(bounds[num_ids], np.float32)
    for tile in range(used.shape[0]):
        for k in range(starts[tile], starts[tile] + used[tile]):
            s = segments[k]
            sorted_gaussians[place[s]], sorted_sums[place[s]] = gaussians[k], sums[k]
            place[s] += 1
    return bounds, sorted_gaussians, sorted_sums


@njit(parallel=True, cache=True, nogil=True)
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


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def _gather_rows(bounds, merged, gaussians, sums, row_ids, num_pixels):
    row_offsets = np.zeros(row_ids.shape[0] + 1, np.int64)
    for r in range(row_ids.shape[0]):
        row_offsets[r + 1] = row_offsets[r] + merged[row_ids[r]]
    out_gaussians = np.empty(row_offsets[-1], np.int32)
    out_weights = np.empty(row_offsets[-1], np.float32)
    for r in prange(row_ids.shape[0]):
        start, scale = bounds[row_ids[r]], np.float32(1.0 / num_pixels[r])
        for k in range(merged[row_ids[r]]):
            out_gaussians[row_offsets[r] + k] = gaussians[start + k]
            out_weights[row_offsets[r] + k] = sums[start + k] * scale
    return row_offsets, out_gaussians, out_weights


def pool_view(packed, ids, offsets, entries, labels, tiles_x, num_gaussians, num_threads):
    """A of one view for labels [H, W] uint16: row_offsets, gaussian_ids, weights, segment_ids ascending, num_pixels."""
    height, width = labels.shape
    local, local_ids, counts = tile_segments(labels, height, width, tiles_x, offsets.shape[0] - 1)
    triples = pool_tiles(packed, ids, offsets, entries, local, local_ids, counts, width, height, tiles_x)
    pixel_counts = np.bincount(labels.ravel())
    bounds, gaussians, sums = _sort_by_segment(*triples, pixel_counts.shape[0])
    merged = _merge_segments(bounds, gaussians, sums, num_gaussians, num_threads)
    segment_ids = np.flatnonzero(pixel_counts[1:]) + 1
    num_pixels = pixel_counts[segment_ids]
    return *_gather_rows(bounds, merged, gaussians, sums, segment_ids, num_pixels), segment_ids, num_pixels
