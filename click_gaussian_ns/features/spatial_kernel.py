"""The spatial term (Eq. 12) and its gradient on CPU, in an order in which neighbours are near in memory too."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit, prange

from click_gaussian_ns.features.levels import FEATURE_DIM
from click_gaussian_ns.features.register_tiles import sum_scaled_24

_CHUNK = 256
_SUMS_IN_ANY_ORDER = {"reassoc", "contract", "nsz"}
_ZERO = np.float32(0.0)


@njit(parallel=True, cache=True, nogil=True, fastmath=_SUMS_IN_ANY_ORDER)
@no_type_check
def add_spatial_gradient(
    features, order, neighbors, reverse_offsets, reverse_neighbors, sampled, inverse_norms, scale, gradient
):
    """Adds the scaled gradient to `gradient` [N, 24]; returns unscaled sums [chunks] of the similarities.

    order to reverse_neighbors: of `Neighbors`, and sampled [N] bool and inverse_norms [N], 0 for a zero feature, follow
    that order too. A Gaussian is drawn toward its neighbours if it is sampled and toward those that are and have it
    among theirs. A pair of two is seen from both its ends: half of what all are drawn is the sum.
    """
    num, num_neighbors = neighbors.shape
    num_chunks = (num + _CHUNK - 1) // _CHUNK
    sums = np.zeros(num_chunks, np.float64)
    flat = features.reshape(-1)
    for chunk in prange(num_chunks):
        first, last = chunk * _CHUNK, min(num, (chunk + 1) * _CHUNK)
        most = 0
        for p in range(first, last):
            most = max(most, reverse_offsets[p + 1] - reverse_offsets[p])
        found = np.empty(most + num_neighbors + 1, np.int32)
        toward = np.empty(FEATURE_DIM, np.float32)
        total = 0.0
        for p in range(first, last):
            count = 0
            for r in range(reverse_offsets[p], reverse_offsets[p + 1]):
                found[count] = reverse_neighbors[r]
                count += sampled[reverse_neighbors[r]]
            if sampled[p]:
                for k in range(num_neighbors):
                    found[count] = neighbors[p, k]
                    count += 1
            if count == 0:
                continue
            sum_scaled_24(toward, flat, order, found, np.intp(count), inverse_norms)
            i, inverse = order[p], inverse_norms[p]
            dot = _ZERO
            for d in range(FEATURE_DIM):
                dot += toward[d] * features[i, d]
            total += dot * inverse
            radial = dot * inverse * inverse
            for d in range(FEATURE_DIM):
                gradient[i, d] += scale * inverse * (toward[d] - radial * features[i, d])
        sums[chunk] = 0.5 * total
    return sums
