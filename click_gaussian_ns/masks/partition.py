"""Over-segmenting the Gaussians of a scene: nested partitions that hold in all views at once.

Every Gaussian starts as a region of the pixels in which it weighs most. Regions merge by what the renders show of them
(see `regions`), at first to some thousand small ones. These are rendered once more, now with borders as sharp as the
splat draws them, and merge on to the levels asked for.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int32
from rich.progress import Progress, TaskID
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation
from torch import Tensor

from click_gaussian_ns.masks.borders import GraphBuilder, Surface
from click_gaussian_ns.masks.regions import RegionGraph, colors_to_compare, merge_regions
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.raster.rasterize import prepare, render
from click_gaussian_ns.raster.vote import winning_labels
from click_gaussian_ns.splats.spherical_harmonics import view_colors
from click_gaussian_ns.types import PinholeView, Splats

_FIRST_SIDE_PX, _SECOND_SIDE_PX = 320, 384
_FIRST_THRESHOLD = 1.0
_NORMAL_BLUR_PX = 1.5
_OPAQUE = 0.5


def partition_gaussians(
    splats: Splats,
    views: Sequence[PinholeView],
    thresholds: Sequence[float],
    rasterize_mode: RasterizeMode,
    progress: Progress,
) -> list[Int32[np.ndarray, "N"]]:
    """Nested partitions of the Gaussians, one per threshold (ascending), fine to coarse.

    Args:
        splats: on CPU.
        views: that show the scene from all sides it will be seen from.
        thresholds: see `merge_regions`.
        rasterize_mode: how the splat was trained.
        progress: gets a task.

    Returns:
        Labels 1, 2, ... of every Gaussian, for each threshold; those that are never in front take their nearest
        neighbour's.
    """
    task = progress.add_task("Partitioning Gaussians", total=2 * len(views))
    normals = shortest_axes(splats)
    every = np.arange(splats.num_gaussians, dtype=np.int32)
    graph = _observe(splats, normals, views, every, _FIRST_SIDE_PX, rasterize_mode, progress, task)
    (merged,) = merge_regions(graph, [_FIRST_THRESHOLD])
    small = _numbered(_with_hidden(splats, graph, merged))
    graph = _observe(splats, normals, views, small, _SECOND_SIDE_PX, rasterize_mode, progress, task)
    return [_numbered(labels[small]) + 1 for labels in merge_regions(graph, thresholds)]


def shortest_axes(splats: Splats) -> Float[Tensor, "N 3"]:
    """The direction in which each Gaussian is thinnest: its surface normal, up to the sign."""
    axes = torch.eye(3)[splats.log_scales.argmin(dim=1)]
    rotations = Rotation.from_quat(splats.quats[:, [1, 2, 3, 0]].numpy())
    return torch.from_numpy(rotations.apply(axes.numpy()).astype(np.float32))


def resized_view(view: PinholeView, side_px: int) -> PinholeView:
    """The view, downscaled to this longer side if it is longer."""
    scale = min(1.0, side_px / max(view.width, view.height))
    width, height = max(1, round(view.width * scale)), max(1, round(view.height * scale))
    factors = view.K.new_tensor([[width / view.width], [height / view.height], [1.0]])
    return PinholeView(view.viewmat, view.K * factors, width, height)


def _observe(
    splats: Splats,
    normals: Float[Tensor, "N 3"],
    views: Sequence[PinholeView],
    labels: Int32[np.ndarray, "N"],
    side_px: int,
    rasterize_mode: RasterizeMode,
    progress: Progress,
    task: TaskID,
) -> RegionGraph:
    builder = GraphBuilder(int(labels.max(initial=0)) + 1)
    for view in views:
        prepared = prepare(splats, resized_view(view, side_px), rasterize_mode)
        color, surface, seen = _render_surface(prepared, normals)
        regions = np.where(seen, winning_labels(prepared, labels), -1)
        builder.add_view(regions, color, surface)
        progress.advance(task)
    return builder.build()


def _render_surface(prepared: PreparedView, normals: Float[Tensor, "N 3"]) -> tuple[np.ndarray, Surface, np.ndarray]:
    """Colours to compare [H, W, 3], the surface, and where there is one [H, W]."""
    splats, view = prepared.splats, prepared.view
    rotation = view.viewmat[:3, :3]
    center = -rotation.T @ view.viewmat[:3, 3]
    away = ((splats.means - center) * normals).sum(dim=1, keepdim=True) > 0
    values = torch.cat([view_colors(splats, view), torch.where(away, -normals, normals)], dim=1)
    rendered = render(prepared, values.contiguous())
    alpha = rendered.alpha.numpy()
    image = rendered.image.numpy()
    color = colors_to_compare(np.clip(image[..., :3] / np.maximum(alpha, 1e-3), 0.0, 1.0)).astype(np.float32)
    world_normals = _unit(image[..., 3:])
    facing = _unit(cv2.GaussianBlur(world_normals @ rotation.numpy().T, (0, 0), _NORMAL_BLUR_PX))
    depth = rendered.depth[..., 0].numpy()
    focal_px = float(view.K[0, 0])
    columns, rows = np.meshgrid(np.arange(view.width) + 0.5, np.arange(view.height) + 0.5)
    points = np.stack(
        [
            (columns - float(view.K[0, 2])) / focal_px,
            (rows - float(view.K[1, 2])) / float(view.K[1, 1]),
            np.ones_like(rows),
        ],
        axis=-1,
    )
    points = (points * depth[..., None]).astype(np.float32)
    surface = Surface(points, facing, world_normals, (depth / focal_px).astype(np.float32))
    return color, surface, alpha[..., 0] > _OPAQUE


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)).astype(np.float32)


def _with_hidden(splats: Splats, graph: RegionGraph, merged: np.ndarray) -> np.ndarray:
    """Gaussians that nowhere weigh most get the region of the nearest one that does."""
    in_front = np.zeros(splats.num_gaussians, dtype=bool)
    in_front[graph.first] = in_front[graph.second] = True
    if in_front.all() or not in_front.any():
        return merged
    means = splats.means.numpy()
    _, nearest = KDTree(means[in_front]).query(means[~in_front])
    labels = merged.copy()
    labels[~in_front] = merged[np.flatnonzero(in_front)[nearest]]
    return labels


def _numbered(labels: np.ndarray) -> Int32[np.ndarray, "N"]:
    """Labels 0, 1, 2, ... without gaps, in the order of the old ones."""
    return np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int32)
