"""Global clusters of one level: segment means of all views -> HDBSCAN -> centres -> a label for every Gaussian."""

from __future__ import annotations

import logging

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from click_gaussian_ns.types import NO_CLUSTER, GlobalClusters, Level

logger = logging.getLogger(__name__)

_ROWS_PER_BLOCK = 65536


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
    return torch.from_numpy(labels.astype(np.int64))


def cluster_centers(means: Float[Tensor, "S D"], labels: Int[Tensor, "S"]) -> Float[Tensor, "C D"]:
    """Normalised mean of each cluster's normalised segment means."""
    num_clusters = int(labels.max()) + 1 if labels.numel() else 0
    unit = normalize(means, dim=-1)
    sums = unit.new_zeros(num_clusters, unit.shape[1])
    kept = labels >= 0
    return normalize(sums.index_add(0, labels[kept], unit[kept]), dim=-1)


def assign(
    features: Float[Tensor, "N D"], centers: Float[Tensor, "C D"]
) -> tuple[Int[Tensor, "N"], Float[Tensor, "N"]]:
    """The most similar cluster of every Gaussian, and that cosine similarity; NO_CLUSTER and 0 if there is none."""
    num = features.shape[0]
    if centers.shape[0] == 0:
        return torch.full((num,), NO_CLUSTER, dtype=torch.int32), torch.zeros(num)
    labels, similarities = [], []
    for rows in features.split(_ROWS_PER_BLOCK):
        similarity, label = (normalize(rows, dim=-1) @ centers.T).max(dim=-1)
        labels.append(label.to(torch.int32))
        similarities.append(similarity)
    return torch.cat(labels), torch.cat(similarities)


def confidence(visibility: Float[Tensor, "N"], similarity: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
    """In [0, 1]: v / (1 + v) for v px of blending weight seen over all views, times the similarity to the cluster."""
    return visibility / (1.0 + visibility) * similarity.clamp(0.0, 1.0)


def make_clusters(
    features: Float[Tensor, "N D"],
    means: Float[Tensor, "S D"],
    visibility: Float[Tensor, "N"],
    level: Level,
    min_size: int,
) -> GlobalClusters:
    """Global clusters from one level's features and segment means. None found is said, not raised."""
    centers = cluster_centers(means, cluster_segments(means, level, min_size))
    if centers.shape[0] < 2:
        logger.warning(
            "%s level: %d segments gave %s (min_cluster_size %d); %s",
            level.name,
            means.shape[0],
            "no cluster" if centers.shape[0] == 0 else "a single cluster",
            min_size,
            "clicks select nothing until there are clusters: train longer, or lower the cluster views fraction",
        )
    labels, similarity = assign(features.detach(), centers.to(features))
    return GlobalClusters(level.name, centers, labels, confidence(visibility.to(similarity), similarity))
