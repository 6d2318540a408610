"""The one door to rasterization: `prepare`, then `render`, `blend_weights`, `sample` and `pool` on what it returns.

On CPU a prepared view holds the projected, depth-sorted and tile-binned Gaussians, and all four work on that. On CUDA
gsplat renders densely, and `sample` gathers: both give the same numbers (tests/parity).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numba
import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt16
from torch import Tensor

from click_gaussian_ns.raster import cpu, sparse
from click_gaussian_ns.raster.colors import colors_of
from click_gaussian_ns.raster.pool import pool_view
from click_gaussian_ns.raster.project import Projection, RasterizeMode, depth_order, freeze, project
from click_gaussian_ns.raster.rows import blend_rows, pixels_by_tile
from click_gaussian_ns.raster.scalar_math import TILE
from click_gaussian_ns.splats.cameras import camera_center
from click_gaussian_ns.splats.spherical_harmonics import eval_sh
from click_gaussian_ns.types import BlendWeights, PinholeView, SegmentWeights, Splats

_ALL = np.empty(0, np.int32)


@dataclass(frozen=True)
class PreparedView:
    """One view of one scene, ready to blend. Its arrays are NumPy (CPU) or None (CUDA: gsplat does it all)."""

    splats: Splats
    view: PinholeView
    rasterize_mode: RasterizeMode
    visible_ids: np.ndarray | None = None
    """[M] int32 Gaussians in view, front to back."""
    packed: np.ndarray | None = None
    """[M, 8] float32, see raster.cpu.PACKED_FIELDS."""
    tile_offsets: np.ndarray | None = None
    """[T + 1] int64."""
    tile_entries: np.ndarray | None = None
    """Places in visible_ids, tile by tile, front to back."""

    @property
    def tiles_x(self) -> int:
        return -(-self.view.width // TILE)

    @property
    def tiles_y(self) -> int:
        return -(-self.view.height // TILE)

    @property
    def num_bytes(self) -> int:
        """Memory that keeping this view costs."""
        arrays = (self.visible_ids, self.packed, self.tile_offsets, self.tile_entries)
        return sum(array.nbytes for array in arrays if array is not None)

    @property
    def lists(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """packed, visible_ids, tile_offsets, tile_entries: what every CPU kernel takes first."""
        if self.packed is None or self.visible_ids is None or self.tile_offsets is None or self.tile_entries is None:
            raise ValueError("blending weights are made on the CPU: prepare the view with splats on the CPU")
        return self.packed, self.visible_ids, self.tile_offsets, self.tile_entries


@dataclass(frozen=True)
class Rendered:
    """Pictures of one view, float32, no background."""

    image: Float[Tensor, "H W C"]
    """Sum of w times the value of each Gaussian."""
    depth: Float[Tensor, "H W 1"]
    """Expected depth along the camera's axis, world units; 0 where alpha is 0."""
    alpha: Float[Tensor, "H W 1"]


def prepare(splats: Splats, view: PinholeView, rasterize_mode: RasterizeMode = "classic") -> PreparedView:
    """Project, cull, sort and bin the Gaussians of one view (CPU), or note what to render (CUDA).

    Constants and rules are gsplat 1.4.0's: alpha in [1/255, 0.999], transmittance above 1e-4, blur 0.3 px^2, tiles of
    16 px reached by the 3-sigma radius. `rasterize_mode` "antialiased" scales opacities by the blur's compensation.
    """
    if splats.means.is_cuda:
        return PreparedView(splats, view, rasterize_mode)
    found = _project(splats, view, rasterize_mode, _ALL)
    ids = depth_order(found.depths, found.radii_px)
    packed, boxes = cpu.in_order(ids, found.packed, found.boxes)
    prepared = PreparedView(splats, view, rasterize_mode)
    offsets, entries = cpu.bin_tiles(boxes, prepared.tiles_x, prepared.tiles_y, numba.get_num_threads())
    return PreparedView(splats, view, rasterize_mode, ids, packed, offsets, entries)


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
        kept = made_of, freeze(*map(_numpy, parts))
        _FROZEN[splats] = kept
    return kept[1]


def without_projection(prepared: PreparedView) -> PreparedView:
    """A view's order and lists alone, a third of its memory: `with_projection` makes it whole again."""
    return replace(prepared, packed=None)


def with_projection(prepared: PreparedView) -> PreparedView:
    """The same as before `without_projection`, to the last bit, without sorting and binning; CPU only."""
    ids = prepared.visible_ids
    if prepared.packed is not None or ids is None:
        return prepared
    if ids.shape[0] == 0:
        return replace(prepared, packed=np.empty((0, cpu.PACKED_FIELDS), np.float32))
    return replace(prepared, packed=_project(prepared.splats, prepared.view, prepared.rasterize_mode, ids).packed)


def render(prepared: PreparedView, values: Float[Tensor, "N C"] | None = None) -> Rendered:
    """Blend per-Gaussian values of any number of channels, or RGB from the spherical harmonics if there are none.

    RGB is in [0, inf): each Gaussian's colour is clamped below at 0 as gsplat does it, the picture is not clamped.

    Raises:
        ValueError: as many values as Gaussians were expected.
    """
    if values is None:
        values = visible_colors(prepared)
    _check_count(values, prepared.splats.num_gaussians)
    if prepared.splats.means.is_cuda:
        from click_gaussian_ns.raster import cuda

        image, depth, alpha = cuda.render(prepared.splats, prepared.view, prepared.rasterize_mode, values)
        return Rendered(image, depth, alpha)
    image, depth_sum, alpha = cpu.blend(
        *prepared.lists, _numpy(values), prepared.view.width, prepared.view.height, prepared.tiles_x
    )
    depth = depth_sum / np.maximum(alpha, 1e-10)
    return Rendered(torch.from_numpy(image), torch.from_numpy(depth)[..., None], torch.from_numpy(alpha)[..., None])


def view_colors(splats: Splats, view: PinholeView) -> Float[Tensor, "N 3"]:
    """RGB of every Gaussian as seen from the view's centre, clamped below at 0."""
    directions = torch.nn.functional.normalize(splats.means - camera_center(view).to(splats.means), dim=-1)
    return eval_sh(splats.sh, directions).clamp_min(0.0)


def visible_colors(prepared: PreparedView) -> Float[Tensor, "N 3"]:
    """`view_colors` of the Gaussians that the view shows; on CPU 0 for all others, which costs nothing."""
    splats, ids = prepared.splats, prepared.visible_ids
    if ids is None:
        return view_colors(splats, prepared.view)
    center = camera_center(prepared.view)
    return torch.from_numpy(colors_of(_numpy(splats.sh), _numpy(splats.means), _numpy(center), ids))


def blend_weights(prepared: PreparedView, pixel_ids: Int[Tensor, " P"]) -> BlendWeights:
    """Rows of w = alpha T for pixels given as row * width + column; CPU only.

    Raises:
        ValueError: a pixel outside the view.
    """
    pixels = np.ascontiguousarray(pixel_ids.numpy(), dtype=np.int64)
    view = prepared.view
    if pixels.size and (pixels.min() < 0 or pixels.max() >= view.width * view.height):
        raise ValueError(f"pixel_ids must lie in [0, {view.width * view.height}), got {pixels.min()}..{pixels.max()}")
    packed, ids, offsets, entries = prepared.lists
    order, tile_starts = pixels_by_tile(pixels, view.width, prepared.tiles_x, offsets.shape[0] - 1)
    row_offsets, gaussian_ids, weights = blend_rows(
        packed, ids, offsets, entries, pixels, order, tile_starts, view.width, prepared.tiles_x
    )
    return BlendWeights(
        torch.from_numpy(row_offsets),
        torch.from_numpy(gaussian_ids),
        torch.from_numpy(weights),
        prepared.splats.num_gaussians,
    )


class _SparseProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: Tensor, rows: BlendWeights) -> Tensor:
        ctx.rows = rows
        return torch.from_numpy(sparse.multiply(*_csr(rows), _numpy(features))).to(features.dtype)

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None]:
        rows = ctx.rows
        out = sparse.multiply_transposed(*_csr(rows), _numpy(grads[0]), rows.num_gaussians, numba.get_num_threads())
        return torch.from_numpy(out).to(grads[0].dtype), None


def blend(rows: BlendWeights, features: Float[Tensor, "N C"]) -> Float[Tensor, "P C"]:
    """W f: the rendered features of the rows' pixels, differentiable in the features.

    Raises:
        ValueError: as many features as Gaussians were expected.
    """
    _check_count(features, rows.num_gaussians)
    return _SparseProduct.apply(features, rows)  # pyright: ignore[reportReturnType]


def add_gradient(rows: BlendWeights, grad_pixels: Float[Tensor, "P C"], gradient: Float32[np.ndarray, "N C"]) -> None:
    """Add W^T times the gradient with respect to `blend`'s result to that with respect to its features; CPU only.

    Raises:
        ValueError: the gradient has not as many rows as there are Gaussians.
    """
    if gradient.shape[0] != rows.num_gaussians:
        raise ValueError(f"there are {rows.num_gaussians} Gaussians, but gradients for {gradient.shape[0]}")
    sparse.add_transposed(*_csr(rows), _numpy(grad_pixels), gradient, numba.get_num_threads())


def sample(
    prepared: PreparedView, features: Float[Tensor, "N C"], pixel_ids: Int[Tensor, " P"]
) -> Float[Tensor, "P C"]:
    """Rendered features at pixels (row * width + column), differentiable in the features.

    Raises:
        ValueError: another number of features than of Gaussians, or (on CPU) a pixel outside the view.
    """
    if features.is_cuda:
        _check_count(features, prepared.splats.num_gaussians)
        from click_gaussian_ns.raster import cuda

        image, _, _ = cuda.render(prepared.splats, prepared.view, prepared.rasterize_mode, features)
        return image.reshape(-1, features.shape[1])[pixel_ids]
    return blend(blend_weights(prepared, pixel_ids), features)


def pool(prepared: PreparedView, labels: UInt16[np.ndarray, "H W"], view_id: int) -> SegmentWeights:
    """The rows of A (Eq. 6) for the segments of one view's label map, by ascending segment ID; CPU only.

    Raises:
        ValueError: the label map has another size than the view.
    """
    return pool_levels(prepared, labels[None], view_id)[0][0]


def pool_levels(
    prepared: PreparedView, labels: UInt16[np.ndarray, "L H W"], view_id: int
) -> tuple[list[SegmentWeights], PreparedView]:
    """`pool` of every level at once, and the same view without all that no pixel of it meets: it draws the same.

    Raises:
        ValueError: the label maps have another size than the view.
    """
    if labels.shape[1:] != (prepared.view.height, prepared.view.width):
        raise ValueError(
            f"label map is {labels.shape[2]}x{labels.shape[1]} but the view is "
            f"{prepared.view.width}x{prepared.view.height} (width x height)"
        )
    num_gaussians = prepared.splats.num_gaussians
    pooled, met = pool_view(
        *prepared.lists, np.ascontiguousarray(labels), prepared.tiles_x, num_gaussians, numba.get_num_threads()
    )
    levels = [
        SegmentWeights(
            row_offsets=torch.from_numpy(row_offsets),
            gaussian_ids=torch.from_numpy(gaussian_ids),
            weights=torch.from_numpy(weights),
            num_gaussians=num_gaussians,
            view_ids=torch.full((segment_ids.shape[0],), view_id, dtype=torch.int32),
            segment_ids=torch.from_numpy(segment_ids.astype(np.int32)),
            num_pixels=torch.from_numpy(num_pixels.astype(np.int64)),
        )
        for row_offsets, gaussian_ids, weights, segment_ids, num_pixels in pooled
    ]
    packed, ids, offsets, entries = cpu.keep_entries(*prepared.lists, met)
    return levels, replace(prepared, visible_ids=ids, packed=packed, tile_offsets=offsets, tile_entries=entries)


def _check_count(values: Tensor, num_gaussians: int) -> None:
    """The kernels index without bounds checks."""
    if values.shape[0] != num_gaussians:
        raise ValueError(f"there are {num_gaussians} Gaussians, but values for {values.shape[0]}")


def _csr(rows: BlendWeights | SegmentWeights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rows.row_offsets.numpy(), rows.gaussian_ids.numpy(), rows.weights.numpy()


def _numpy(tensor: Tensor) -> Float32[np.ndarray, ...]:
    return tensor.detach().to(torch.float32).contiguous().numpy()
