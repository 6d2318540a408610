"""Measuring regions and the borders between them in images, to build a graph of regions over many views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int

from click_gaussian_ns.masks.regions import RegionGraph, sum_borders

_OFFSET_PX = 2
"""Sides of a border are compared this far from it, beyond the blur of an edge."""
_GAP_PX = 4.0
"""Neighbouring pixels further apart than this many pixel widths, across their surface, are no surface."""


@dataclass(frozen=True)
class Surface:
    """The surface that one view sees."""

    points: Float32[np.ndarray, "H W 3"]
    """In any frame, world units."""
    normals: Float32[np.ndarray, "H W 3"]
    """Unit vectors towards the camera, in the frame of the points."""
    world_normals: Float32[np.ndarray, "H W 3"]
    pixel_width: Float32[np.ndarray, "H W"]
    """Width of a pixel at the point's depth, world units."""


class GraphBuilder:
    """Adds up what views show of regions 0 .. num_regions - 1."""

    def __init__(self, num_regions: int) -> None:
        self._num = num_regions
        self._area = np.zeros(num_regions)
        self._color = np.zeros((num_regions, 3))
        self._normal = np.zeros((num_regions, 3))
        self._borders: list[tuple[np.ndarray, ...]] = []
        self._sides_px = 0.0
        self._pixels = 0

    def add_view(
        self,
        regions: Int[np.ndarray, "H W"],
        color: Float[np.ndarray, "H W 3"],
        surface: Surface | None,
    ) -> None:
        """Adds one view.

        Args:
            regions: region of each pixel; negative where there is none.
            color: see `colors_to_compare`.
            surface: None where nothing is known of the geometry.
        """
        seen = regions >= 0
        labels = regions[seen].astype(np.int64)
        self._area += np.bincount(labels, minlength=self._num)
        for channel in range(3):
            self._color[:, channel] += np.bincount(labels, color[seen][:, channel], minlength=self._num)
            if surface is not None:
                normals = surface.world_normals[seen][:, channel]
                self._normal[:, channel] += np.bincount(labels, normals, minlength=self._num)
        self._sides_px += float(np.sqrt(regions.size))
        self._pixels += regions.size
        parts = [_border_pixels(regions, color, surface, axis) for axis in (0, 1)]
        self._borders.append(sum_borders(*(np.concatenate(part) for part in zip(*parts))))

    def build(self) -> RegionGraph:
        """The graph of all views added; borders at which no view shows a surface that goes on are left out."""
        columns = [np.concatenate(column) for column in zip(*self._borders)]
        first, second, length, contrast, concavity, gap = sum_borders(*columns)
        joined = length > 0
        area = np.maximum(self._area, 1e-9)
        return RegionGraph(
            area / self._pixels,
            self._color / self._pixels,
            self._normal / self._pixels,
            first[joined],
            second[joined],
            *(sums[joined] / self._sides_px for sums in (length, contrast, concavity, gap)),
        )


def _border_pixels(
    regions: Int[np.ndarray, "H W"], color: Float[np.ndarray, "H W 3"], surface: Surface | None, axis: int
) -> tuple[np.ndarray, ...]:
    """Of all pairs of pixels that are neighbours along an axis and lie in different regions: the two regions, and what
    they add to length, contrast, concavity and gap."""
    count = regions.shape[axis] - 1
    places = np.arange(count)

    def at(image: np.ndarray, shift: int) -> np.ndarray:
        return np.take(image, np.clip(places + shift, 0, count), axis=axis)

    one, other = at(regions, 0), at(regions, 1)
    border = np.nonzero((one != other) & (one >= 0) & (other >= 0))

    def beside(image: np.ndarray, shift: int) -> np.ndarray:
        index = list(border)
        index[axis] = np.clip(index[axis] + shift, 0, count)
        return image[tuple(index)]

    contrast = np.linalg.norm(beside(color, 1 + _OFFSET_PX) - beside(color, -_OFFSET_PX), axis=-1).astype(np.float64)
    joined = np.ones(len(contrast))
    concavity = np.zeros(len(contrast))
    if surface is not None:
        step = beside(surface.points, 1) - beside(surface.points, 0)
        off_plane = [np.abs((beside(surface.normals, side) * step).sum(axis=-1)) for side in (0, 1)]
        joined = (np.maximum(*off_plane) < _GAP_PX * beside(surface.pixel_width, 0)).astype(np.float64)
        direction = step / np.maximum(np.linalg.norm(step, axis=-1, keepdims=True), 1e-12)
        turn = beside(surface.normals, 1 + _OFFSET_PX) - beside(surface.normals, -_OFFSET_PX)
        concavity = np.maximum(-(turn * direction).sum(axis=-1), 0.0).astype(np.float64)
    return one[border], other[border], joined, contrast * joined, concavity * joined, 1.0 - joined
