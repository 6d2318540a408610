"""The one seam between devices. Where the Gaussians lie decides who draws them; nothing else in the package asks.

Blending weights are constant, as geometry is frozen: rows of sampled pixels and the pooling matrix are made by the CPU
kernels for every engine (raster/matrices.py). An engine draws frames and multiplies.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from click_gaussian_ns.raster import gsplat_build
from click_gaussian_ns.raster.prepared import PreparedView, Rendered
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.types import BlendWeights, PinholeView, Splats


@runtime_checkable
class Engine(Protocol):
    """What depends on the device. Callers check shapes and ranges (raster/rasterize.py)."""

    @property
    def runs_kernels(self) -> bool:
        """Whether our CPU kernels can work on this engine's tensors: a training step is then one fused pass."""
        ...

    def prepare(self, splats: Splats, view: PinholeView, rasterize_mode: RasterizeMode) -> PreparedView: ...

    def colors(self, prepared: PreparedView) -> Float[Tensor, "N 3"]:
        """RGB of the Gaussians that the view shows, as seen from its centre, clamped below at 0."""
        ...

    def render(self, prepared: PreparedView, values: Float[Tensor, "N C"]) -> Rendered: ...

    def at_pixels(
        self,
        prepared: PreparedView,
        features: Float[Tensor, "N C"],
        pixel_ids: Int[Tensor, " P"],
        source_ids: Int[Tensor, " M"] | None,
    ) -> tuple[Float[Tensor, "P C"], Float[Tensor, " P"]]:
        """Rendered features and alpha at a few pixels; `source_ids` is the row of `features` of each Gaussian."""
        ...

    def blend(self, rows: BlendWeights, features: Float[Tensor, "N C"]) -> Float[Tensor, "P C"]:
        """W f, differentiable in the features."""
        ...

    def seen_weight(self, prepared: PreparedView, where: Bool[np.ndarray, "H W"]) -> Float[Tensor, " N"]:
        """Blending weight of every Gaussian summed over the pixels of `where`, px."""
        ...


def engine_of(tensor: Tensor) -> Engine:
    """The engine of the device that a tensor lies on."""
    if tensor.is_cuda and gsplat_build.why_gsplat_cannot_draw() is None:
        from click_gaussian_ns.raster.cuda import CUDA

        return CUDA
    if tensor.is_cuda:
        from click_gaussian_ns.raster.host_frames import HOST_FRAMES

        return HOST_FRAMES
    from click_gaussian_ns.raster.cpu_engine import CPU

    return CPU
