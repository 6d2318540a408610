"""Which Gaussians a camera sees, in the whole picture or in a rectangle of it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool
from torch import Tensor

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.splats.cameras import project_points
from click_gaussian_ns.types import PinholeView, Splats

_SEEN_PX = 0.25
"""Blending weight, summed over pixels, from which a Gaussian counts as seen."""


def front_surface(prepared: PreparedView, where: Bool[np.ndarray, "H W"] | None = None) -> Bool[Tensor, " N"]:
    """Gaussians that show in the picture, or in its pixels `where`: what lies behind others is not among them."""
    everywhere = np.ones((prepared.view.height, prepared.view.width), bool)
    return rasterize.seen_weight(prepared, everywhere if where is None else where) >= _SEEN_PX


def centers_inside(
    splats: Splats, view: PinholeView, low_px: tuple[float, float], high_px: tuple[float, float]
) -> Bool[Tensor, " N"]:
    """Gaussians in front of the camera whose centre projects into a rectangle (x, y), however deep they lie."""
    projected, depth = project_points(splats.means, view)
    low, high = projected.new_tensor(low_px), projected.new_tensor(high_px)
    return (depth > 1e-2) & (projected >= low).all(dim=1) & (projected <= high).all(dim=1)
