"""CPU kernel of the repulsion (Eq. 4), whose literal form needs all pairs of pixels.

It takes normalised vectors and returns the gradient with respect to them; the chain rule through the normalisation is
the caller's. Deterministic: a thread writes only to sums that it owns.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit, prange

from click_gaussian_ns.features.register_tiles import COLUMNS, ROWS, add_row_16, add_row_24, count_bits, products_above
from click_gaussian_ns.raster.parallel_kernel import parallel_kernel
from click_gaussian_ns.raster.scalar_math import lowest_bit

_BLOCK = COLUMNS
_WORKERS = 8
_PI = np.float32(np.pi)
_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)


@njit(cache=True, nogil=True)
@no_type_check
def _cones(unit, starts):
    """Mean direction and half-angle (rad) of the cone that holds each block's vectors."""
    num_blocks, dim = starts.shape[0] - 1, unit.shape[1]
    axes = np.zeros((num_blocks, dim), np.float32)
    angles = np.zeros(num_blocks, np.float32)
    for b in range(num_blocks):
        for p in range(starts[b], starts[b + 1]):
            for d in range(dim):
                axes[b, d] += unit[p, d]
        norm = _ZERO
        for d in range(dim):
            norm += axes[b, d] * axes[b, d]
        norm = max(np.sqrt(norm), np.float32(1e-12))
        for d in range(dim):
            axes[b, d] /= norm
        lowest = _ONE
        for p in range(starts[b], starts[b + 1]):
            dot = _ZERO
            for d in range(dim):
                dot += axes[b, d] * unit[p, d]
            lowest = min(lowest, dot)
        angles[b] = np.arccos(min(max(lowest, -_ONE), _ONE)) + np.float32(1e-3)
    return axes, angles


@njit(cache=True, nogil=True)
@no_type_check
def _repel_blocks(rows, weighted, columns, dim, stride, first, second, limits, words, places, sums):
    """Add to flat sums [B * _BLOCK, stride] what two blocks of different groups give each other.

    words [_BLOCK + 1] uint32 and places [_BLOCK + 1] are scratch. The pairs kept are walked through in one loop without
    branches: one per row would be mispredicted for most rows, as few have any and hardly any have many.
    """
    tile = np.intp(second * dim * _BLOCK)
    num_rows, num_pairs = 0, np.intp(0)
    for quad in range(0, _BLOCK, ROWS):
        start = np.intp(first * _BLOCK + quad) * stride
        kept = products_above(rows, start, stride, columns, tile, np.intp(dim), limits, np.intp(0))
        for r in range(ROWS):
            words[num_rows], places[num_rows] = kept[r], start + r * stride
            num_rows += kept[r] != 0
            num_pairs += count_bits(kept[r])
    row = 0
    word, own = words[0], places[0]
    for _ in range(num_pairs):
        other = (np.intp(second * _BLOCK) + lowest_bit(word)) * stride
        if stride == 16:
            add_row_16(sums, own, weighted, other)
            add_row_16(sums, other, weighted, own)
        else:
            add_row_24(sums, own, weighted, other)
            add_row_24(sums, other, weighted, own)
        word &= word - np.uint32(1)
        row += word == 0
        word = words[row] if word == 0 else word
        own = places[row]


@parallel_kernel()
@no_type_check
def repel_pairs(unit, starts, groups, weights, margin):
    """Sum over ordered pairs of different groups with <u_p, u_q> > margin of w_p w_q u_q: half the gradient of Eq. 4,
    unscaled; in the paper all weights are 1.

    unit [P, D] float32 normalised, D at most 24, rows sorted by group and cut into blocks of at most _BLOCK rows of one
    group: starts [B + 1], groups [B], weights [B] float32. The loss itself is the sum of <row of the result, u_p>, its
    gradient twice the result. Blocks are padded with zero rows, which no margin > 0 keeps. Pairs of blocks whose cones
    of directions are further apart than the margin allows are skipped: exact, and most once features have separated.
    A pair of blocks is looked at once for both its ends; a fixed number of workers add to sums of their own.
    """
    dim = unit.shape[1]
    num_blocks = starts.shape[0] - 1
    axes, angles = _cones(unit, starts)
    stride = np.intp(16 if dim <= 16 else 24)
    rows = np.zeros((num_blocks * _BLOCK, stride), np.float32)
    weighted = np.zeros_like(rows)
    columns = np.empty((num_blocks, dim, _BLOCK), np.float32)
    for b in prange(num_blocks):
        for k in range(starts[b + 1] - starts[b]):
            for d in range(dim):
                rows[b * _BLOCK + k, d] = unit[starts[b] + k, d]
                weighted[b * _BLOCK + k, d] = unit[starts[b] + k, d] * weights[b]
        for d in range(dim):
            for k in range(_BLOCK):
                columns[b, d, k] = rows[b * _BLOCK + k, d]
    limit = np.float32(np.arccos(margin))
    limits = np.full(ROWS, margin, np.float32)
    flat_rows, flat_weighted, flat_columns = rows.reshape(-1), weighted.reshape(-1), columns.reshape(-1)
    sums = np.empty((_WORKERS, *rows.shape), np.float32)
    for worker in prange(_WORKERS):
        own = sums[worker].reshape(-1)
        own[:] = _ZERO
        words, places = np.empty(_BLOCK + 1, np.uint32), np.empty(_BLOCK + 1, np.intp)
        for b in range(worker, num_blocks, _WORKERS):
            for other in range(b + 1, num_blocks):
                if groups[other] == groups[b]:
                    continue
                cosine = _ZERO
                for d in range(dim):
                    cosine += axes[b, d] * axes[other, d]
                widest = limit + angles[b] + angles[other]
                if widest < _PI and cosine < np.cos(widest):
                    continue
                _repel_blocks(
                    flat_rows,
                    flat_weighted,
                    flat_columns,
                    dim,
                    stride,
                    b,
                    other,
                    limits,
                    words,
                    places,
                    own,
                )
    pulled = np.empty_like(unit)
    for b in prange(num_blocks):
        for k in range(starts[b + 1] - starts[b]):
            for d in range(dim):
                total = _ZERO
                for worker in range(_WORKERS):
                    total += sums[worker, b * _BLOCK + k, d]
                pulled[starts[b] + k, d] = total * weights[b]
    return pulled


def block_starts(group_starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`starts` and `groups` of `repel_pairs` from where each group of the sorted rows begins, [G + 1]."""
    sizes = np.diff(group_starts)
    per_group = -(-sizes // _BLOCK)
    groups = np.repeat(np.arange(sizes.shape[0]), per_group)
    within = np.arange(groups.shape[0]) - np.repeat(np.cumsum(per_group) - per_group, per_group)
    starts = np.append(group_starts[groups] + within * _BLOCK, group_starts[-1])
    return starts.astype(np.int64), groups.astype(np.int64)
