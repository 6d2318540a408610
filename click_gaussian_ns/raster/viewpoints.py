"""Virtual cameras for Gaussians that come without photos: around the scene (outside-in) and within it (inside-out).

Many candidates are drawn small. Those too near to the geometry, or that see too little, are dropped; of the others one
after another is taken that shows most Gaussians which no five cameras show yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from click_gaussian_ns.raster import matrices, rasterize
from click_gaussian_ns.splats.cameras import intrinsics
from click_gaussian_ns.types import PinholeView, Splats

Placement = Literal["auto", "outside-in", "inside-out"]

_SOLID_OPACITY = 0.3
_SMALL_PX = 96
"""Longer side of a candidate's picture."""
_WANTED = 5
"""Cameras that should show a Gaussian."""
_OUTSIDE = (1.1, 1.6, 2.2)
"""Distances of outside-in candidates from the middle, in radii of the scene."""
_INSIDE = (0.0, 0.25, 0.5)
_CLEARANCE = 0.2
"""A camera keeps this far from anything it sees, in radii of the scene."""
_MIN_SEEN = {"outside-in": 0.1, "inside-out": 0.8}
"""Share of the picture that must show something."""


def place_cameras(
    splats: Splats,
    num_views: int,
    width: int,
    height: int,
    placement: Placement = "auto",
    field_of_view_deg: float = 60.0,
    track: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> list[PinholeView]:
    """Views of the Gaussians, in their own frame.

    Args:
        splats: the scene, on the CPU.
        num_views: how many; fewer are returned only where fewer candidates pass.
        width, height: of the views, px.
        placement: which kinds are tried; auto takes what shows most.
        field_of_view_deg: across the longer side.
        track: wraps the candidates' indices, for a progress bar.

    Raises:
        ValueError: there are no opaque Gaussians, or no candidate sees enough from far enough.
    """
    solid = (splats.opacity_logits.sigmoid() > _SOLID_OPACITY).numpy()
    if solid.sum() < 10:
        raise ValueError(f"only {int(solid.sum())} of {splats.num_gaussians} Gaussians are opaque: nothing to look at")
    points = splats.means.double().numpy()[solid]
    center, radius, up = _frame(points)
    candidates = _candidates(center, radius, up, placement)
    focal = 0.5 * max(width, height) / np.tan(np.radians(field_of_view_deg) / 2)
    shrink = _SMALL_PX / max(width, height)
    small = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    usable, shown = [], []
    for index in track(range(len(candidates))):
        kind, viewmat = candidates[index]
        view = PinholeView(viewmat, intrinsics(focal * shrink, focal * shrink, small[0] / 2, small[1] / 2), *small)
        seen = _seen_from(splats, view, points, kind, radius)
        if seen is not None:
            usable.append(viewmat)
            shown.append(seen)
    if not usable:
        raise ValueError(
            f"none of {len(candidates)} virtual cameras sees the Gaussians from far enough: try another placement "
            "(outside-in, inside-out), or give photos with poses"
        )
    K = intrinsics(focal, focal, width / 2, height / 2)
    chosen = _most_telling(shown, splats.num_gaussians, num_views)
    return [PinholeView(usable[index], K, width, height) for index in chosen]


def _frame(points: Float64[np.ndarray, "M 3"]) -> tuple[np.ndarray, float, np.ndarray]:
    """Middle of the dense part of a scene, its radius, and the direction in which it is thinnest, nearest to +z."""
    center = np.median(points, axis=0)
    distances = np.linalg.norm(points - center, axis=1)
    radius = float(np.quantile(distances, 0.7))
    near = points[distances <= 1.5 * radius] - center
    _, _, axes = np.linalg.svd(near.T @ near)
    up = axes[2] if axes[2, 2] >= 0 else -axes[2]
    return center, radius, up


def _candidates(
    center: np.ndarray, radius: float, up: np.ndarray, placement: Placement
) -> list[tuple[str, Float[Tensor, "4 4"]]]:
    """Kind and world-to-camera matrix of every candidate."""
    directions = _sphere(72)
    found = []
    if placement != "inside-out":
        for factor in _OUTSIDE:
            found += [("outside-in", _look(center + factor * radius * d, -d, up)) for d in directions]
    if placement != "outside-in":
        for factor in _INSIDE:
            for place, d in enumerate(directions):
                offset = directions[(place * 29 + 7) % len(directions)] * factor * radius
                found.append(("inside-out", _look(center + offset, d, up)))
    return found


def _sphere(count: int) -> Float64[np.ndarray, "M 3"]:
    """Directions spread evenly (Fibonacci lattice)."""
    index = np.arange(count)
    z = 1 - (2 * index + 1) / count
    angle = index * np.pi * (3 - np.sqrt(5))
    across = np.sqrt(1 - z * z)
    return np.stack([across * np.cos(angle), across * np.sin(angle), z], axis=1)


def _look(position: np.ndarray, direction: np.ndarray, up: np.ndarray) -> Float[Tensor, "4 4"]:
    """World to camera (OpenCV) of a camera that looks along a unit direction."""
    side = np.cross(direction, up)
    if np.linalg.norm(side) < 1e-3:
        side = np.cross(direction, np.roll(up, 1))
    side = side / np.linalg.norm(side)
    rotation = np.stack([side, np.cross(direction, side), direction])
    viewmat = torch.eye(4)
    viewmat[:3, :3] = torch.from_numpy(rotation)
    viewmat[:3, 3] = torch.from_numpy(-rotation @ position)
    return viewmat


def _seen_from(splats: Splats, view: PinholeView, points: np.ndarray, kind: str, radius: float) -> np.ndarray | None:
    """IDs of the Gaussians that a candidate shows; None where it is too near to something, or sees too little."""
    clearance = _CLEARANCE * radius
    position = -(view.viewmat[:3, :3].T @ view.viewmat[:3, 3]).double().numpy()
    if np.square(points - position).sum(axis=1).min() < (0.5 * clearance) ** 2:
        return None
    prepared = rasterize.prepare(splats, view)
    drawn = rasterize.render(prepared, splats.opacity_logits.new_zeros(splats.num_gaussians, 0))
    alpha, depth = drawn.alpha.numpy(), drawn.depth.numpy()
    something = alpha > 0.5
    if something.mean() < _MIN_SEEN[kind] or np.quantile(depth[alpha > 0.2], 0.02) < clearance:
        return None
    everything = matrices.pool(prepared, np.ones((view.height, view.width), np.uint16), 0)
    weights = everything.weights.numpy() * everything.num_pixels.numpy().sum()
    return everything.gaussian_ids.numpy()[weights > 0.1]


def _most_telling(shown: Sequence[np.ndarray], num_gaussians: int, num_views: int) -> list[int]:
    """Greedy cover: each time the candidate that shows most Gaussians still short of cameras."""
    missing = np.full(num_gaussians, _WANTED, np.int64)
    left, chosen = list(range(len(shown))), []
    while left and len(chosen) < num_views:
        # where all Gaussians have their five, a little for each that is shown at all decides
        gains = [float((missing[shown[i]] > 0).sum()) + 1e-3 * len(shown[i]) for i in left]
        best = left.pop(int(np.argmax(gains)))
        missing[shown[best]] -= 1
        chosen.append(best)
    return chosen
