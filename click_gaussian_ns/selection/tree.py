"""Walking the tree of clusters: from a clicked part up to the object, its group, everything; and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from jaxtyping import Bool
from torch import Tensor

from click_gaussian_ns.selection.pick import members
from click_gaussian_ns.types import ClusterTree, GlobalClusters


@dataclass(frozen=True)
class Node:
    """Clusters of one level that a node of the tree stands for."""

    level: str
    cluster_ids: tuple[int, ...]
    """Ascending."""
    granularity: float
    """In [0, 1]."""

    def mask(self, clusters: Mapping[str, GlobalClusters]) -> Bool[Tensor, " N"]:
        """Its Gaussians."""
        return members(clusters[self.level].labels, self.cluster_ids)


class TreeWalk:
    """A tree, read for walking. Making one takes as long as the tree is large; a step then takes no time."""

    def __init__(self, tree: ClusterTree) -> None:
        self._tree = tree
        self._starts = [sum(tree.counts[:place]) for place in range(len(tree.counts) + 1)]
        self._parents: list[int] = tree.parents.tolist()
        self._granularity: list[float] = tree.granularity.tolist()
        self._children: list[list[int]] = [[] for _ in self._parents]
        for node, parent in enumerate(self._parents):
            if parent >= 0:
                self._children[parent].append(node)

    def path(self, level: str, cluster: int) -> tuple[Node, ...]:
        """From a cluster up to the root, itself first."""
        found, node = [], self._starts[self._tree.levels.index(level)] + cluster
        while node >= 0:
            found.append(self._node(node))
            node = self._parents[node]
        return tuple(found)

    def cut(self, granularity: float) -> tuple[Node, ...]:
        """The largest nodes up to a granularity: they hold every cluster of the finest level once."""
        kept = [
            node
            for node, parent in enumerate(self._parents)
            if self._granularity[node] <= granularity and (parent < 0 or self._granularity[parent] > granularity)
        ]
        return tuple(self._node(node) for node in kept)

    def _node(self, node: int) -> Node:
        place, own = self._level_of(node)
        ids = tuple(sorted(self._clusters(node))) if own < 0 else (own,)
        return Node(self._tree.levels[place], ids, self._granularity[node])

    def _level_of(self, node: int) -> tuple[int, int]:
        """Place of the node's level, and its cluster there; -1 for what joins several."""
        for place, start in enumerate(self._starts[:-1]):
            if start <= node < self._starts[place + 1]:
                return place, node - start
        return self._level_of(self._children[node][0])[0], -1

    def _clusters(self, node: int) -> Iterable[int]:
        own = self._level_of(node)[1]
        if own >= 0:
            yield own
        else:
            for child in self._children[node]:
                yield from self._clusters(child)


def node_at(path: tuple[Node, ...], granularity: float) -> Node:
    """The largest node of a path up to a granularity; the path's first if all are above."""
    return max((node for node in path if node.granularity <= granularity), key=lambda n: n.granularity, default=path[0])
