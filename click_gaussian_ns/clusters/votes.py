"""What the 2D segments say about clusters: each Gaussian votes with the segments that it is seen in.

Similarity alone cannot tell a Gaussian that belongs to a cluster from one whose own part has no cluster (HDBSCAN calls
the segments of a part that few views show noise) and which therefore lies nearest to a neighbour's. Votes can: of the
latter, most weight lies in segments of no cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from click_gaussian_ns.clusters.pooling import Pooling, SparsePooling
from click_gaussian_ns.types import NO_CLUSTER

_CLUSTERS_AT_ONCE = 16
_NOTHING_PX = 1e-9


@dataclass(frozen=True)
class Votes:
    """The outcome for one level."""

    home: Int[Tensor, "N"]
    """The cluster that most of each Gaussian's segmented weight lies in; NO_CLUSTER where it is in none."""
    share: Float[Tensor, "N"]
    """That weight over the Gaussian's weight in all segments, those that are noise too; in [0, 1]."""
    elected: Float[Tensor, "C"]
    """Of the weight in each cluster's segments, the share that belongs to Gaussians at home in it. Near 0 for a cluster
    of segments that cover several parts: each of its Gaussians is at home in its own part."""


def count_votes(pooling: Pooling, level: str, labels: Int[Tensor, "S"]) -> Votes:
    """Votes of all Gaussians.

    Args:
        pooling: of the training views.
        level: its name.
        labels: cluster 0, 1, ... of every segment, or NO_CLUSTER.
    """
    if isinstance(pooling, SparsePooling):
        home, most, total, mass = pooling.plurality(labels, level)
        num_clusters = int(labels.max()) + 1 if labels.numel() else 0
        masses = most.new_zeros(num_clusters).index_add(0, labels[labels >= 0].long(), mass[labels >= 0])
    else:
        home, most, total, masses = _plurality_by_spreading(pooling, level, labels)
    at_home = torch.zeros_like(masses).index_add(0, home[home >= 0].long(), most[home >= 0])
    return Votes(home, most / total.clamp_min(_NOTHING_PX), at_home / masses.clamp_min(_NOTHING_PX))


def _plurality_by_spreading(
    pooling: Pooling, level: str, labels: Int[Tensor, "S"]
) -> tuple[Int[Tensor, "N"], Float[Tensor, "N"], Float[Tensor, "N"], Float[Tensor, "C"]]:
    """Home of each Gaussian, its weight there and in all, and the weight in each cluster's segments."""
    total = pooling.spread(torch.ones(labels.shape[0], 1), level)[:, 0]
    home = torch.full_like(total, NO_CLUSTER, dtype=torch.int32)
    most = torch.zeros_like(total)
    num_clusters = int(labels.max()) + 1 if labels.numel() else 0
    mass = []
    for start in range(0, num_clusters, _CLUSTERS_AT_ONCE):
        some = torch.arange(start, min(start + _CLUSTERS_AT_ONCE, num_clusters), device=labels.device)
        weights = pooling.spread((labels[:, None] == some).float(), level)
        mass.append(weights.sum(dim=0))
        best, which = weights.max(dim=1)
        better = best > most
        home[better] = (which[better] + start).to(torch.int32)
        most[better] = best[better]
    return home, most, total, torch.cat(mass) if mass else most.new_zeros(0)
