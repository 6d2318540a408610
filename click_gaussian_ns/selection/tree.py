"""Walking the tree of clusters: from a clicked part up to the object, its group, everything; and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.selection.pick import locate, members, visible_gaussians, without_dominated
from click_gaussian_ns.selection.propagate import most_similar
from click_gaussian_ns.types import NO_CLUSTER, Click, ClusterTree, GlobalClusters, Level, Selection

_ROUNDING = 1e-6
"""Granularities are float32, those asked for are not."""


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
        at_most = granularity + _ROUNDING
        kept = [
            node
            for node, parent in enumerate(self._parents)
            if self._granularity[node] <= at_most and (parent < 0 or self._granularity[parent] > at_most)
        ]
        return tuple(self._node(node) for node in kept)

    def cut_labels(self, granularity: float, clusters: Mapping[str, GlobalClusters]) -> tuple[Int[Tensor, " N"], int]:
        """Which node of a cut each Gaussian belongs to, NO_CLUSTER for none, and how many nodes there are."""
        nodes = self.cut(granularity)
        labels = torch.full_like(next(iter(clusters.values())).labels, NO_CLUSTER)
        for place, node in enumerate(nodes):
            labels[node.mask(clusters)] = place
        return labels, len(nodes)

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


def path_of(
    feature: Float[Tensor, " 24"],
    levels: Sequence[Level],
    clusters: Mapping[str, GlobalClusters],
    walk: TreeWalk,
) -> tuple[Node, ...]:
    """The nodes that a click can mean, from the part at the pixel up to everything.

    Each level's own cluster is on it. What a level's cluster joins to is, where it leads to the next level's cluster.

    Args:
        feature: rendered at the pixel.
        levels: coarse to fine.
        clusters: of every level.
        walk: the tree over them.
    """
    found: list[Node] = []
    filled = [level for level in reversed(levels) if clusters[level.name].num_clusters]
    hits = [int(most_similar(feature[None, level.channels], clusters[level.name].centers)[0]) for level in filled]
    for place, (level, hit) in enumerate(zip(filled, hits)):
        path = walk.path(level.name, hit)
        same_level = [node for node in path if node.level == level.name]
        above = path[len(same_level)] if len(same_level) < len(path) else None
        leads_on = place + 1 == len(filled) or (above is not None and above.cluster_ids == (hits[place + 1],))
        found += same_level if leads_on else same_level[:1]
    return tuple(found)


def place_at(path: Sequence[Node], granularity: float) -> int:
    """Place of the largest node of a path up to a granularity; 0 if all are above."""
    return max((place for place, node in enumerate(path) if node.granularity <= granularity + _ROUNDING), default=0)


def place_of_level(path: Sequence[Node], level: str) -> int:
    """Place of a level's own cluster on a path; it is the first of that level."""
    return next(place for place, node in enumerate(path) if node.level == level)


def checked_granularity(granularity: float) -> float:
    """The value itself.

    Raises:
        ValueError: it is not in [0, 1].
    """
    if not 0.0 <= granularity <= 1.0:
        raise ValueError(
            f"--granularity {granularity:g}: expected a number from 0, the smallest parts, to 1, everything"
        )
    return granularity


@dataclass(frozen=True)
class Width:
    """How much a click takes: up to a granularity, or so many steps wider or narrower than a level's cluster."""

    granularity: float | None = None
    steps: int = 0
    """Wider; below 0 narrower."""

    def place(self, path: Sequence[Node], level: str) -> int:
        """Place of the node on a path; at most its last, at least its first."""
        if self.granularity is not None:
            return place_at(path, self.granularity)
        return min(max(place_of_level(path, level) + self.steps, 0), len(path) - 1)


def asked_width(granularity: float | None, wider: int, narrower: int) -> Width | None:
    """What the flags of `click-gaussian segment` ask for; None if they ask for nothing.

    Raises:
        ValueError: they contradict each other, or are out of range.
    """
    if wider < 0 or narrower < 0:
        raise ValueError(f"--wider {wider}, --narrower {narrower}: expected numbers of steps from 0")
    if sum((granularity is not None, wider > 0, narrower > 0)) > 1:
        raise ValueError("give only one of --granularity, --wider and --narrower")
    if granularity is not None:
        return Width(checked_granularity(granularity))
    return Width(steps=wider - narrower) if wider or narrower else None


def pick_nodes(
    prepared: PreparedView,
    features: Float[Tensor, "N 24"],
    levels: Sequence[Level],
    clusters: Mapping[str, GlobalClusters],
    tree: ClusterTree,
    clicks: Sequence[Click],
    choose: Callable[[Sequence[Node]], int],
) -> Selection:
    """The Gaussians of one node on the path of each positive click, less what negative clicks say is something else.

    `choose` gives the place of the node on a path.

    Raises:
        ValueError: see `locate`; no positive click.
    """
    if clicks and all(click.negative for click in clicks):
        raise ValueError("a selection needs at least one positive point")
    level = next((level for level in reversed(levels) if clusters[level.name].num_clusters), levels[-1])
    prompts, walk = locate(prepared, features, level, clusters[level.name], clicks), TreeWalk(tree)
    paths = [path_of(prompt.feature, levels, clusters, walk) for prompt in prompts if not prompt.negative]
    nodes = [path[choose(path)] for path in paths]
    mask = torch.stack([node.mask(clusters) for node in nodes]).any(dim=0)
    mask &= visible_gaussians(prepared.splats.opacity_logits)
    ids = {i for node in nodes for i in node.cluster_ids} if len({node.level for node in nodes}) == 1 else set()
    return Selection(nodes[0].level, tuple(sorted(ids)), without_dominated(features, mask, prompts))
