"""The K nearest Gaussians of every Gaussian, found once: geometry is frozen."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Float64, Int32, Int64
from torch import Tensor

_TREE_JOBS = -1
_BITS = 21
"""Of each coordinate that the order along a curve looks at: three of them fill 63."""


@dataclass(frozen=True)
class Neighbors:
    """K nearest neighbours; and the same relation as a CPU goes through it, from neighbour to neighbour.

    `order` lists the Gaussians along a curve through space, and places are places in that list: those near in space are
    near in memory.
    """

    ids: Int32[Tensor, "N K"]
    """Nearest first, the Gaussian itself left out."""
    order: Int32[Tensor, " N"]
    places: Int32[Tensor, "N K"]
    """The neighbours of order[p] are order[places[p]]."""
    reverse_offsets: Int64[Tensor, " N_plus_1"]
    reverse_places: Int32[Tensor, " NK"]
    """reverse_places[reverse_offsets[p] : reverse_offsets[p + 1]] are those that have p among their places."""

    def to(self, device: torch.device | str) -> Neighbors:
        return Neighbors(*(getattr(self, field.name).to(device) for field in fields(self)))


def nearest_neighbors(means: Float[Tensor, "N 3"], k: int) -> Neighbors:
    """KD-tree over the centres. With N <= k Gaussians there are only N - 1 neighbours each."""
    from scipy.spatial import KDTree

    points = means.detach().cpu().double().numpy()
    num = points.shape[0]
    k = min(k, max(num - 1, 0))
    order = curve_order(points)
    points = points[order]
    _, found = KDTree(points, balanced_tree=False).query(points, k=k + 1, workers=_TREE_JOBS)
    places = np.asarray(found, dtype=np.int32).reshape(num, k + 1)
    # with coincident centres the Gaussian itself need not come first: move it there, then drop it
    itself = np.argmax(places == np.arange(num)[:, None], axis=1)
    places[np.arange(num), itself] = places[:, 0]
    places = np.ascontiguousarray(places[:, 1:])
    reverse_order = np.argsort(places.ravel(), kind="stable")
    offsets = np.zeros(num + 1, np.int64)
    np.cumsum(np.bincount(places.ravel(), minlength=num), out=offsets[1:])
    reverse = (reverse_order // max(k, 1)).astype(np.int32)
    ids = np.empty_like(places)
    ids[order] = order[places]
    return Neighbors(*map(torch.from_numpy, (ids, order, places, offsets, reverse)))


def curve_order(points: Float64[np.ndarray, "N 3"]) -> Int32[np.ndarray, " N"]:
    """The points along a Morton curve: their coordinates' bits, interleaved, in ascending order."""
    if points.shape[0] == 0:
        return np.empty(0, np.int32)
    low = points.min(axis=0)
    extent = max(float((points.max(axis=0) - low).max()), np.finfo(np.float64).tiny)
    cells = ((points - low) / extent * (2**_BITS - 1)).astype(np.uint64)
    # each step halves the groups of bits, and moves the upper halves two group widths up
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        cells = (cells | cells << np.uint64(shift)) & np.uint64(mask)
    keys = cells[:, 0] | cells[:, 1] << np.uint64(1) | cells[:, 2] << np.uint64(2)
    return np.argsort(keys, kind="stable").astype(np.int32)
