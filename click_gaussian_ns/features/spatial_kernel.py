"""The spatial term (Eq. 12) and its gradient on CPU, in an order in which neighbours are near in memory too."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import prange

from click_gaussian_ns.features.levels import FEATURE_DIM
from click_gaussian_ns.features.register_tiles import sum_scaled_24
from click_gaussian_ns.raster.parallel_kernel import parallel_kernel
from click_gaussian_ns.raster.scalar_math import prefetch

_CHUNK = 256
_AHEAD = 16
_SUMS_IN_ANY_ORDER = {"reassoc", "contract", "nsz"}
_ZERO = np.float32(0.0)


@parallel_kernel(fastmath=_SUMS_IN_ANY_ORDER)
@no_type_check
def add_spatial_gradient(
    features, order, neighbors, reverse_offsets, reverse_neighbors, sampled, inverse_norms, scale, gradient
):
    """Adds the scaled gradient to `gradient` [N, 24]; returns unscaled sums [chunks] of the similarities.

    order to reverse_neighbors: of `Neighbors`; sampled [N] bool; inverse_norms [N], 0 for a zero feature. A Gaussian is
    drawn toward its neighbours if it is sampled, and toward those that are and have it among theirs. A pair of two is
    seen from both its ends: half of what all are drawn is the sum.
    """
    num, num_neighbors = neighbors.shape
    num_chunks = (num + _CHUNK - 1) // _CHUNK
    sums = np.zeros(num_chunks, np.float64)
    flat, flat_gradient = features.reshape(-1), gradient.reshape(-1)
    counted, inverses = np.empty(num, np.uint8), np.empty(num, np.float32)
    for p in prange(num):
        counted[p], inverses[p] = sampled[order[p]], inverse_norms[order[p]]
    for chunk in prange(num_chunks):
        first, last = chunk * _CHUNK, min(num, (chunk + 1) * _CHUNK)
        size = reverse_offsets[last] - reverse_offsets[first] + (last - first) * num_neighbors
        # what draws each Gaussian first: most are drawn by none, and memory is asked for the others' rows ahead of time
        found = np.empty(size + 1, np.int32)
        drawn, ends = np.empty(_CHUNK, np.int32), np.zeros(_CHUNK + 1, np.int64)
        num_drawn, end = 0, 0
        for p in range(first, last):
            for r in range(reverse_offsets[p], reverse_offsets[p + 1]):
                found[end] = reverse_neighbors[r]
                end += counted[reverse_neighbors[r]]
            if counted[p] != 0:
                for k in range(num_neighbors):
                    found[end] = neighbors[p, k]
                    end += 1
            drawn[num_drawn], ends[num_drawn + 1] = p, end
            num_drawn += end > ends[num_drawn]
        toward = np.empty(FEATURE_DIM, np.float32)
        total = 0.0
        for place in range(num_drawn):
            ahead = np.intp(order[drawn[min(place + _AHEAD, num_drawn - 1)]]) * FEATURE_DIM
            for part in (0, FEATURE_DIM - 1):
                prefetch(flat, ahead + part)
                prefetch(flat_gradient, ahead + part)
            start, count = ends[place], ends[place + 1] - ends[place]
            sum_scaled_24(toward, flat, order, found, np.intp(start), np.intp(count), inverses)
            i, inverse = order[drawn[place]], inverses[drawn[place]]
            dot = _ZERO
            for d in range(FEATURE_DIM):
                dot += toward[d] * features[i, d]
            total += dot * inverse
            radial = dot * inverse * inverse
            for d in range(FEATURE_DIM):
                gradient[i, d] += scale * inverse * (toward[d] - radial * features[i, d])
        sums[chunk] = 0.5 * total
    return sums
