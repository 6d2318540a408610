"""The engine of CUDA: gsplat draws frames, PyTorch multiplies. The only module that imports gsplat."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from click_gaussian_ns.raster import products
from click_gaussian_ns.raster.prepared import PreparedView, Rendered
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.splats.spherical_harmonics import view_colors
from click_gaussian_ns.types import BlendWeights, PinholeView, Splats


class _CudaEngine:
    runs_kernels = False

    def prepare(self, splats: Splats, view: PinholeView, rasterize_mode: RasterizeMode) -> PreparedView:
        return PreparedView(splats, view, rasterize_mode)

    def colors(self, prepared: PreparedView) -> Float[Tensor, "N 3"]:
        return view_colors(prepared.splats, prepared.view)

    def render(self, prepared: PreparedView, values: Float[Tensor, "N C"]) -> Rendered:
        """Differentiable in the values."""
        from gsplat.rendering import rasterization

        splats, view = prepared.splats, prepared.view
        like = {"device": splats.means.device, "dtype": torch.float32}
        image, alpha, _ = rasterization(
            means=splats.means,
            quats=splats.quats,
            scales=splats.log_scales.exp(),
            opacities=splats.opacity_logits.sigmoid(),
            colors=values,
            viewmats=view.viewmat[None].to(**like),
            Ks=view.K[None].to(**like),
            width=view.width,
            height=view.height,
            render_mode="RGB+ED",
            rasterize_mode=prepared.rasterize_mode,
            packed=False,
        )
        return Rendered(image[0, ..., :-1], image[0, ..., -1:], alpha[0])

    def at_pixels(
        self,
        prepared: PreparedView,
        features: Float[Tensor, "N C"],
        pixel_ids: Int[Tensor, " P"],
        source_ids: Int[Tensor, " M"] | None,
    ) -> tuple[Float[Tensor, "P C"], Float[Tensor, " P"]]:
        drawn = self.render(prepared, features if source_ids is None else features[source_ids.long()])
        pixels = pixel_ids.to(features.device)
        return drawn.image.reshape(-1, features.shape[1])[pixels], drawn.alpha.reshape(-1)[pixels]

    def blend(self, rows: BlendWeights, features: Float[Tensor, "N C"]) -> Float[Tensor, "P C"]:
        return products.blend(rows, features)

    def seen_weight(self, prepared: PreparedView, where: Bool[np.ndarray, "H W"]) -> Float[Tensor, " N"]:
        ones = torch.ones(prepared.splats.num_gaussians, 1, device=prepared.splats.means.device, requires_grad=True)
        with torch.enable_grad():
            # a product: the gradient of picking pixels would sort them
            total = (self.render(prepared, ones).image[..., 0] * torch.from_numpy(where).to(ones.device)).sum()
            return torch.autograd.grad(total, ones)[0][:, 0]


CUDA = _CudaEngine()
