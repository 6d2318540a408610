"""The one door to rasterization: `prepare` a view, then draw it or read it.

On CPU a prepared view holds the projected, depth-sorted and tile-binned Gaussians; on CUDA gsplat draws it. Both give
the same numbers (tests/parity). Which of them it is, raster/engine.py decides.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from click_gaussian_ns.raster.engine import engine_of
from click_gaussian_ns.raster.prepared import PreparedView, Rendered
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.types import BlendWeights, PinholeView, Splats


def prepare(splats: Splats, view: PinholeView, rasterize_mode: RasterizeMode = "classic") -> PreparedView:
    """Project, cull, sort and bin the Gaussians of one view (CPU), or note what to render (CUDA).

    Constants and rules are gsplat 1.4.0's: alpha in [1/255, 0.999], transmittance above 1e-4, blur 0.3 px^2, tiles of
    16 px reached by the 3-sigma radius. `rasterize_mode` "antialiased" scales opacities by the blur's compensation.
    """
    return engine_of(splats.means).prepare(splats, view, rasterize_mode)


def render(prepared: PreparedView, values: Float[Tensor, "N C"] | None = None) -> Rendered:
    """Blend per-Gaussian values of any number of channels, or RGB from the spherical harmonics if there are none.

    RGB is in [0, inf): each Gaussian's colour is clamped below at 0 as gsplat does it, the picture is not clamped.

    Raises:
        ValueError: as many values as Gaussians were expected.
    """
    if values is None:
        values = visible_colors(prepared)
    _check_count(values, prepared.splats.num_gaussians)
    return engine_of(prepared.splats.means).render(prepared, values)


def visible_colors(prepared: PreparedView) -> Float[Tensor, "N 3"]:
    """RGB of the Gaussians that the view shows, as seen from its centre, clamped below at 0."""
    return engine_of(prepared.splats.means).colors(prepared)


def at_pixels(
    prepared: PreparedView,
    features: Float[Tensor, "N C"],
    pixel_ids: Int[Tensor, " P"],
    source_ids: Int[Tensor, " M"] | None = None,
) -> tuple[Float[Tensor, "P C"], Float[Tensor, " P"]]:
    """Rendered features and alpha at a few pixels (row * width + column); no gradient.

    `source_ids` gives the row of `features` of each of the view's M Gaussians; without it they are the same.

    Raises:
        ValueError: another number of features than of Gaussians, or a pixel outside the view.
    """
    _check_count(features if source_ids is None else source_ids, prepared.splats.num_gaussians)
    num_pixels = prepared.view.width * prepared.view.height
    if pixel_ids.numel() and (int(pixel_ids.min()) < 0 or int(pixel_ids.max()) >= num_pixels):
        raise ValueError(f"pixel_ids must lie in [0, {num_pixels}), got {int(pixel_ids.min())}..{int(pixel_ids.max())}")
    return engine_of(features).at_pixels(prepared, features.detach(), pixel_ids, source_ids)


def blend(rows: BlendWeights, features: Float[Tensor, "N C"]) -> Float[Tensor, "P C"]:
    """W f: the rendered features of the rows' pixels, differentiable in the features.

    Raises:
        ValueError: as many features as Gaussians were expected.
    """
    _check_count(features, rows.num_gaussians)
    return engine_of(features).blend(rows, features)


def seen_weight(prepared: PreparedView, where: Bool[np.ndarray, "H W"]) -> Float[Tensor, " N"]:
    """Blending weight of every Gaussian summed over the pixels of `where`, px."""
    return engine_of(prepared.splats.means).seen_weight(prepared, where)


def _check_count(values: Tensor, num_gaussians: int) -> None:
    """The kernels index without bounds checks."""
    if values.shape[0] != num_gaussians:
        raise ValueError(f"there are {num_gaussians} Gaussians, but values for {values.shape[0]}")
