"""The engine of the CPU: project, sort, bin and blend by our kernels."""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

import numba
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from click_gaussian_ns.raster import cpu, matrices, sparse
from click_gaussian_ns.raster.colors import colors_of
from click_gaussian_ns.raster.prepared import PreparedView, Rendered
from click_gaussian_ns.raster.project import Projection, RasterizeMode, depth_order, freeze, project
from click_gaussian_ns.raster.sparse import csr, float32_array
from click_gaussian_ns.splats.cameras import camera_center
from click_gaussian_ns.types import BlendWeights, PinholeView, Splats

_ALL = np.empty(0, np.int32)


class _CpuEngine:
    runs_kernels = True

    def prepare(self, splats: Splats, view: PinholeView, rasterize_mode: RasterizeMode) -> PreparedView:
        found = _project(splats, view, rasterize_mode, _ALL)
        ids = depth_order(found.depths, found.radii_px)
        packed, boxes = cpu.in_order(ids, found.packed, found.boxes)
        prepared = PreparedView(splats, view, rasterize_mode)
        offsets, entries = cpu.bin_tiles(packed, boxes, prepared.tiles_x, prepared.tiles_y, numba.get_num_threads())
        return PreparedView(splats, view, rasterize_mode, ids, packed, offsets, entries)

    def colors(self, prepared: PreparedView) -> Float[Tensor, "N 3"]:
        """0 for all Gaussians that are not in view, which costs nothing."""
        splats, center = prepared.splats, camera_center(prepared.view)
        return torch.from_numpy(
            colors_of(float32_array(splats.sh), float32_array(splats.means), float32_array(center), prepared.lists[1])
        )

    def render(self, prepared: PreparedView, values: Float[Tensor, "N C"]) -> Rendered:
        width, height = prepared.view.width, prepared.view.height
        image, depth_sum, alpha = cpu.blend(*prepared.lists, float32_array(values), width, height, prepared.tiles_x)
        depth = depth_sum / np.maximum(alpha, 1e-10)
        return Rendered(torch.from_numpy(image), torch.from_numpy(depth)[..., None], torch.from_numpy(alpha)[..., None])

    def at_pixels(
        self,
        prepared: PreparedView,
        features: Float[Tensor, "N C"],
        pixel_ids: Int[Tensor, " P"],
        source_ids: Int[Tensor, " M"] | None,
    ) -> tuple[Float[Tensor, "P C"], Float[Tensor, " P"]]:
        rows, alpha = matrices.rows_and_alpha(prepared, pixel_ids, source_ids, features.shape[0])
        return self.blend(rows, features), alpha

    def blend(self, rows: BlendWeights, features: Float[Tensor, "N C"]) -> Float[Tensor, "P C"]:
        return _SparseProduct.apply(features, rows)  # pyright: ignore[reportReturnType]

    def seen_weight(self, prepared: PreparedView, where: Bool[np.ndarray, "H W"]) -> Float[Tensor, " N"]:
        rows = matrices.pool(prepared, where.astype(np.uint16), 0)
        seen = torch.zeros(prepared.splats.num_gaussians)
        if rows.num_segments:
            seen[rows.gaussian_ids.long()] = rows.weights * float(rows.num_pixels[0])
        return seen


CPU = _CpuEngine()


def without_projection(prepared: PreparedView) -> PreparedView:
    """A view's order and lists alone, a third of its memory: `with_projection` makes it whole again."""
    return replace(prepared, packed=None)


def with_projection(prepared: PreparedView) -> PreparedView:
    """The same as before `without_projection`, to the last bit, without sorting and binning."""
    ids = prepared.visible_ids
    if prepared.packed is not None or ids is None:
        return prepared
    if ids.shape[0] == 0:
        return replace(prepared, packed=np.empty((0, cpu.PACKED_FIELDS), np.float32))
    return replace(prepared, packed=_project(prepared.splats, prepared.view, prepared.rasterize_mode, ids).packed)


def _project(splats: Splats, view: PinholeView, rasterize_mode: RasterizeMode, ids: np.ndarray) -> Projection:
    """Of the Gaussians `ids`, in that order, or of all if there are none."""
    return Projection(
        *project(
            ids,
            _frozen(splats),
            view.viewmat.detach().double().numpy(),
            view.K.detach().double().numpy(),
            view.width,
            view.height,
            rasterize_mode == "antialiased",
        )
    )


_FROZEN: WeakKeyDictionary[Splats, tuple[tuple[int, ...], np.ndarray]] = WeakKeyDictionary()
"""`freeze` of the splats that are alive: geometry is frozen, all views of a scene share it."""


def _frozen(splats: Splats) -> Float32[np.ndarray, "N 16"]:
    """Kept until a parameter is written to, moved or gone."""
    parts = (splats.means, splats.quats, splats.log_scales, splats.opacity_logits)
    made_of = tuple(n for t in parts for n in (t.data_ptr(), 0 if t.is_inference() else t._version))
    kept = _FROZEN.get(splats)
    if kept is None or kept[0] != made_of:
        kept = made_of, freeze(*map(float32_array, parts))
        _FROZEN[splats] = kept
    return kept[1]


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: Tensor, rows: BlendWeights) -> Tensor:
        ctx.rows = rows
        return torch.from_numpy(sparse.multiply(*csr(rows), float32_array(features))).to(features.dtype)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        rows = ctx.rows
        out = sparse.multiply_transposed(
            *csr(rows), float32_array(grads[0]), rows.num_gaussians, numba.get_num_threads()
        )
        return torch.from_numpy(out).to(grads[0].dtype), None
