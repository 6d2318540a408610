"""CPU kernels of the losses whose literal form needs all pairs; each gives a value and its gradient in one pass.

All take normalised vectors and return the gradient with respect to them; the chain rule through the normalisation is
the caller's. Deterministic: a thread writes only to rows that it owns.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit, prange

from click_gaussian_ns.features.register_tiles import COLUMNS, ROWS, add_eight, lowest_bit, products_above

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
def _repel_blocks(rows, weighted, columns, dim, first, second, margin, sums):
    """Add to sums [B * _BLOCK, ...] what two blocks of different groups give each other."""
    num_chunks = rows.shape[1] // 8
    stride = np.intp(rows.shape[1])
    flat_rows, flat_columns, flat_sums = rows.reshape(-1), columns.reshape(-1), sums.reshape(-1)
    flat_weighted = weighted.reshape(-1)
    tile = np.intp(second * dim * _BLOCK)
    other = np.intp(second * _BLOCK) * stride
    for quad in range(_BLOCK // ROWS):
        start = np.intp(first * _BLOCK + quad * ROWS) * stride
        words = products_above(flat_rows, start, stride, flat_columns, tile, np.intp(dim), margin)
        if words[0] | words[1] | words[2] | words[3] == 0:
            continue
        for r in range(ROWS):
            word, own = words[r], start + r * stride
            while word != 0:
                k = other + lowest_bit(word) * stride
                for chunk in range(num_chunks):
                    add_eight(flat_sums, own + 8 * chunk, flat_weighted, k + 8 * chunk)
                    add_eight(flat_sums, k + 8 * chunk, flat_weighted, own + 8 * chunk)
                word &= word - np.uint32(1)


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def repel_pairs(unit, starts, groups, weights, margin):
    """Sum over ordered pairs of different groups with <u_p, u_q> > margin of w_p w_q u_q: half the gradient of Eq. 4,
    unscaled; in the paper all weights are 1.

    unit [P, D] float32 normalised, rows sorted by group and cut into blocks of at most _BLOCK rows of one group:
    starts [B + 1], groups [B], weights [B] float32. The loss itself is the sum of <row of the result, u_p>, its
    gradient twice the result. Blocks are padded with zero rows, which no margin > 0 keeps. Pairs of blocks whose cones
    of directions are further apart than the margin allows are skipped: exact, and most once features have separated.
    A pair of blocks is looked at once for both its ends; a fixed number of workers add to sums of their own.
    """
    dim = unit.shape[1]
    num_blocks = starts.shape[0] - 1
    axes, angles = _cones(unit, starts)
    rows = np.zeros((num_blocks * _BLOCK, (dim + 7) // 8 * 8), np.float32)
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
    sums = np.empty((_WORKERS, *rows.shape), np.float32)
    for worker in prange(_WORKERS):
        own = sums[worker]
        own[:] = _ZERO
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
                _repel_blocks(rows, weighted, columns, dim, b, other, margin, own)
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


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def guide_to_clusters(features, centers, threshold, margin, homes):
    """Eq. 7 and 8 of one level: sums over Gaussians (pull, push), and the gradient of their total [N, D], unscaled.

    features [N, D] float32, not normalised; centers [C, D] float32 normalised. Push is the mean over the C clusters.
    homes [N] int32: the cluster that pulls each Gaussian, below 0 for none; empty: the most similar one, if it exceeds
    the threshold.
    """
    num, dim, num_clusters = features.shape[0], features.shape[1], centers.shape[0]
    gradient = np.zeros((num, dim), np.float32)
    pulls, pushes = np.zeros(num, np.float32), np.zeros(num, np.float32)
    columns = np.ascontiguousarray(centers.T)
    share = np.float32(1.0 / num_clusters)
    num_chunks = (num + _BLOCK - 1) // _BLOCK
    for chunk in prange(num_chunks):
        dots = np.empty(num_clusters, np.float32)
        toward = np.empty(dim, np.float32)
        for i in range(chunk * _BLOCK, min(num, (chunk + 1) * _BLOCK)):
            norm = _ZERO
            for d in range(dim):
                norm += features[i, d] * features[i, d]
            inverse = _ONE / max(np.sqrt(norm), np.float32(1e-12))
            dots[:] = _ZERO
            for d in range(dim):
                value, column = features[i, d] * inverse, columns[d]
                for c in range(num_clusters):
                    dots[c] += value * column[c]
            best = 0
            for c in range(num_clusters):
                if dots[c] > dots[best]:
                    best = c
            toward[:] = _ZERO
            is_pulled = dots[best] > threshold
            if homes.shape[0] > 0:
                is_pulled = homes[i] >= 0
                best = homes[i] if is_pulled else best
            if is_pulled:
                pulls[i] = dots[best]
                for d in range(dim):
                    toward[d] -= centers[best, d]
            push = _ZERO
            for c in range(num_clusters):
                if dots[c] > margin and c != best:
                    push += dots[c]
                    for d in range(dim):
                        toward[d] += share * centers[c, d]
            pushes[i] = push * share
            radial = _ZERO
            for d in range(dim):
                radial += toward[d] * features[i, d] * inverse
            for d in range(dim):
                gradient[i, d] = (toward[d] - radial * features[i, d] * inverse) * inverse
    return pulls, pushes, gradient


@njit(parallel=True, cache=True, nogil=True)
@no_type_check
def align_neighbors(features, neighbors, reverse_offsets, reverse_ids, sampled):
    """Eq. 12: per-Gaussian sums of cosine similarities to the K neighbours, and their gradient [N, D], unscaled.

    features [N, D] float32; neighbors [N, K]; who has Gaussian j as neighbour: reverse_ids[reverse_offsets[j] :
    reverse_offsets[j + 1]]; only terms of the `sampled` Gaussians count, but both ends of a pair get gradient.
    """
    num, dim = features.shape
    inverse = np.empty(num, np.float32)
    for i in prange(num):
        norm = _ZERO
        for d in range(dim):
            norm += features[i, d] * features[i, d]
        # a zero feature has no direction: no similarity and no gradient
        inverse[i] = _ONE / np.sqrt(norm) if norm > _ZERO else _ZERO
    sums = np.zeros(num, np.float32)
    gradient = np.zeros((num, dim), np.float32)
    num_chunks = (num + _BLOCK - 1) // _BLOCK
    for chunk in prange(num_chunks):
        toward = np.empty(dim, np.float32)
        for i in range(chunk * _BLOCK, min(num, (chunk + 1) * _BLOCK)):
            toward[:] = _ZERO
            if sampled[i]:
                for k in range(neighbors.shape[1]):
                    j = neighbors[i, k]
                    scale = inverse[j]
                    for d in range(dim):
                        toward[d] += features[j, d] * scale
                total = _ZERO
                for d in range(dim):
                    total += toward[d] * features[i, d]
                sums[i] = total * inverse[i]
            for r in range(reverse_offsets[i], reverse_offsets[i + 1]):
                j = reverse_ids[r]
                if sampled[j]:
                    scale = inverse[j]
                    for d in range(dim):
                        toward[d] += features[j, d] * scale
            radial = _ZERO
            for d in range(dim):
                radial += toward[d] * features[i, d]
            radial *= inverse[i] * inverse[i]
            for d in range(dim):
                gradient[i, d] = (toward[d] - radial * features[i, d]) * inverse[i]
    return sums, gradient
