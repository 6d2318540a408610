"""What the 2D segments say about clusters: which of them each Gaussian, and each other cluster, is seen together with.

A segment that covers several parts is weaker evidence than one that parts them, so segments are not counted for one
cluster or another. Instead, in every view, a cluster's weight is spread over the segments that it lies in; two things
belong together as far as they share segments. Each view counts once for a cluster, however large it is there: a part
that is merged with its surroundings in a third of the views is still told from them by the other two thirds, and a
random split of one thing, whose border lies elsewhere in every view, parts no two of its halves for long.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from click_gaussian_ns.clusters.pooling import Pooling
from click_gaussian_ns.types import NO_CLUSTER

_SEEN_PX = 4.0
"""A cluster with less weight in a view is not seen there."""
_LEAST_VIEWS = 3
"""Clusters that fewer views show together are not told to be one: a single merged segment may say so."""
_CLEAR_SIGHT = 0.15
"""A view sees a cluster well if it shows this share of what the best view does."""
_NOTHING = 1e-9


@dataclass(frozen=True)
class Homes:
    """Where the Gaussians of one level are at home. On CPU."""

    labels: Int[Tensor, "N"]
    """The cluster with which each Gaussian shares its segments most, int32; NO_CLUSTER where it shares none."""
    margin: Float[Tensor, "N"]
    """How much less it shares with the runner-up, relative to what the home's Gaussians share with it on average, in
    [0, 1]: near 0 at a border, for a Gaussian whose own part has no cluster, and where there is no home."""


def view_shares(
    masses: Float[Tensor, "S C"], view_ids: Int[Tensor, "S"], least_sight: float = 0.0
) -> Float[Tensor, "S C"]:
    """Of each cluster's weight in the segment's view, the share that lies in the segment; 0 where it is not seen.

    `least_sight`: a view that sees less of the cluster than this share of what the best one does counts as blind to it.
    """
    in_views = _sums(masses, view_ids)
    seen = in_views >= _SEEN_PX
    if least_sight:
        seen &= in_views >= least_sight * in_views.amax(dim=0, keepdim=True)
    return torch.where(seen[view_ids], masses / in_views.clamp_min(_NOTHING)[view_ids], 0.0)


def own_shares(shares: Float[Tensor, "S C"], view_ids: Int[Tensor, "S"]) -> Float[Tensor, "V C"]:
    """The chance that two random members of a cluster are in one segment of a view, in [0, 1].

    What a Gaussian shares with a cluster is divided by the root of this: then it is a cosine, in each view, between how
    the two are spread over the segments. Without it, Gaussians on a border go to the larger side: much of a small
    thing's weight lies beyond the border of its segment, little of a large one's.
    """
    return _sums(shares.square(), view_ids)


class Affinities:
    """How often two clusters are in one segment, over the views that show both, each view alike; in [0, 1].

    It is the chance that random members of the two share a segment, relative to that of two members of the same (their
    geometric mean): what is split at random in every view is not thereby apart from itself. 0 if less than three views
    show both.
    """

    def __init__(self, masses: Float[Tensor, "S C"], view_ids: Int[Tensor, "S"], least_sight: float = 0.0) -> None:
        """`least_sight` as in `view_shares`."""
        self._view_ids, self._least_sight = view_ids, least_sight
        self._shares, self._alone, self._seen = self._of(masses)

    def _of(
        self, masses: Float[Tensor, "S K"]
    ) -> tuple[Float[Tensor, "S K"], Float[Tensor, "V K"], Float[Tensor, "V K"]]:
        shares = view_shares(masses, self._view_ids, self._least_sight)
        return shares, own_shares(shares, self._view_ids), (_sums(shares, self._view_ids) > 0).float()

    def replace(self, place: int, masses: Float[Tensor, "S 1"]) -> None:
        """Another cluster in the place of one."""
        for held, new in zip((self._shares, self._alone, self._seen), self._of(masses)):
            held[:, place : place + 1] = new

    def between(self, columns: slice = slice(None)) -> Float[Tensor, "C K"]:
        """Of all clusters with those in `columns`."""
        shares, alone, seen = self._shares, self._alone, self._seen
        together = shares.T @ shares[:, columns]
        both = (alone.T @ seen[:, columns]) * (seen.T @ alone[:, columns])
        enough = seen.T @ seen[:, columns] >= _LEAST_VIEWS
        return torch.where(enough, together / both.sqrt().clamp_min(_NOTHING), 0.0)


def merge_together(
    masses: Float[Tensor, "S C"], view_ids: Int[Tensor, "S"], affinity: float, clear_affinity: float
) -> Int[Tensor, "C"]:
    """One label for clusters that the segments do not part, the closest pair first: [C], each the first of its group.

    Two are one if their affinity is above `affinity`, or above `clear_affinity` in the views that see both well. Of a
    side that is turned away a view sees some pixels through the edges of what hides it, in that thing's segment: there
    are many such views. No segment covers what no view shows at once, as the two ends of a thing: they are one by what
    lies between.
    """
    new, masses = torch.arange(masses.shape[1]), masses.clone()
    told = [(Affinities(masses, view_ids), affinity), (Affinities(masses, view_ids, _CLEAR_SIGHT), clear_affinity)]

    def above(columns: slice = slice(None)) -> Float[Tensor, "C K"]:
        return torch.stack([of_views.between(columns) / least for of_views, least in told]).amax(dim=0)

    found = above().fill_diagonal_(0.0)
    while found.numel() and found.max() > 1.0:
        first, other = sorted(divmod(int(found.argmax()), found.shape[0]))
        new[new == other] = first
        masses[:, first] += masses[:, other]
        masses[:, other] = 0.0
        for of_views, _ in told:
            for place in (first, other):
                of_views.replace(place, masses[:, place : place + 1])
        with_first = above(slice(first, first + 1))[:, 0]
        with_first[first] = 0.0
        found[:, first] = found[first] = with_first
        found[:, other] = found[other] = 0.0
    return new


def relabel(labels: Int[Tensor, "N"], new: Int[Tensor, "C"]) -> Int[Tensor, "N"]:
    """Every label's new one; NO_CLUSTER stays."""
    return torch.where(labels >= 0, new[labels.clamp_min(0).long()].to(labels.dtype), NO_CLUSTER)


def find_homes(pooling: Pooling, level: str, labels: Int[Tensor, "N"], num_clusters: int, rounds: int = 2) -> Homes:
    """Homes by shared segments, of a first guess; each round asks the homes of the one before.

    A Gaussian shares with a cluster, on the mean over its weight in all segments, the share of the cluster (in that
    view) that lies in the same segment, divided by the root of `own_shares`.
    """
    view_ids, _ = pooling.segments(level)
    found, most = labels.to(torch.int32), torch.zeros(labels.shape[0], 2)
    for _ in range(rounds):
        shares = view_shares(pooling.masses(found, num_clusters, level), view_ids)
        relative = shares / own_shares(shares, view_ids).sqrt().clamp_min(_NOTHING)[view_ids]
        found, most = pooling.two_largest(relative, level)
    ones = torch.ones(view_ids.shape[0], 1)
    return Homes(found, _margins(found, most, pooling.spread(ones, level)[:, 0], num_clusters))


def _margins(
    labels: Int[Tensor, "N"], most: Float[Tensor, "N 2"], total: Float[Tensor, "N"], num_clusters: int
) -> Float[Tensor, "N"]:
    """`Homes.margin`, of what Gaussians share with the two clusters that they share most with, and their weight, px."""
    at_home = labels >= 0
    own = labels[at_home].long()
    shared, weight = (torch.zeros(num_clusters).index_add(0, own, values[at_home]) for values in (most[:, 0], total))
    usual = shared / weight.clamp_min(_NOTHING)
    margins = torch.zeros_like(total)
    ahead = (most[at_home, 0] - most[at_home, 1]) / total[at_home].clamp_min(_NOTHING)
    margins[at_home] = (ahead / usual[own].clamp_min(_NOTHING)).clamp(0.0, 1.0)
    return margins


def _sums(values: Float[Tensor, "S C"], groups: Int[Tensor, "S"]) -> Float[Tensor, "V C"]:
    num = int(groups.max()) + 1 if groups.numel() else 0
    return values.new_zeros(num, values.shape[1]).index_add(0, groups.long(), values)
