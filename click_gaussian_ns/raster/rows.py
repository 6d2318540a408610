"""Sparse rows on CPU: the blending weights of chosen pixels, whole chunks of a tile's Gaussians per pixel.

They equal the dense walk's of cpu.py to the last bit: both evaluate the same alpha in the same order.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit, prange

from click_gaussian_ns.raster.cpu import AHEAD, PACKED_FIELDS, _row_range
from click_gaussian_ns.raster.parallel_kernel import parallel_kernel
from click_gaussian_ns.raster.scalar_math import (
    TILE,
    TRANSMITTANCE_MIN,
    gaussian_alpha,
    lowest_bit,
    positive_bits,
    prefetch,
)

_CHUNK = 128
_WORKERS = 32
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)


@njit(cache=True, nogil=True)
@no_type_check
def _load_tile(packed, entries, begin, end, y0, fields, stride):
    """What a tile's entries need, field by field: flat fields [8, stride], the last two the pixel rows reached."""
    flat = packed.reshape(-1)
    for k in range(end - begin):
        prefetch(flat, np.intp(entries[min(begin + k + AHEAD, end - 1)]) * PACKED_FIELDS)
        j = entries[begin + k]
        for field in range(6):
            fields[field * stride + k] = packed[j, field]
        fields[6 * stride + k], fields[7 * stride + k] = _row_range(packed[j, 1], packed[j, 7], y0)


@njit(cache=True, nogil=True)
@no_type_check
def _pixel_alphas(x, y, row, fields, stride, first, last, alphas):
    """Alphas [_CHUNK] of the entries [first, last) of a tile at a pixel, and zeros behind them.

    Indices are unsigned: those that might be negative keep a loop from being vectorised.
    """
    step, start = np.uintp(stride), np.uintp(first)
    for k in range(np.uintp(last - first)):
        e = start + k
        alpha = gaussian_alpha(
            x - fields[e],
            y - fields[step + e],
            fields[np.uintp(2) * step + e],
            fields[np.uintp(3) * step + e],
            fields[np.uintp(4) * step + e],
            fields[np.uintp(5) * step + e],
        )
        reached = (row >= fields[np.uintp(6) * step + e]) & (row < fields[np.uintp(7) * step + e])
        alphas[k] = alpha if reached else _ZERO
    alphas[last - first :] = _ZERO


@parallel_kernel()
@no_type_check
def blend_rows(packed, ids, offsets, entries, pixel_ids, order, tile_starts, width, tiles_x):
    """Blending weights of chosen pixels in compressed sparse rows: row_offsets [P + 1], gaussian_ids, weights.

    `order` lists the places in pixel_ids by tile, `tile_starts` [T+1] bounds each tile's stretch of it. Tiles are dealt
    out to workers, each of which writes one row after the other to a stretch long enough for the worst case: memory
    that nobody writes to costs nothing.
    """
    num, num_tiles = pixel_ids.shape[0], offsets.shape[0] - 1
    starts, longest = np.zeros(_WORKERS + 1, np.int64), 0
    num_busy, busy = 0, np.empty(num_tiles, np.int32)
    for tile in range(num_tiles):
        if tile_starts[tile] < tile_starts[tile + 1]:
            length = offsets[tile + 1] - offsets[tile]
            starts[num_busy % _WORKERS + 1] += (tile_starts[tile + 1] - tile_starts[tile]) * length
            longest = max(longest, length)
            busy[num_busy] = tile
            num_busy += 1
    for worker in range(_WORKERS):
        starts[worker + 1] += starts[worker]
    found_ids, found_weights = np.empty(starts[_WORKERS], np.int32), np.empty(starts[_WORKERS], np.float32)
    firsts, row_offsets = np.empty(num, np.int64), np.zeros(num + 1, np.int64)
    for worker in prange(_WORKERS):
        fields = np.empty(PACKED_FIELDS * longest, np.float32)
        alphas = np.empty(_CHUNK, np.float32)
        place = starts[worker]
        for b in range(worker, num_busy, _WORKERS):
            tile = busy[b]
            begin, end = offsets[tile], offsets[tile + 1]
            y0 = (tile // tiles_x) * TILE
            _load_tile(packed, entries, begin, end, y0, fields, longest)
            for slot in range(tile_starts[tile], tile_starts[tile + 1]):
                p = order[slot]
                firsts[p] = place
                x, y = pixel_ids[p] % width, pixel_ids[p] // width
                t = _ONE
                for first in range(0, end - begin, _CHUNK):
                    last = min(first + _CHUNK, end - begin)
                    _pixel_alphas(
                        np.float32(x) + _HALF,
                        np.float32(y) + _HALF,
                        np.float32(y - y0),
                        fields,
                        longest,
                        first,
                        last,
                        alphas,
                    )
                    # by bits: a branch on each entry would be mispredicted at every other one
                    for group in range(0, last - first, 32):
                        met = positive_bits(alphas, np.intp(group))
                        while met != 0:
                            k = group + lowest_bit(met)
                            t_next = t * (_ONE - alphas[k])
                            if not t_next > TRANSMITTANCE_MIN:
                                t = _ZERO
                                break
                            found_ids[place], found_weights[place] = ids[entries[begin + first + k]], alphas[k] * t
                            place += 1
                            t = t_next
                            met &= met - np.uint32(1)
                        if t == _ZERO:
                            break
                    if t == _ZERO:
                        break
                row_offsets[p + 1] = place - firsts[p]
    for p in range(num):
        row_offsets[p + 1] += row_offsets[p]
    gaussian_ids, weights = np.empty(row_offsets[num], np.int32), np.empty(row_offsets[num], np.float32)
    for p in prange(num):
        for k in range(row_offsets[p + 1] - row_offsets[p]):
            gaussian_ids[row_offsets[p] + k] = found_ids[firsts[p] + k]
            weights[row_offsets[p] + k] = found_weights[firsts[p] + k]
    return row_offsets, gaussian_ids, weights


@njit(cache=True, nogil=True)
@no_type_check
def pixels_by_tile(pixel_ids, width, tiles_x, num_tiles):
    """`order` and `tile_starts` of `blend_rows`: a stable counting sort of pixels by tile."""
    tile_starts = np.zeros(num_tiles + 1, np.int64)
    tiles = np.empty(pixel_ids.shape[0], np.int32)
    for p in range(pixel_ids.shape[0]):
        y, x = pixel_ids[p] // width, pixel_ids[p] % width
        tiles[p] = (y // TILE) * tiles_x + x // TILE
        tile_starts[tiles[p] + 1] += 1
    for tile in range(num_tiles):
        tile_starts[tile + 1] += tile_starts[tile]
    order = np.empty(pixel_ids.shape[0], np.int64)
    place = tile_starts.copy()
    for p in range(pixel_ids.shape[0]):
        order[place[tiles[p]]] = p
        place[tiles[p]] += 1
    return order, tile_starts
