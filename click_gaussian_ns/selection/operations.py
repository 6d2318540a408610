"""Set algebra of selections, and how they grow, shrink and lose their stray pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

CombineMode = Literal["set", "add", "remove", "intersect"]

_RING = 8
"""Nearest Gaussians that count as neighbours of one."""
_LINK_FACTOR = 4.0
"""Neighbours further apart than this many median neighbour distances are not connected."""


def combine(mode: CombineMode, current: Bool[Tensor, "N"], picked: Bool[Tensor, "N"]) -> Bool[Tensor, "N"]:
    """The selection after something was picked in a mode."""
    if mode == "set":
        return picked
    if mode == "add":
        return current | picked
    if mode == "remove":
        return current & ~picked
    return current & picked


@dataclass(frozen=True)
class Space:
    """Centres of Gaussians, ready for neighbour queries."""

    points: np.ndarray
    """[M, 3]."""
    ids: np.ndarray
    """[M] Gaussian of each point."""
    tree: Any
    """scipy's KDTree of the points."""

    @staticmethod
    def of(means: Float[Tensor, "N 3"], among: Bool[Tensor, "N"]) -> Space:
        """The Gaussians of the mask `among`."""
        from scipy.spatial import KDTree

        ids = np.flatnonzero(among.cpu().numpy())
        points = means.detach().cpu().numpy()[ids]
        return Space(points, ids, KDTree(points, balanced_tree=False))


def grow(space: Space, mask: Bool[Tensor, "N"]) -> Bool[Tensor, "N"]:
    """The mask and every neighbour of a Gaussian in it."""
    grown = mask.clone()
    if bool(mask.any()):
        places = np.flatnonzero(mask.cpu().numpy()[space.ids])
        near, _ = _ring(space, places)
        grown[torch.from_numpy(space.ids[near.ravel()])] = True
    return grown


def shrink(space: Space, mask: Bool[Tensor, "N"]) -> Bool[Tensor, "N"]:
    """The mask less the Gaussians with a neighbour outside it."""
    shrunk = mask.clone()
    inside = mask.cpu().numpy()[space.ids]
    places = np.flatnonzero(inside)
    if places.size:
        near, _ = _ring(space, places)
        edge = ~inside[near].all(axis=1)
        shrunk[torch.from_numpy(space.ids[places[edge]])] = False
    return shrunk


def largest_component(space: Space, mask: Bool[Tensor, "N"]) -> Bool[Tensor, "N"]:
    """The connected piece of the mask with most Gaussians: neighbours within a few times their usual distance."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    chosen = Space.of(torch.from_numpy(space.points), mask.cpu()[torch.from_numpy(space.ids)])
    num = chosen.points.shape[0]
    if num == 0:
        return mask.clone()
    near, distances = _ring(chosen, np.arange(num))
    linked = distances <= _LINK_FACTOR * np.median(distances)
    rows = np.repeat(np.arange(num), near.shape[1])[linked.ravel()]
    graph = coo_matrix((np.ones(rows.shape[0], np.int8), (rows, near[linked])), shape=(num, num))
    _, piece = connected_components(graph, directed=False)
    largest = piece == np.bincount(piece).argmax()
    kept = torch.zeros_like(mask)
    kept[torch.from_numpy(space.ids[chosen.ids[largest]])] = True
    return kept


def similarity_to(features: Float[Tensor, "N D"], mask: Bool[Tensor, "N"]) -> Float[Tensor, "N"]:
    """Cosine similarity of every Gaussian to the mean direction of the mask's; 0 for an empty mask."""
    unit = normalize(features.detach(), dim=-1)
    if not bool(mask.any()):
        return unit.new_zeros(unit.shape[0])
    return unit @ normalize(unit[mask].mean(dim=0), dim=-1)


def grow_similar(features: Float[Tensor, "N D"], mask: Bool[Tensor, "N"], threshold: float) -> Bool[Tensor, "N"]:
    """The mask and every Gaussian that is at least this similar to it; an empty mask stays empty."""
    return mask | ((similarity_to(features, mask) >= threshold) & mask.any())


def shrink_similar(features: Float[Tensor, "N D"], mask: Bool[Tensor, "N"], threshold: float) -> Bool[Tensor, "N"]:
    """The mask less the Gaussians that are less similar to it than this."""
    return mask & (similarity_to(features, mask) >= threshold)


def _ring(space: Space, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places [P, k] of the nearest points, each point itself first, and their distances."""
    k = min(_RING + 1, space.points.shape[0])
    distances, near = space.tree.query(space.points[places], k=list(range(1, k + 1)))
    return near, distances
