"""Which Gaussians a camera sees, in the whole picture or in a rectangle of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.splats.cameras import project_points
from click_gaussian_ns.types import PinholeView, Splats

Place = tuple[float, float]
"""x to the right, y down, px."""
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


def centers_within(splats: Splats, view: PinholeView, corners: Sequence[Place]) -> Bool[Tensor, " N"]:
    """Gaussians in front of the camera whose centre projects into a rectangle (two opposite corners) or a polygon."""
    if len(corners) == 2:
        return centers_inside(splats, view, *_low_and_high(corners))
    projected, depth = project_points(splats.means, view)
    where = torch.from_numpy(pixels_within(view, corners)).to(projected.device)
    x, y = projected.nan_to_num(-1.0).clamp(-1e6, 1e6).floor().long().unbind(dim=1)
    in_picture = (depth > 1e-2) & (x >= 0) & (y >= 0) & (x < view.width) & (y < view.height)
    return in_picture & where[y.clamp(0, view.height - 1), x.clamp(0, view.width - 1)]


def pixels_within(view: PinholeView, corners: Sequence[Place]) -> Bool[np.ndarray, "H W"]:
    """Pixels of a rectangle (two opposite corners), whole ones, or of a polygon."""
    where = np.zeros((view.height, view.width), bool)
    if len(corners) == 2:
        (x0, y0), (x1, y1) = _low_and_high(corners)
        where[max(int(y0), 0) : int(np.ceil(y1)), max(int(x0), 0) : int(np.ceil(x1))] = True
        return where
    import skimage.draw

    rows, columns = skimage.draw.polygon([y for _, y in corners], [x for x, _ in corners], where.shape)
    where[rows, columns] = True
    return where


def _low_and_high(corners: Sequence[Place]) -> tuple[Place, Place]:
    (x0, y0), (x1, y1) = corners
    return (min(x0, x1), min(y0, y1)), (max(x0, x1), max(y0, y1))
