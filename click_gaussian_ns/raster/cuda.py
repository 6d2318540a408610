"""The engine of CUDA: gsplat draws frames, PyTorch multiplies. The only module that imports gsplat."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

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
        device = features.device
        # told apart on the device: a number per row goes there, not one per entry
        counts, num_entries = rows.row_offsets.diff().to(device), rows.weights.shape[0]
        owner = torch.repeat_interleave(torch.arange(rows.num_rows, device=device), counts, output_size=num_entries)
        return _Product.apply(  # pyright: ignore[reportReturnType]
            features, owner, rows.gaussian_ids.to(device).long(), rows.weights.to(device), rows.num_rows
        )

    def seen_weight(self, prepared: PreparedView, where: Bool[np.ndarray, "H W"]) -> Float[Tensor, " N"]:
        ones = torch.ones(prepared.splats.num_gaussians, 1, device=prepared.splats.means.device, requires_grad=True)
        with torch.enable_grad():
            total = self.render(prepared, ones).image[torch.from_numpy(where).to(ones.device)].sum()
            return torch.autograd.grad(total, ones)[0][:, 0]


CUDA = _CudaEngine()


class _Product(torch.autograd.Function):
    """Rows times features, on the device that the features lie on."""

    @staticmethod
    def forward(ctx, features: Tensor, owner: Tensor, gaussian_ids: Tensor, weights: Tensor, num_rows: int) -> Tensor:
        ctx.save_for_backward(owner, gaussian_ids, weights)
        ctx.num_gaussians = features.shape[0]
        out = features.new_zeros(num_rows, features.shape[1])
        return out.index_add_(0, owner, features[gaussian_ids] * weights[:, None])

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        owner, gaussian_ids, weights = ctx.saved_tensors
        out = grads[0].new_zeros(ctx.num_gaussians, grads[0].shape[1])
        return out.index_add_(0, gaussian_ids, grads[0][owner] * weights[:, None]), None, None, None, None
