"""How far 2D segments of different views are the same thing in 3D, told before anything is learned.

Geometry is frozen, so a segment is a known set of weights on Gaussians: m_si px of Gaussian i in segment s. Of Gaussian
i's weight in the view of segment t, the share p(t|i) lies in t. What s is, its core says: a Gaussian counts by its
weight in s times the share of its weight in that view that lies there. Of the core of s that t's view sees, the share
r(t|s) falls into t; overlap(s, t) = sqrt(r(t|s) r(s|t)). A segment that merges two things overlaps neither well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int32, Int64
from numba import njit, prange
from scipy.sparse import csr_array

from click_gaussian_ns.raster.parallel_kernel import parallel_kernel
from click_gaussian_ns.raster.sparse import csr
from click_gaussian_ns.types import SegmentWeights

_SEEN_PX = 0.02
"""A Gaussian with less weight in a view is not seen there."""
_SEEN_SHARE = 0.2
"""A view tells nothing of a segment of which it sees less than this."""
_LEAST_TOLD = 0.01
"""Smaller shares count as 0: only pairs of segments that share Gaussians are held."""
_ROWS_AT_ONCE = 256
"""Segments that are compared with all others at once."""
_CHUNKS = 32
"""Parts that threads take of these, each with memory of its own for a number per segment."""
_ZERO = np.float32(0.0)


@dataclass(frozen=True)
class SegmentOverlaps:
    """The overlap in [0, 1] of every segment with those of other views that share Gaussians with it; else it is 0."""

    row_offsets: Int64[np.ndarray, " S_plus_1"]
    columns: Int32[np.ndarray, " nnz"]
    values: Float32[np.ndarray, " nnz"]
    """Symmetric."""
    num_views: Int32[np.ndarray, " S"]
    """Views that see the segment, its own among them."""


def segment_overlaps(matrix: SegmentWeights) -> SegmentOverlaps:
    """Of all segments of one level. Memory grows with the number of pairs that share Gaussians."""
    view_ids = matrix.view_ids.numpy().astype(np.int64)
    starts = np.flatnonzero(np.diff(view_ids, prepend=-1, append=-1))
    num = matrix.num_segments
    if num == 0:
        none = np.zeros(0, np.int32)
        return SegmentOverlaps(np.zeros(1, np.int64), none, none.astype(np.float32), none)
    num_pixels = matrix.num_pixels.numpy().astype(np.float32)
    offsets, ids, cores, shares = _cores(*csr(matrix), num_pixels, starts, matrix.num_gaussians)
    columns = _by_gaussian(offsets, ids, shares, matrix.num_gaussians)
    places = np.searchsorted(view_ids[starts[:-1]], view_ids)
    parts, num_views = [], np.empty(num, np.int32)
    for first in range(0, num, _ROWS_AT_ONCE):
        last = min(num, first + _ROWS_AT_ONCE)
        found, values, counts, seen_by = _told(first, last, offsets, ids, cores, *columns, places, len(starts) - 1)
        num_views[first:last] = seen_by
        used = list(enumerate(counts))
        parts.append((counts, *(np.concatenate([rows[r, :n] for r, n in used]) for rows in (found, values))))
    counts, indices, values = (np.concatenate(part) for part in zip(*parts))
    told = csr_array((values, indices, np.concatenate([[0], counts.cumsum()])), (num, num))
    told.sort_indices()
    mutual = told.multiply(told.T).tocsr()
    mutual.sort_indices()
    return SegmentOverlaps(
        mutual.indptr.astype(np.int64),
        mutual.indices.astype(np.int32),
        np.sqrt(mutual.data).clip(0.0, 1.0).astype(np.float32),
        num_views,
    )


@parallel_kernel()
@no_type_check
def _cores(offsets, ids, means, num_pixels, starts, num_gaussians):
    """The entries of Gaussians that the view sees: offsets, Gaussians, weights in the core, and their shares.

    A share: of the Gaussian's weight in the view, what lies in the row. Most entries are of what is hardly seen.
    """
    num_rows = offsets.shape[0] - 1
    shares = np.zeros(ids.shape[0], np.float32)
    kept_offsets = np.zeros(num_rows + 1, np.int64)
    for v in prange(starts.shape[0] - 1):
        in_view = np.zeros(num_gaussians, np.float32)
        for s in range(starts[v], starts[v + 1]):
            for k in range(offsets[s], offsets[s + 1]):
                in_view[ids[k]] += means[k] * num_pixels[s]
        for s in range(starts[v], starts[v + 1]):
            for k in range(offsets[s], offsets[s + 1]):
                if in_view[ids[k]] > np.float32(_SEEN_PX):
                    shares[k] = means[k] * num_pixels[s] / in_view[ids[k]]
                    kept_offsets[s + 1] += shares[k] > _ZERO
    for s in range(num_rows):
        kept_offsets[s + 1] += kept_offsets[s]
    kept_ids = np.empty(kept_offsets[num_rows], np.int32)
    cores, kept_shares = np.empty(kept_ids.shape[0], np.float32), np.empty(kept_ids.shape[0], np.float32)
    for s in prange(num_rows):
        place = kept_offsets[s]
        for k in range(offsets[s], offsets[s + 1]):
            if shares[k] > _ZERO:
                kept_ids[place], kept_shares[place] = ids[k], shares[k]
                cores[place] = means[k] * num_pixels[s] * shares[k]
                place += 1
    return kept_offsets, kept_ids, cores, kept_shares


@njit(cache=True, nogil=True)
@no_type_check
def _by_gaussian(offsets, ids, values, num_gaussians):
    """The entries column by column: where each column begins [N + 1], rows and values."""
    starts = np.zeros(num_gaussians + 1, np.int64)
    for k in range(ids.shape[0]):
        starts[ids[k] + 1] += 1
    for i in range(num_gaussians):
        starts[i + 1] += starts[i]
    place = starts[:-1].copy()
    rows, found = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32)
    for s in range(offsets.shape[0] - 1):
        for k in range(offsets[s], offsets[s + 1]):
            rows[place[ids[k]]], found[place[ids[k]]] = s, values[k]
            place[ids[k]] += 1
    return starts, rows, found


@parallel_kernel()
@no_type_check
def _told(first, last, offsets, ids, cores, starts, rows, shares, places, num_views):
    """What the views tell of some segments: into which segments their cores fall, and by which share of what is seen.

    Returns columns and values [last - first, S], used up to `counts` in each row, and how many views see each segment.
    """
    num, num_rows = last - first, offsets.shape[0] - 1
    columns, values = np.empty((num, num_rows), np.int32), np.empty((num, num_rows), np.float32)
    counts, seen_by = np.zeros(num, np.int64), np.zeros(num, np.int32)
    num_chunks = min(num, _CHUNKS)
    for chunk in prange(num_chunks):
        falls, seen = np.zeros(num_rows, np.float32), np.zeros(num_views, np.float32)
        touched = np.empty(num_rows, np.int32)
        for s in range(first + chunk * num // num_chunks, first + (chunk + 1) * num // num_chunks):
            num_touched = 0
            for k in range(offsets[s], offsets[s + 1]):
                for e in range(starts[ids[k]], starts[ids[k] + 1]):
                    weight = cores[k] * shares[e]
                    if weight > _ZERO:
                        if falls[rows[e]] == _ZERO:
                            touched[num_touched] = rows[e]
                            num_touched += 1
                        falls[rows[e]] += weight
            for t in touched[:num_touched]:
                seen[places[t]] += falls[t]
            own = places[s]
            least = np.float32(_SEEN_SHARE) * seen[own]
            seen_by[s - first] = 1
            for v in range(num_views):
                seen_by[s - first] += seen[v] > least and v != own
            for t in touched[:num_touched]:
                view = places[t]
                if view != own and seen[view] > least:  # segments of one view are apart
                    share = falls[t] / seen[view]
                    if share >= np.float32(_LEAST_TOLD):
                        columns[s - first, counts[s - first]], values[s - first, counts[s - first]] = t, share
                        counts[s - first] += 1
            for t in touched[:num_touched]:
                seen[places[t]] = falls[t] = _ZERO
    return columns, values, counts, seen_by
