"""The CUDA path, dense, by gsplat. The only module that imports it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.types import PinholeView, Splats


def render(
    splats: Splats, view: PinholeView, rasterize_mode: RasterizeMode, values: Float[Tensor, "N C"]
) -> tuple[Float[Tensor, "H W C"], Float[Tensor, "H W 1"], Float[Tensor, "H W 1"]]:
    """Blended values, expected depth and alpha; differentiable in the values."""
    from gsplat.rendering import rasterization

    device = splats.means.device
    image, alpha, _ = rasterization(
        means=splats.means,
        quats=splats.quats,
        scales=splats.log_scales.exp(),
        opacities=splats.opacity_logits.sigmoid(),
        colors=values,
        viewmats=view.viewmat[None].to(device=device, dtype=torch.float32),
        Ks=view.K[None].to(device=device, dtype=torch.float32),
        width=view.width,
        height=view.height,
        render_mode="RGB+ED",
        rasterize_mode=rasterize_mode,
        packed=False,
    )
    return image[0, ..., :-1], image[0, ..., -1:], alpha[0]
