"""A tree from the smallest parts through objects to groups of objects: what shares segments more often joins first.

Clusters of a finer level that belong to one cluster of the next join by how often they share segments of their own
level (`homes.Affinities`, average linkage); those of the coarsest level join to groups, and at last to everything.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform
from torch import Tensor

from click_gaussian_ns.clusters.homes import Affinities
from click_gaussian_ns.clusters.pooling import Pooling
from click_gaussian_ns.types import ClusterTree, GlobalClusters, Level

_NO_PARENT = -1


def build_tree(pooling: Pooling, levels: Sequence[Level], made: Sequence[GlobalClusters]) -> ClusterTree:
    """The tree over the clusters of all levels.

    A level has an equal share of the granularities: its clusters lie at its lower end, and what they join to
    above, by one minus their affinity. So with two levels parts are at 0, objects at 0.5 and everything at 1.

    Args:
        pooling: of the segments that say what belongs together.
        levels: coarse to fine.
        made: the clusters of every level, with the labels of the Gaussians.
    """
    clusters = {found.level: found for found in made}
    names = tuple(level.name for level in reversed(levels))
    counts = [clusters[name].num_clusters for name in names]
    starts = np.concatenate([[0], np.cumsum(counts)])
    parents = np.full(int(starts[-1]), _NO_PARENT)
    granularity = np.repeat(np.arange(len(names)) / len(names), counts)
    merged_parents: list[int] = []
    merged_granularity: list[float] = []

    def add(children: Sequence[int], at: float) -> int:
        """A new node above these."""
        node = int(starts[-1]) + len(merged_parents)
        merged_parents.append(_NO_PARENT)
        merged_granularity.append(at)
        for child in children:
            set_parent(child, node)
        return node

    def set_parent(child: int, node: int) -> None:
        if child < starts[-1]:
            parents[child] = node
        else:
            merged_parents[child - int(starts[-1])] = node

    for place, name in enumerate(names):
        masses = pooling.masses(clusters[name].labels, counts[place], name)
        shared = Affinities(masses, pooling.segments(name)[0]).between().clamp(0.0, 1.0).numpy().astype(np.float64)
        is_top = place + 1 == len(names)
        above = np.zeros(counts[place], np.int64) if is_top else holders(clusters[name], clusters[names[place + 1]])
        for group in np.unique(above):
            members = np.flatnonzero(above == group)
            nodes, tops = [int(starts[place] + member) for member in members], set(range(len(members)))
            for first, other, distance in joins(shared[np.ix_(members, members)]):
                if len(tops) == 2:  # all of them: that is what lies above
                    break
                nodes.append(add([nodes[first], nodes[other]], (place + distance) / len(names)))
                tops = tops - {first, other} | {len(nodes) - 1}
            if not is_top:
                for top in tops:
                    set_parent(nodes[top], int(starts[place + 1] + group))
            elif len(tops) > 1:
                add([nodes[top] for top in sorted(tops)], 1.0)
    return ClusterTree(
        names,
        tuple(counts),
        torch.from_numpy(np.concatenate([parents, merged_parents]).astype(np.int32)),
        torch.from_numpy(np.concatenate([granularity, merged_granularity]).astype(np.float32)),
    )


def joins(shared: Float[np.ndarray, "C C"]) -> list[tuple[int, int, float]]:
    """What joins, nearest first, while any share is above 0: two places, and 1 - their average affinity.

    Places are those of the clusters, then of what was joined before, as in SciPy's linkage.
    """
    if shared.shape[0] < 2:
        return []
    distances = 1.0 - (shared + shared.T) / 2
    np.fill_diagonal(distances, 0.0)
    merges = linkage(squareform(distances, checks=False), "average")
    return [(int(first), int(other), float(distance)) for first, other, distance, _ in merges if distance < 1.0]


def holders(finer: GlobalClusters, coarser: GlobalClusters) -> Int[np.ndarray, " C"]:
    """Of each finer cluster, the coarser one that holds most of its Gaussians, by their confidence."""
    both = (finer.labels >= 0) & (coarser.labels >= 0)
    counts = torch.zeros(finer.num_clusters, max(coarser.num_clusters, 1), dtype=torch.float64)
    at: tuple[Tensor, Tensor] = (finer.labels[both].long(), coarser.labels[both].long())
    counts.index_put_(at, finer.confidence[both].double(), accumulate=True)
    return counts.argmax(dim=1).numpy()
