"""The clusters that clicks select from: a centre each, and a label for every Gaussian."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from click_gaussian_ns.clusters.from_features import cluster_centers, cluster_segments
from click_gaussian_ns.clusters.homes import Homes
from click_gaussian_ns.clusters.pooling import Pooling
from click_gaussian_ns.types import NO_CLUSTER, GlobalClusters, Level

logger = logging.getLogger(__name__)

_ROWS_PER_BLOCK = 65536
_LEAST_MARGIN = 1e-3


@dataclass(frozen=True)
class FoundClusters:
    """The clusters of one level."""

    centers: Float[Tensor, "C D"]
    """Normalised mean features."""
    homes: Homes | None
    """For these clusters; None: Gaussians belong to the most similar one, as in the paper."""
    num_segments: int
    """Of all views."""


def from_features(pooling: Pooling, features: Float[Tensor, "N D"], level: Level, min_size: int) -> FoundClusters:
    """The paper's clusters: HDBSCAN on the segments' mean features."""
    means = pooling.segment_means(features, level.name)
    return FoundClusters(cluster_centers(means, cluster_segments(means, level, min_size)), None, means.shape[0])


def from_homes(
    pooling: Pooling, features: Float[Tensor, "N D"], level: Level, homes: Homes, num_clusters: int
) -> FoundClusters:
    """Clusters that are known already, with the centres that the features give them."""
    centers = home_centers(features, homes, pooling.visibility, num_clusters)
    return FoundClusters(centers, homes, pooling.levels[level.name].num_segments)


def home_centers(
    features: Float[Tensor, "N D"],
    homes: Homes,
    visibility: Float[Tensor, "N"],
    num_clusters: int,
) -> Float[Tensor, "C D"]:
    """Normalised mean feature of the Gaussians at home in each cluster, by how much they are seen and how surely.

    The means of segments mix what lies on both sides of their borders, for a thin part all of it.
    """
    at_home = homes.labels >= 0
    # where all are at a border, those count
    weights = (visibility * homes.margin.clamp_min(_LEAST_MARGIN))[at_home, None]
    sums = features.new_zeros(num_clusters, features.shape[1]).index_add_(
        0, homes.labels[at_home].long(), normalize(features[at_home], dim=-1) * weights
    )
    return normalize(sums, dim=-1)


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
    features: Float[Tensor, "N D"], found: FoundClusters, visibility: Float[Tensor, "N"], level: Level
) -> GlobalClusters:
    """Every Gaussian where it is at home, else in the most similar cluster. On CPU. No cluster, or one, is said, not
    raised."""
    if found.centers.shape[0] < 2:
        logger.warning(
            "%s level: %d segments gave %s; clicks select nothing until there are clusters: look at the "
            "masks (click-gaussian masks --preview sheet.jpg)",
            level.name,
            found.num_segments,
            "no cluster" if found.centers.shape[0] == 0 else "a single cluster",
        )
    if found.homes is None:
        labels, similarity = assign(features, found.centers)
    else:
        labels, similarity = found.homes.labels.clone(), torch.zeros(features.shape[0])
        at_home = labels >= 0
        own = normalize(features[at_home], dim=-1) * found.centers[labels[at_home].long()]
        similarity[at_home] = own.sum(dim=-1)
        labels[~at_home], similarity[~at_home] = assign(features[~at_home], found.centers)
    return GlobalClusters(level.name, found.centers, labels, confidence(visibility, similarity))
