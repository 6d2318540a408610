"""Clusters of one level as in the paper: means of segments (Eq. 6) -> HDBSCAN -> normalised means of its clusters."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from click_gaussian_ns.types import NO_CLUSTER, Level


def min_cluster_size(num_views: int, views_fraction: float) -> int:
    """HDBSCAN's min_cluster_size, proportional to the number of training views; at least 2, its own minimum."""
    return max(2, round(num_views * views_fraction))


def cluster_segments(means: Float[Tensor, "S D"], level: Level, min_size: int) -> Int[Tensor, "S"]:
    """HDBSCAN's label of every segment mean (normalised first), -1 = noise. Few or no segments give all noise."""
    unit = normalize(means.double(), dim=-1).numpy()
    if unit.shape[0] < max(2, min_size):
        return torch.full((unit.shape[0],), NO_CLUSTER, dtype=torch.int64)
    import hdbscan

    labels = hdbscan.HDBSCAN(
        min_cluster_size=min_size, cluster_selection_epsilon=level.cluster_epsilon, core_dist_n_jobs=1
    ).fit_predict(unit)
    return torch.from_numpy(labels).long()


def cluster_centers(means: Float[Tensor, "S D"], labels: Int[Tensor, "S"]) -> Float[Tensor, "C D"]:
    """Normalised mean of each cluster's normalised segment means."""
    num_clusters = int(labels.max()) + 1 if labels.numel() else 0
    unit = normalize(means, dim=-1)
    sums = unit.new_zeros(num_clusters, unit.shape[1])
    kept = labels >= 0
    return normalize(sums.index_add(0, labels[kept], unit[kept]), dim=-1)
