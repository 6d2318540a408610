"""The engine of a GPU on which gsplat does not draw: our CPU kernels draw the frames, the GPU multiplies and trains."""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from click_gaussian_ns.raster import matrices, products
from click_gaussian_ns.raster.cpu_engine import CPU
from click_gaussian_ns.raster.prepared import PreparedView, Rendered
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.splats.subset import on_cpu
from click_gaussian_ns.types import BlendWeights, PinholeView, Splats

_ON_HOST: WeakKeyDictionary[Splats, Splats] = WeakKeyDictionary()
"""CPU copies of the splats that are alive: geometry is frozen, and all views of a scene share it."""


class _HostFrames:
    runs_kernels = False

    def prepare(self, splats: Splats, view: PinholeView, rasterize_mode: RasterizeMode) -> PreparedView:
        return replace(CPU.prepare(_on_host(splats), view, rasterize_mode), splats=splats)

    def colors(self, prepared: PreparedView) -> Float[Tensor, "N 3"]:
        on_host = replace(prepared, splats=_on_host(prepared.splats))
        return CPU.colors(on_host).to(prepared.splats.means.device)

    def render(self, prepared: PreparedView, values: Float[Tensor, "N C"]) -> Rendered:
        """No gradient: nothing trains through a frame."""
        drawn = CPU.render(prepared, values.detach().cpu())
        device = values.device
        return Rendered(drawn.image.to(device), drawn.depth.to(device), drawn.alpha.to(device))

    def at_pixels(
        self,
        prepared: PreparedView,
        features: Float[Tensor, "N C"],
        pixel_ids: Int[Tensor, " P"],
        source_ids: Int[Tensor, " M"] | None,
    ) -> tuple[Float[Tensor, "P C"], Float[Tensor, " P"]]:
        sources = None if source_ids is None else source_ids.cpu()
        rows, alpha = matrices.rows_and_alpha(prepared, pixel_ids.cpu(), sources, features.shape[0])
        return self.blend(rows, features), alpha.to(features.device)

    def blend(self, rows: BlendWeights, features: Float[Tensor, "N C"]) -> Float[Tensor, "P C"]:
        return products.blend(rows, features)

    def seen_weight(self, prepared: PreparedView, where: Bool[np.ndarray, "H W"]) -> Float[Tensor, " N"]:
        return CPU.seen_weight(prepared, where).to(prepared.splats.means.device)


HOST_FRAMES = _HostFrames()


def _on_host(splats: Splats) -> Splats:
    kept = _ON_HOST.get(splats)
    if kept is None:
        kept = _ON_HOST[splats] = on_cpu(splats)
    return kept
