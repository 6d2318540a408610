"""The K nearest Gaussians of every Gaussian, found once: geometry is frozen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

_TREE_JOBS = -1


@dataclass(frozen=True)
class Neighbors:
    """K nearest neighbours, and the same relation read the other way round (compressed rows)."""

    ids: Int32[Tensor, "N K"]
    """Nearest first, the Gaussian itself left out."""
    reverse_offsets: Int64[Tensor, " N_plus_1"]
    reverse_ids: Int32[Tensor, " NK"]
    """reverse_ids[reverse_offsets[j] : reverse_offsets[j + 1]] are those that have j among their neighbours."""

    def to(self, device: torch.device | str) -> Neighbors:
        return Neighbors(self.ids.to(device), self.reverse_offsets.to(device), self.reverse_ids.to(device))


def nearest_neighbors(means: Float[Tensor, "N 3"], k: int) -> Neighbors:
    """KD-tree over the centres. With N <= k Gaussians there are only N - 1 neighbours each."""
    from scipy.spatial import KDTree

    points = means.detach().cpu().numpy()
    num = points.shape[0]
    k = min(k, max(num - 1, 0))
    _, found = KDTree(points, balanced_tree=False).query(points, k=k + 1, workers=_TREE_JOBS)
    ids = np.asarray(found, dtype=np.int32).reshape(num, k + 1)
    # with coincident centres the Gaussian itself need not come first: move it there, then drop it
    itself = np.argmax(ids == np.arange(num)[:, None], axis=1)
    ids[np.arange(num), itself] = ids[:, 0]
    ids = np.ascontiguousarray(ids[:, 1:])
    order = np.argsort(ids.ravel(), kind="stable")
    offsets = np.zeros(num + 1, np.int64)
    np.cumsum(np.bincount(ids.ravel(), minlength=num), out=offsets[1:])
    reverse = (order // max(k, 1)).astype(np.int32)
    return Neighbors(torch.from_numpy(ids), torch.from_numpy(offsets), torch.from_numpy(reverse))
