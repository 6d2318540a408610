"""Clusters of one level without a training step: things that share 2D segments in most views are one.

The segments of all views are joined by their overlap in 3D; groups that few views bear out are dropped; Gaussians go to
the group that holds most of their weight; groups that the segments do not part are one; Gaussians are then at home
where they share segments most. Every constant is measured in docs/accuracy.md.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from click_gaussian_ns.clusters.homes import Homes, find_homes, merge_together, relabel
from click_gaussian_ns.clusters.linkage import linked_groups
from click_gaussian_ns.clusters.overlap import segment_overlaps
from click_gaussian_ns.clusters.pooling import Pooling
from click_gaussian_ns.types import NO_CLUSTER

_LEAST_OVERLAP = 0.5
"""Two groups of segments are one if they overlap by this on average."""
_LEAST_VIEWS = 2
_LEAST_SUPPORT = 0.2
"""Of the views that see a group, the share that has a segment in it. Segments that merge two things overlap each other
too, but different ones are merged in every view: few views bear such a group out."""
_SAME_AFFINITY = 0.75
_SAME_IN_CLEAR_SIGHT = 0.8
"""Groups that share segments more often than this are one (`homes.merge_together`): sides that few views show."""


def clusters_from_segments(pooling: Pooling, level: str) -> tuple[Homes, int]:
    """Where every Gaussian is at home, and the number of clusters: 0, 1, ..., each with Gaussians at home in it."""
    matrix = pooling.levels[level]
    overlaps = segment_overlaps(matrix)
    groups = linked_groups(overlaps.row_offsets, overlaps.columns, overlaps.values, _LEAST_OVERLAP)
    view_ids = matrix.view_ids.numpy()
    kept = borne_out(groups, view_ids, overlaps.num_views)
    if not kept.any():
        num = matrix.num_gaussians
        return Homes(torch.full((num,), NO_CLUSTER, dtype=torch.int32), torch.zeros(num)), 0
    places = np.where(kept, np.cumsum(kept) - 1, NO_CLUSTER)[groups]
    of_segment = torch.from_numpy(places[:, None] == np.arange(kept.sum())[None]).float()
    members, _ = pooling.two_largest(of_segment, level)
    members, num_clusters = without_gaps(members)
    masses, view_ids = pooling.masses(members, num_clusters, level), pooling.segments(level)[0]
    same = merge_together(masses, view_ids, _SAME_AFFINITY, _SAME_IN_CLEAR_SIGHT)
    members, num_clusters = without_gaps(relabel(members, same))
    homes = find_homes(pooling, level, members, num_clusters)
    labels, num_clusters = without_gaps(homes.labels)
    return Homes(labels, homes.margin), num_clusters


def borne_out(
    groups: Int[np.ndarray, " S"], view_ids: Int[np.ndarray, " S"], num_views: Int[np.ndarray, " S"]
) -> Bool[np.ndarray, " G"]:
    """The groups that enough of the views that see them have a segment in.

    Args:
        groups: of every segment, 0, 1, ...
        view_ids: the segment's view.
        num_views: that see the segment.
    """
    num_groups = int(groups.max(initial=-1)) + 1
    pairs = np.unique(np.stack([groups, view_ids]), axis=1)
    having = np.bincount(pairs[0], minlength=num_groups)
    sizes = np.bincount(groups, minlength=num_groups)
    seeing = np.bincount(groups, num_views, minlength=num_groups) / np.maximum(sizes, 1)
    return (having >= _LEAST_VIEWS) & (having >= _LEAST_SUPPORT * seeing)


def without_gaps(labels: Tensor) -> tuple[Tensor, int]:
    """The labels [N] int32 renumbered 0, 1, ... in their order, and how many there are; NO_CLUSTER stays."""
    used = torch.unique(labels[labels >= 0])
    found = torch.searchsorted(used, labels.clamp_min(0)).to(torch.int32)
    return torch.where(labels >= 0, found, NO_CLUSTER).to(torch.int32), int(used.shape[0])
