"""Which Gaussians a camera sees, in the whole picture or in a rectangle of it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.types import PinholeView, Splats

_SEEN_PX = 0.25
"""Blending weight, summed over pixels, from which a Gaussian counts as seen."""


def seen_weight(prepared: rasterize.PreparedView, where: Bool[np.ndarray, "H W"]) -> Float[Tensor, " N"]:
    """Blending weight of every Gaussian summed over the pixels of `where`, px."""
    num = prepared.splats.num_gaussians
    if prepared.splats.means.is_cuda:
        values = torch.ones(num, 1, device=prepared.splats.means.device, requires_grad=True)
        with torch.enable_grad():
            total = rasterize.render(prepared, values).image[torch.from_numpy(where).to(values.device)].sum()
            return torch.autograd.grad(total, values)[0][:, 0]
    rows = rasterize.pool(prepared, where.astype(np.uint16), 0)
    seen = torch.zeros(num)
    if rows.num_segments:
        seen[rows.gaussian_ids.long()] = rows.weights * float(rows.num_pixels[0])
    return seen


def front_surface(prepared: rasterize.PreparedView, where: Bool[np.ndarray, "H W"] | None = None) -> Bool[Tensor, " N"]:
    """Gaussians that show in the picture, or in its pixels `where`: what lies behind others is not among them."""
    everywhere = np.ones((prepared.view.height, prepared.view.width), bool)
    return seen_weight(prepared, everywhere if where is None else where) >= _SEEN_PX


def centers_inside(
    splats: Splats, view: PinholeView, low_px: tuple[float, float], high_px: tuple[float, float]
) -> Bool[Tensor, " N"]:
    """Gaussians in front of the camera whose centre projects into a rectangle (x, y), however deep they lie."""
    viewmat, K = view.viewmat.to(splats.means), view.K.to(splats.means)
    in_camera = splats.means @ viewmat[:3, :3].T + viewmat[:3, 3]
    depth = in_camera[:, 2]
    projected = (in_camera @ K.T)[:, :2] / depth.clamp_min(1e-9)[:, None]
    low, high = projected.new_tensor(low_px), projected.new_tensor(high_px)
    return (depth > 1e-2) & (projected >= low).all(dim=1) & (projected <= high).all(dim=1)
