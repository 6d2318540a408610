"""What a view is made into before it is drawn, and what drawing gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.raster.scalar_math import TILE
from click_gaussian_ns.types import PinholeView, Splats


@dataclass(frozen=True)
class PreparedView:
    """One view of one scene, ready to blend. Its arrays are NumPy (CPU) or None (CUDA: gsplat does it all)."""

    splats: Splats
    view: PinholeView
    rasterize_mode: RasterizeMode
    visible_ids: np.ndarray | None = None
    """[M] int32 Gaussians in view, front to back."""
    packed: np.ndarray | None = None
    """[M, 8] float32, see raster.cpu.PACKED_FIELDS."""
    tile_offsets: np.ndarray | None = None
    """[T + 1] int64."""
    tile_entries: np.ndarray | None = None
    """Places in visible_ids, tile by tile, front to back."""

    @property
    def tiles_x(self) -> int:
        return -(-self.view.width // TILE)

    @property
    def tiles_y(self) -> int:
        return -(-self.view.height // TILE)

    @property
    def num_bytes(self) -> int:
        """Memory that keeping this view costs."""
        arrays = (self.visible_ids, self.packed, self.tile_offsets, self.tile_entries)
        return sum(array.nbytes for array in arrays if array is not None)

    @property
    def lists(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """packed, visible_ids, tile_offsets, tile_entries: what every CPU kernel takes first.

        Raises:
            ValueError: the view was prepared on another device.
        """
        if self.packed is None or self.visible_ids is None or self.tile_offsets is None or self.tile_entries is None:
            raise ValueError("blending weights are made on the CPU: prepare the view with splats on the CPU")
        return self.packed, self.visible_ids, self.tile_offsets, self.tile_entries


@dataclass(frozen=True)
class Rendered:
    """Pictures of one view, float32, no background."""

    image: Float[Tensor, "H W C"]
    """Sum of w times the value of each Gaussian."""
    depth: Float[Tensor, "H W 1"]
    """Expected depth along the camera's axis, world units; 0 where alpha is 0."""
    alpha: Float[Tensor, "H W 1"]
