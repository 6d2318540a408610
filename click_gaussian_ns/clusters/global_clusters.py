"""Global clusters of one level: segment means of all views -> HDBSCAN -> centres -> a label for every Gaussian.

Beyond the paper, and each by a field of `ClusterRule`: clusters that are alike, or that the segments do not part, are
one; clusters of segments that cover several parts are dropped; Gaussians are at home where the segments say.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from click_gaussian_ns.clusters.homes import Homes, affinities, elected_shares, find_homes
from click_gaussian_ns.clusters.pooling import Pooling
from click_gaussian_ns.types import NO_CLUSTER, GlobalClusters, Level

logger = logging.getLogger(__name__)

_ROWS_PER_BLOCK = 65536


@dataclass(frozen=True)
class ClusterRule:
    """Which segments make a cluster. The defaults are HDBSCAN alone, as in the paper."""

    min_size: int
    """HDBSCAN's min_cluster_size, segments."""
    merge_similarity: float = 1.0
    """Clusters whose centres are more similar than this (cosine, average linkage) are one; 1 = none are."""
    elected_share: float = 0.0
    """Clusters whose own Gaussians hold a smaller share of the weight in their segments are dropped."""
    merge_affinity: float = 1.0
    """Clusters that share segments more often than this (`homes.affinities`) are one; 1 = none are."""
    cores: bool = False
    """Whether segments are compared by the means of their cores (`Pooling.core_means`)."""
    homes: bool = False
    """Whether Gaussians belong to the cluster that they share segments with, and are what its centre is the mean of."""


@dataclass(frozen=True)
class FoundClusters:
    """The clusters of one level."""

    centers: Float[Tensor, "C D"]
    """Normalised mean features."""
    homes: Homes | None
    """For these clusters; None: Gaussians belong to the most similar one."""
    num_segments: int
    """Of all views."""


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


def merge_similar(means: Float[Tensor, "S D"], labels: Int[Tensor, "S"], similarity: float) -> Int[Tensor, "S"]:
    """One label for clusters whose centres are alike: HDBSCAN parts what differs in density, if not in direction."""
    centers = cluster_centers(means, labels).double().numpy()
    if centers.shape[0] < 2 or similarity >= 1.0:
        return labels
    from scipy.cluster.hierarchy import fcluster, linkage

    distances = np.clip(1.0 - centers @ centers.T, 0.0, None)[np.triu_indices(len(centers), 1)]
    merged = fcluster(linkage(distances, "average"), 1.0 - similarity, "distance")
    _, first, place = np.unique(merged, return_index=True, return_inverse=True)
    return _relabel(labels, torch.from_numpy(first[place]))


def _relabel(labels: Int[Tensor, "*rest"], new: Int[Tensor, "C"]) -> Int[Tensor, "*rest"]:
    """Labels 0, 1, ... without gaps, in the order of `new`'s, in which clusters below 0 vanish."""
    kept = torch.unique(new[new >= 0])
    table = torch.full((new.shape[0] + 1,), NO_CLUSTER, dtype=labels.dtype)  # its last entry is that of NO_CLUSTER
    table[:-1][new >= 0] = torch.searchsorted(kept, new[new >= 0]).to(labels.dtype)
    return table[labels.long()]


def find_clusters(pooling: Pooling, features: Float[Tensor, "N D"], level: Level, rule: ClusterRule) -> FoundClusters:
    """Clusters of one level's features, on CPU."""
    means = (pooling.core_means if rule.cores else pooling.segment_means)(features, level.name).cpu()
    labels = merge_similar(means, cluster_segments(means, level, rule.min_size), rule.merge_similarity)
    centers = cluster_centers(means, labels)
    by_features_alone = rule.elected_share <= 0 and rule.merge_affinity >= 1.0 and not rule.homes
    if by_features_alone or not centers.shape[0]:
        return FoundClusters(centers, None, means.shape[0])
    members = assign(features, centers.to(features))[0]
    if rule.elected_share > 0:
        elected = elected_shares(pooling.masses(members, centers.shape[0], level.name), labels)
        if bool((elected < rule.elected_share).any()):
            labels = _relabel(labels, torch.where(elected < rule.elected_share, NO_CLUSTER, torch.arange(len(elected))))
            centers = cluster_centers(means, labels)
            members = assign(features, centers.to(features))[0]
    if not centers.shape[0]:
        return FoundClusters(centers, None, means.shape[0])
    if rule.merge_affinity < 1.0:
        masses = pooling.masses(members, centers.shape[0], level.name)
        new = merge_together(masses, pooling.segments(level.name)[0], rule.merge_affinity)
        labels, members = _relabel(labels, new), _relabel(members.cpu(), new).to(members.device)
        centers = cluster_centers(means, labels)
    if not rule.homes:
        return FoundClusters(centers, None, means.shape[0])
    homes, centers = without_empty(find_homes(pooling, level.name, members, centers.shape[0]), centers)
    return FoundClusters(home_centers(features.cpu(), homes, pooling.visibility.cpu(), centers), homes, means.shape[0])


def without_empty(homes: Homes, centers: Float[Tensor, "C D"]) -> tuple[Homes, Float[Tensor, "K D"]]:
    """Less the clusters in which nothing is at home: a click on one would select nothing."""
    taken = torch.zeros(centers.shape[0], dtype=torch.bool)
    taken[homes.labels[homes.labels >= 0].long()] = True
    new = torch.where(taken, torch.arange(centers.shape[0]), NO_CLUSTER)
    return Homes(_relabel(homes.labels, new), homes.margin), centers[taken]


def merge_together(masses: Float[Tensor, "S C"], view_ids: Int[Tensor, "S"], affinity: float) -> Int[Tensor, "C"]:
    """One label for clusters that the segments do not part, the closest pair first: [C], each the first of its group.

    Features alone may part what no view shows at once, as the two ends of a thing: nothing then draws them together.
    """
    new = torch.arange(masses.shape[1])
    masses, found = masses.clone(), affinities(masses, view_ids).fill_diagonal_(0.0)
    while found.numel() and found.max() > affinity:
        first, other = sorted(divmod(int(found.argmax()), found.shape[0]))
        new[new == other] = first
        masses[:, first] += masses[:, other]
        masses[:, other] = 0.0
        with_first = affinities(masses, view_ids, slice(first, first + 1))[:, 0]
        with_first[first] = 0.0
        found[:, first] = found[first] = with_first
        found[:, other] = found[other] = 0.0
    return new


def home_centers(
    features: Float[Tensor, "N D"],
    homes: Homes,
    visibility: Float[Tensor, "N"],
    centers: Float[Tensor, "C D"],
) -> Float[Tensor, "C D"]:
    """Normalised mean feature of the Gaussians at home in each cluster, by how much they are seen and how surely.

    The means of segments mix what lies on both sides of their borders, for a thin part all of it. A cluster in which
    nothing is at home keeps the centre that is given.
    """
    at_home = homes.labels >= 0
    weights = (visibility * homes.margin)[at_home, None]
    sums = torch.zeros_like(centers).index_add_(
        0, homes.labels[at_home].long(), normalize(features[at_home], dim=-1) * weights
    )
    return torch.where(sums.norm(dim=-1, keepdim=True) > 1e-9, normalize(sums, dim=-1), centers)


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
    features: Float[Tensor, "N D"], found: FoundClusters, visibility: Float[Tensor, "N"], level: Level
) -> GlobalClusters:
    """Assign every Gaussian. No cluster, or one, is said, not raised."""
    if found.centers.shape[0] < 2:
        logger.warning(
            "%s level: %d segments gave %s; clicks select nothing until there are clusters: train longer, or lower the "
            "cluster views fraction",
            level.name,
            found.num_segments,
            "no cluster" if found.centers.shape[0] == 0 else "a single cluster",
        )
    centers = found.centers.to(features)
    labels, similarity = assign(features.detach(), centers)
    if found.homes is not None:
        at_home = (found.homes.labels >= 0).to(labels.device)
        labels = torch.where(at_home, found.homes.labels.to(labels.device), labels)
        own = normalize(features.detach()[at_home], dim=-1) * centers[labels[at_home].long()]
        similarity[at_home] = own.sum(dim=-1)
    return GlobalClusters(level.name, found.centers, labels, confidence(visibility.to(similarity), similarity))
