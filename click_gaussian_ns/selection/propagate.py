"""From features and selections to pictures of one view: cluster maps, propagated masks, masks of selections."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.types import NO_CLUSTER, GlobalClusters

MIN_COVERAGE = 0.5
"""A pixel shows what covers it by at least this much; below it shows the background."""
_MASKS_PER_RENDER = 31
"""With depth 32 channels, which gsplat draws at once."""


def cluster_map(
    image: Float[Tensor, "H W D"], alpha: Float[Tensor, "H W 1"], clusters: GlobalClusters
) -> tuple[Int[Tensor, "H W"], Float[Tensor, "H W"]]:
    """Most similar cluster of every pixel and that cosine similarity; -1 and 0 where less than half is covered."""
    height, width, dim = image.shape
    if clusters.num_clusters == 0:
        return image.new_full((height, width), NO_CLUSTER, dtype=torch.int64), image.new_zeros(height, width)
    cluster, best = most_similar(image.reshape(-1, dim), clusters.centers)
    covered = alpha.reshape(-1) >= MIN_COVERAGE
    cluster = torch.where(covered, cluster, NO_CLUSTER)
    best = torch.where(covered, best, 0.0)
    return cluster.reshape(height, width), best.reshape(height, width)


def most_similar(
    features: Float[Tensor, "P D"], centers: Float[Tensor, "C D"]
) -> tuple[Int[Tensor, " P"], Float[Tensor, " P"]]:
    """The cluster with the most similar centre, of at least one, and that cosine similarity."""
    best, cluster = (normalize(features, dim=-1) @ centers.to(features).T).max(dim=-1)
    return cluster, best


def propagated_ids(
    clusters: Int[np.ndarray, "H W"],
    similarity: Float[np.ndarray, "H W"],
    inside: Bool[np.ndarray, "H W"],
    outside: Bool[np.ndarray, "H W"],
    threshold: float,
) -> tuple[int, ...]:
    """The clusters of an object that is shown in one view (label propagation, paper section 4.2), ascending.

    A pixel counts for its most similar cluster where that similarity exceeds the threshold. A cluster is the object's
    if more of its pixels lie inside than outside.

    Args:
        clusters: cluster of every pixel, NO_CLUSTER where there is none (`cluster_map`).
        similarity: cosine similarity to it.
        inside: what is shown of the object: its mask, or scribbles on it.
        outside: what is shown not to be the object.
        threshold: cosine similarity.
    """
    counted = (similarity > threshold) & (clusters != NO_CLUSTER)
    num = int(clusters.max(initial=NO_CLUSTER)) + 1
    within = np.bincount(clusters[counted & inside], minlength=num)
    without = np.bincount(clusters[counted & outside], minlength=num)
    return tuple(int(i) for i in np.flatnonzero(within > without))


def propagated_mask(clusters: Int[np.ndarray, "H W"], ids: Collection[int]) -> Bool[np.ndarray, "H W"]:
    """The pixels of a view whose most similar cluster is one of these."""
    wanted = np.zeros(max(int(clusters.max(initial=NO_CLUSTER)), max(ids, default=0)) + 2, bool)
    wanted[list(ids)] = True
    return wanted[clusters]


def selection_masks_2d(prepared: PreparedView, masks: Bool[Tensor, "K N"]) -> Bool[np.ndarray, "K H W"]:
    """Pixels that each selection's Gaussians cover by at least half, with what is in front taken into account.

    Many selections cost little more than one: the blending weights are made once for `_MASKS_PER_RENDER` of them.
    """
    view = prepared.view
    found = np.zeros((masks.shape[0], view.height, view.width), bool)
    for start in range(0, masks.shape[0], _MASKS_PER_RENDER):
        values = masks[start : start + _MASKS_PER_RENDER].T.to(prepared.splats.means.device, torch.float32)
        image = rasterize.render(prepared, values.contiguous()).image
        found[start : start + _MASKS_PER_RENDER] = (image >= MIN_COVERAGE).permute(2, 0, 1).cpu().numpy()
    return found
