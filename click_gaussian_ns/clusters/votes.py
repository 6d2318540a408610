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

from click_gaussian_ns.clusters.pooling import Pooling

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
    """Votes of all Gaussians, on CPU.

    Args:
        pooling: of the training views.
        level: its name.
        labels: cluster 0, 1, ... of every segment, or NO_CLUSTER.
    """
    home, most, total, mass = pooling.plurality(labels, level)
    at_home = torch.zeros_like(mass).index_add(0, home[home >= 0].long(), most[home >= 0])
    return Votes(home, most / total.clamp_min(_NOTHING_PX), at_home / mass.clamp_min(_NOTHING_PX))
