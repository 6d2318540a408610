"""Labels of pixels that all views agree on: clusters, in place of each view's own segments.

Segments merge and split things, in every view other ones; clusters were made of all views. So a pixel gets the cluster
that its segment is mostly of: borders are the segment's. Where a segment lies on several clusters, it is the one of
these that the Gaussians at the pixel are at home in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Int, Int32
from numba import njit
from torch import Tensor

from click_gaussian_ns.clusters.homes import Homes
from click_gaussian_ns.clusters.pooling import Pooling
from click_gaussian_ns.raster.sparse import csr
from click_gaussian_ns.types import NO_CLUSTER, UNASSIGNED, BlendWeights, Level

_LEAST_SHARE = 0.2
"""A segment lies on a cluster if so much of its weight does."""
_MOST_CLUSTERS = 4
"""That a segment may lie on: the largest, each with `_LEAST_SHARE` at least."""


@dataclass(frozen=True)
class _OfLevel:
    homes: Int32[np.ndarray, " N"]
    lies_on: Int32[np.ndarray, "S K"]
    """Clusters of every segment of all views, the largest first, then NO_CLUSTER."""
    first_rows: Int[np.ndarray, " V_plus_1"]
    """Where the segments of each view start; they are in order of their IDs."""
    segment_ids: Int[np.ndarray, " S"]


class AgreedLabels:
    """What the segments of each view are, told by clusters."""

    def __init__(self, pooling: Pooling, levels: Sequence[Level], homes: Mapping[str, tuple[Homes, int]]) -> None:
        """`homes`: of every level, and how many clusters there are."""
        self._levels = [_of_level(pooling, level.name, *homes[level.name]) for level in levels]

    def of(self, view: int, labels: Int[Tensor, "L P"], rows: BlendWeights) -> Int[Tensor, "L P"]:
        """Cluster + 1 of every pixel; UNASSIGNED where it is in no segment, or its segment on no cluster.

        Args:
            view: index of the view.
            labels: segments of its pixels, coarse to fine.
            rows: of the same pixels.
        """
        agreed = [_agreed(own, view, of_level.numpy(), rows) for own, of_level in zip(self._levels, labels)]
        return torch.from_numpy(np.stack(agreed)).to(labels)


def _of_level(pooling: Pooling, level: str, homes: Homes, num_clusters: int) -> _OfLevel:
    masses = pooling.masses(homes.labels, num_clusters, level)
    shares = masses / masses.sum(dim=1, keepdim=True).clamp_min(1e-9)
    largest, clusters = shares.topk(min(_MOST_CLUSTERS, num_clusters), dim=1)
    is_on = largest >= _LEAST_SHARE
    is_on[:, :1] = largest[:, :1] > 0
    view_ids = pooling.levels[level].view_ids
    num_views = int(view_ids.max()) + 1 if view_ids.numel() else 0
    return _OfLevel(
        homes.labels.numpy(),
        torch.where(is_on, clusters, NO_CLUSTER).to(torch.int32).numpy(),
        np.searchsorted(view_ids.numpy(), np.arange(num_views + 1)),
        pooling.levels[level].segment_ids.numpy(),
    )


def _agreed(own: _OfLevel, view: int, labels: Int[np.ndarray, " P"], rows: BlendWeights) -> Int[np.ndarray, " P"]:
    agreed = np.full(labels.shape, UNASSIGNED, np.int64)
    if view + 1 >= len(own.first_rows) or own.lies_on.shape[1] == 0:  # there is no later segment, or no cluster
        return agreed
    first, last = own.first_rows[view : view + 2]
    ids = own.segment_ids[first:last]
    inside = (labels != UNASSIGNED) & np.isin(labels, ids)
    lies_on = own.lies_on[first + np.searchsorted(ids, labels[inside])]
    offsets, gaussians, weights = csr(rows)
    found = _where_pixels_are(offsets, gaussians, weights, np.flatnonzero(inside), own.homes, lies_on)
    agreed[inside] = np.where(found == NO_CLUSTER, UNASSIGNED, found + 1)
    return agreed


@njit(cache=True, nogil=True)
@no_type_check
def _where_pixels_are(offsets, gaussians, weights, pixels, homes, lies_on):
    """Of the clusters in a pixel's row of `lies_on`, the one that has most of its weight; the first if none has any."""
    found = np.empty(pixels.shape[0], np.int64)
    sums = np.empty(lies_on.shape[1], np.float32)
    for k in range(pixels.shape[0]):
        found[k] = lies_on[k, 0]
        if lies_on.shape[1] == 1 or lies_on[k, 1] < 0:
            continue
        sums[:] = 0.0
        for e in range(offsets[pixels[k]], offsets[pixels[k] + 1]):
            for c in range(lies_on.shape[1]):
                if lies_on[k, c] >= 0 and lies_on[k, c] == homes[gaussians[e]]:
                    sums[c] += weights[e]
        found[k] = lies_on[k, np.argmax(sums)]
    return found
