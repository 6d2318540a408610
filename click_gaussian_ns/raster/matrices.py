"""Blending weights w = alpha T as sparse matrices: rows of sampled pixels, and means over segments (Eq. 6).

Made by the CPU kernels, whatever device then multiplies with them.
"""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import torch
from jaxtyping import Float, Float32, Int, UInt16
from torch import Tensor

from click_gaussian_ns.raster import cpu, sparse
from click_gaussian_ns.raster.pool import pool_view
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.raster.rows import blend_rows, pixels_by_tile
from click_gaussian_ns.raster.sparse import csr, float32_array
from click_gaussian_ns.types import BlendWeights, SegmentWeights


def blend_weights(prepared: PreparedView, pixel_ids: Int[Tensor, " P"]) -> BlendWeights:
    """Rows of w = alpha T for pixels given as row * width + column.

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


def rows_and_alpha(
    prepared: PreparedView, pixel_ids: Int[Tensor, " P"], source_ids: Int[Tensor, " M"] | None, num_sources: int
) -> tuple[BlendWeights, Float[Tensor, " P"]]:
    """The weights of pixels on what each of the view's M Gaussians comes from, and the alpha of each pixel."""
    rows = blend_weights(prepared, pixel_ids)
    owner = torch.repeat_interleave(torch.arange(rows.num_rows), rows.row_offsets.diff())
    alpha = torch.zeros(rows.num_rows).index_add_(0, owner, rows.weights)
    if source_ids is not None:
        sources = source_ids[rows.gaussian_ids.long()].to(rows.gaussian_ids.dtype)
        rows = replace(rows, gaussian_ids=sources, num_gaussians=num_sources)
    return rows, alpha


def add_gradient(rows: BlendWeights, grad_pixels: Float[Tensor, "P C"], gradient: Float32[np.ndarray, "N C"]) -> None:
    """Add W^T times the gradient with respect to `blend`'s result to that with respect to its features.

    Raises:
        ValueError: the gradient has not as many rows as there are Gaussians.
    """
    if gradient.shape[0] != rows.num_gaussians:
        raise ValueError(f"there are {rows.num_gaussians} Gaussians, but gradients for {gradient.shape[0]}")
    sparse.add_transposed(*csr(rows), float32_array(grad_pixels), gradient, numba.get_num_threads())


def pool(prepared: PreparedView, labels: UInt16[np.ndarray, "H W"], view_id: int) -> SegmentWeights:
    """The rows of A (Eq. 6) for the segments of one view's label map, by ascending segment ID.

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
