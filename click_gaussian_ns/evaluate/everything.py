"""Segment everything: a view's map of clusters against all objects at once, and against the same map of other views."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int, Int64, UInt16

from click_gaussian_ns.evaluate.look import Look
from click_gaussian_ns.evaluate.metrics import adjusted_rand_index, contingency, matched_ious
from click_gaussian_ns.types import NO_CLUSTER, UNASSIGNED


@dataclass
class EverythingScore:
    """Adds up one level of the labelled views."""

    num_clusters: int
    min_pixels: int
    """Objects with fewer pixels are left out."""
    pairs: Int64[np.ndarray, "T P"] | None = None
    """Pixels of all views by true label and by cluster, the last column is no cluster."""
    view_means: list[float] = field(default_factory=list)

    def add(self, truth: UInt16[np.ndarray, "H W"], clusters: Int[np.ndarray, "H W"]) -> None:
        """Adds a view: true labels (0 = background) and clusters (NO_CLUSTER where nothing is)."""
        numbered = np.where(clusters == NO_CLUSTER, self.num_clusters, clusters)
        num_truth = int(truth.max(initial=UNASSIGNED)) + 1
        pairs = contingency(truth, numbered, num_truth, self.num_clusters + 1)
        mean = self._matched_mean(pairs)
        if mean is not None:
            self.view_means.append(mean)
        if self.pairs is not None:
            rows = max(num_truth, self.pairs.shape[0])
            self.pairs, pairs = (np.pad(p, ((0, rows - p.shape[0]), (0, 0))) for p in (self.pairs, pairs))
            pairs = self.pairs + pairs
        self.pairs = pairs

    def metrics(self) -> dict[str, float | None]:
        """`everything_miou`, `everything_view_miou`, `everything_ari`; None where no object is large enough."""
        if self.pairs is None:
            return {}
        return {
            "everything_miou": self._matched_mean(self.pairs),
            "everything_view_miou": float(np.mean(self.view_means)) if self.view_means else None,
            "everything_ari": adjusted_rand_index(self.pairs[UNASSIGNED + 1 :]),
        }

    def _matched_mean(self, pairs: Int64[np.ndarray, "T P"]) -> float | None:
        """Mean IoU of the objects with the clusters matched to them, one to one."""
        truth_sizes, sizes = pairs.sum(1), pairs.sum(0)[:-1]
        large = np.flatnonzero(truth_sizes >= self.min_pixels)
        large = large[large != UNASSIGNED]
        return float(np.mean(matched_ious(pairs[large, :-1], truth_sizes[large], sizes))) if large.size else None


def same_surface(a: Look, b: Look, depth_tolerance: float) -> tuple[Int64[np.ndarray, " M"], Int64[np.ndarray, " M"]]:
    """Pixels (row * width + column) of view a and those of view b that show the same point of the surface.

    Args:
        a: every covered pixel is taken to its place in 3D by its depth, and from there into b.
        b: shows the point too if it is in the picture and the depth there is its own, up to the tolerance.
        depth_tolerance: relative.
    """
    rows, columns = np.nonzero(a.depth > 0)
    depth = a.depth[rows, columns].astype(np.float64)
    (fx, _, cx), (_, fy, cy), _ = a.prepared.view.K.double().cpu().numpy()
    in_a = np.stack([(columns + 0.5 - cx) / fx * depth, (rows + 0.5 - cy) / fy * depth, depth, np.ones_like(depth)])
    a_to_b = b.prepared.view.viewmat.double().cpu() @ torch.linalg.inv(a.prepared.view.viewmat.double().cpu())
    x, y, z, _ = a_to_b.numpy() @ in_a
    (fx, _, cx), (_, fy, cy), _ = b.prepared.view.K.double().cpu().numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        column, row = np.floor(x / z * fx + cx), np.floor(y / z * fy + cy)
    inside = (z > 0) & (column >= 0) & (column < b.prepared.view.width) & (row >= 0) & (row < b.prepared.view.height)
    at_a = rows[inside] * a.prepared.view.width + columns[inside]
    at_b = (row[inside] * b.prepared.view.width + column[inside]).astype(np.int64)
    depth_at_b = b.depth.ravel()[at_b]
    agrees = (depth_at_b > 0) & (np.abs(depth_at_b - z[inside]) <= depth_tolerance * z[inside])
    return at_a[agrees], at_b[agrees]


@dataclass
class ConsistencyScore:
    """Adds up, over pairs of views, how often a point of the surface has the same cluster in both."""

    depth_tolerance: float
    same: dict[str, int] = field(default_factory=dict)
    total: int = 0

    def add(self, first: Look, second: Look) -> None:
        """Adds a pair of views, taken both ways."""
        for a, b in ((first, second), (second, first)):
            at_a, at_b = same_surface(a, b, self.depth_tolerance)
            self.total += at_a.size
            for level, clusters in a.clusters.items():
                in_a = clusters.ravel()[at_a]
                equal = (in_a == b.clusters[level].ravel()[at_b]) & (in_a != NO_CLUSTER)
                self.same[level] = self.same.get(level, 0) + int(np.count_nonzero(equal))

    def share(self, level: str) -> float | None:
        """In [0, 1]; None where no two views show the same surface."""
        return self.same[level] / self.total if self.total else None
