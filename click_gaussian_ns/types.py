"""The frozen values that cross stage boundaries, with their shapes. Nothing here computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, Int64, UInt16
from torch import Tensor

UNASSIGNED = 0
"""Label of a pixel that belongs to no segment."""

NO_CLUSTER = -1
"""Label of a Gaussian that belongs to no global cluster."""

VIEWER_GRAY = (0.1490, 0.1647, 0.2157)
"""RGB behind the Gaussians in nerfstudio's viewer, and so wherever else nothing is."""


@dataclass(frozen=True)
class Splats:
    """Frozen 3D Gaussians in one right-handed world frame (raw parameters, as optimizers store them)."""

    means: Float[Tensor, "N 3"]
    """Centres, world units."""
    quats: Float[Tensor, "N 4"]
    """Rotations, wxyz; need not be normalised."""
    log_scales: Float[Tensor, "N 3"]
    """Natural logarithm of the standard deviations along the rotated axes, world units."""
    opacity_logits: Float[Tensor, "N"]
    """Opacity before the sigmoid."""
    sh: Float[Tensor, "N K 3"]
    """Spherical-harmonics coefficients (3DGS convention), K = (degree + 1)^2; [:, 0] is the DC term."""

    @property
    def num_gaussians(self) -> int:
        return self.means.shape[0]

    @property
    def sh_degree(self) -> int:
        return round(self.sh.shape[1] ** 0.5) - 1


@dataclass(frozen=True)
class PinholeView:
    """A pinhole camera, OpenCV convention (x right, y down, z forward)."""

    viewmat: Float[Tensor, "4 4"]
    """World to camera."""
    K: Float[Tensor, "3 3"]
    """Intrinsics in pixels; pixel (row i, column j) has its centre at (j + 0.5, i + 0.5)."""
    width: int
    height: int


@dataclass(frozen=True)
class Level:
    """One granularity level: which channels of the feature it reads, and its constants in the losses."""

    name: str
    start: int
    """First channel."""
    stop: int
    """One past the last channel."""
    detached_stop: int
    """Channels [start, detached_stop) take no gradient in the negative contrastive term (sg in Eq. 4)."""
    margin: float
    """tau^l of Eq. 4 and 8, cosine similarity."""
    radius: float
    """r^l of Eq. 11: norm of a rendered feature whose contributors agree."""
    cluster_epsilon: float
    """HDBSCAN's cluster_selection_epsilon on normalised segment means."""

    @property
    def channels(self) -> slice:
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class LevelMaps:
    """Segment IDs of one image at every level, coarse to fine. IDs mean nothing across views."""

    names: tuple[str, ...]
    maps: UInt16[np.ndarray, "L H W"]
    """0 = unassigned."""

    def level(self, name: str) -> UInt16[np.ndarray, "H W"]:
        return self.maps[self.names.index(name)]


@runtime_checkable
class LevelMapSource(Protocol):
    """Label maps of the training views, fetched one view at a time so that memory stays flat."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> LevelMaps: ...


@dataclass(frozen=True)
class BlendWeights:
    """Compressed sparse rows of w = alpha * T: row p gives the Gaussians that pixel p blends, front to back."""

    row_offsets: Int64[Tensor, "P_plus_1"]
    gaussian_ids: Int32[Tensor, "nnz"]
    weights: Float32[Tensor, "nnz"]
    num_gaussians: int

    @property
    def num_rows(self) -> int:
        return self.row_offsets.shape[0] - 1


@dataclass(frozen=True)
class SegmentWeights:
    """The pooling matrix A of one level in compressed sparse rows: A f is the mean feature of every segment.

    Row s, column i: mean over the pixels of segment s of the blending weight of Gaussian i (Eq. 6).
    """

    row_offsets: Int64[Tensor, "S_plus_1"]
    gaussian_ids: Int32[Tensor, "nnz"]
    weights: Float32[Tensor, "nnz"]
    num_gaussians: int
    view_ids: Int[Tensor, "S"]
    """Index of the view that each segment lies in."""
    segment_ids: Int[Tensor, "S"]
    """ID of the segment in that view's label map."""
    num_pixels: Int[Tensor, "S"]
    """Pixels of each segment."""

    @property
    def num_segments(self) -> int:
        return self.view_ids.shape[0]


@dataclass(frozen=True)
class GlobalClusters:
    """Global clusters of one level, and the table that makes a click a look-up."""

    level: str
    centers: Float[Tensor, "C D"]
    """Normalised mean features (the paper's global feature candidates)."""
    labels: Int[Tensor, "N"]
    """Cluster of each Gaussian, NO_CLUSTER where there is none."""
    confidence: Float[Tensor, "N"]
    """In [0, 1]: how much of the Gaussian is seen, times how well it fits its cluster."""

    @property
    def num_clusters(self) -> int:
        return self.centers.shape[0]


@dataclass(frozen=True)
class ClusterTree:
    """What clusters join to, from the finest level's up to everything. Nodes are numbered: the clusters of each level,
    finest level first, then what they join to; a parent has a higher granularity than its children."""

    levels: tuple[str, ...]
    """Fine to coarse."""
    counts: tuple[int, ...]
    """Clusters of each level."""
    parents: Int[Tensor, "M"]
    """int32; -1 at the root."""
    granularity: Float[Tensor, "M"]
    """In [0, 1]: 0 are the finest level's clusters, 1 is everything."""


@dataclass(frozen=True)
class Selection:
    """A set of Gaussians picked at one level."""

    level: str
    cluster_ids: tuple[int, ...]
    """Ascending; empty where the selection was not made of clusters."""
    mask: Bool[Tensor, "N"]

    @property
    def num_selected(self) -> int:
        return int(self.mask.sum())


@dataclass(frozen=True)
class Click:
    """A clicked pixel: x to the right, y down, in pixels of the view, origin in the top left corner."""

    x_px: float
    y_px: float
    negative: bool = False
