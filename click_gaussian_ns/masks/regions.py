"""Merging the regions of a graph, most alike first, as one surface or one part: the heart of the superpixels.

The criterion is Mumford and Shah's: uniting two regions saves the border between them and costs the spread of their
features. Regions of width w and difference d unite when about w d^2 falls below a threshold, so that stripes and checks
dissolve into their cloth long before the cloth dissolves into the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int, Int64, Shaped
from skimage.color import rgb2lab

_LIGHTNESS_SHARE = 0.8
"""Weight of CIELAB's L beside a and b: light changes more within a surface than hue does."""
_COLOR_SCALE = 20.0
"""CIELAB distance that counts as one."""
_SHADING, _SATURATED = 0.4, 20.0
"""Lightness counts less by this share where the colour is this far from gray: there a shadow shows as a shadow."""
_MEAN = 0.3
_BORDER = 0.2
_MEAN_AND_BORDER = 1.0
"""The product tells a shadow's edge or a gradient (one of the two is small) from another surface (both are large)."""
_NORMAL = 0.5
_NORMAL_SPREAD = 5.0
"""How much differing normals count less where normals scatter: round things, noisy geometry."""
_CONCAVE = 40.0
_CREASE = 0.15
"""Normals that turn less than this across a border (about the angle in rad) turn by the geometry's noise."""
_GAP = 2.0
"""Of the squared share of gaps: silhouettes are gaps all along, noisy geometry has a few anywhere."""
_UNIT = 1e-3
"""Thresholds are given in thousandths of the image's side."""


@dataclass(frozen=True)
class RegionGraph:
    """Regions seen in some views, and the borders at which they meet. Sums are over pixels of all views."""

    area: Float64[np.ndarray, "R"]
    """Share of all pixels."""
    color: Float64[np.ndarray, "R 3"]
    """See `colors_to_compare`; mean times area."""
    normal: Float64[np.ndarray, "R 3"]
    """World normals, mean times area; zeros where no geometry is known."""
    first: Int64[np.ndarray, "E"]
    second: Int64[np.ndarray, "E"]
    """Regions on both sides of a border; first < second."""
    length: Float64[np.ndarray, "E"]
    """Pixels of border where the surface goes on, in units of (views times the image's side)."""
    contrast: Float64[np.ndarray, "E"]
    """Distance of colours across the border, mean times length."""
    concavity: Float64[np.ndarray, "E"]
    """How much normals turn towards each other across the border (about the angle in rad), mean times length."""
    gap: Float64[np.ndarray, "E"]
    """Length of border where depth jumps."""


def colors_to_compare(rgb: Shaped[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W 3"]:
    """CIELAB of sRGB (uint8, or float in [0, 1]), with lightness drawn towards the middle where colours are saturated.

    Half of a green mat in shadow is as green as the other half, while gray and black may be two things.
    """
    lab = rgb2lab(rgb)
    saturation = np.minimum(np.linalg.norm(lab[..., 1:], axis=-1) / _SATURATED, 1.0)
    lab[..., 0] = 50.0 + (lab[..., 0] - 50.0) * (1.0 - _SHADING * saturation)
    return lab


def merge_regions(graph: RegionGraph, thresholds: Sequence[float]) -> list[Int64[np.ndarray, "R"]]:
    """Nested partitions, one per threshold: the region that each region was merged into.

    Args:
        graph: regions without borders stay as they are.
        thresholds: ascending; the cost below which neighbours unite, in thousandths of the image's side times squared
            feature distance (1 = colours apart by 20 CIELAB units).
    """
    state = graph
    num_regions = len(graph.area)
    assigned = np.arange(num_regions)
    partitions: list[np.ndarray] = []
    for threshold in thresholds:
        while True:
            absorbing, absorbed = _mutually_best(state, threshold)
            if absorbing.size == 0:
                break
            into = np.arange(num_regions)
            into[absorbed] = absorbing
            assigned = into[assigned]
            state = _united(state, absorbing, absorbed, into)
        partitions.append(assigned.copy())
    return partitions


def _costs(graph: RegionGraph) -> Float64[np.ndarray, "E"]:
    a, b = graph.first, graph.second
    area_a, area_b = graph.area[a], graph.area[b]
    scale = np.array([_LIGHTNESS_SHARE, 1.0, 1.0]) / _COLOR_SCALE
    color = np.linalg.norm((graph.color[a] / area_a[:, None] - graph.color[b] / area_b[:, None]) * scale, axis=1)
    normal_a, normal_b = graph.normal[a] / area_a[:, None], graph.normal[b] / area_b[:, None]
    spread = np.clip(2.0 - (normal_a**2).sum(axis=1) - (normal_b**2).sum(axis=1), 0.0, 2.0)
    normal = ((normal_a - normal_b) ** 2).sum(axis=1) / (1.0 + _NORMAL_SPREAD * spread)
    border = graph.contrast / graph.length / _COLOR_SCALE
    distance = (
        _MEAN * color**2
        + _MEAN_AND_BORDER * color * border
        + _BORDER * border**2
        + _NORMAL * normal
        + _CONCAVE * np.maximum(graph.concavity / graph.length - _CREASE, 0.0) ** 2
        + _GAP * (graph.gap / (graph.gap + graph.length)) ** 2
    )
    return area_a * area_b / (area_a + area_b) / graph.length * distance / _UNIT


def _mutually_best(graph: RegionGraph, threshold: float) -> tuple[Int64[np.ndarray, "M"], Int64[np.ndarray, "M"]]:
    """Pairs of regions that are each other's cheapest neighbour, below the threshold; ties go to the lower number."""
    costs = _costs(graph)
    cheap = costs < threshold
    one, other = graph.first[cheap], graph.second[cheap]
    region, neighbour = np.concatenate([one, other]), np.concatenate([other, one])
    order = np.lexsort((neighbour, np.tile(costs[cheap], 2), region))
    region, neighbour = region[order], neighbour[order]
    is_best = np.ones(region.size, dtype=bool)
    is_best[1:] = region[1:] != region[:-1]
    best = np.full(len(graph.area), -1)
    best[region[is_best]] = neighbour[is_best]
    candidates = region[is_best]
    mutual = (best[best[candidates]] == candidates) & (candidates < best[candidates])
    return candidates[mutual], best[candidates[mutual]]


def _united(
    graph: RegionGraph,
    absorbing: Int64[np.ndarray, "M"],
    absorbed: Int64[np.ndarray, "M"],
    into: Int64[np.ndarray, "R"],
) -> RegionGraph:
    area, color, normal = graph.area.copy(), graph.color.copy(), graph.normal.copy()
    for sums in (area, color, normal):
        sums[absorbing] += sums[absorbed]
    first, second = into[graph.first], into[graph.second]
    return RegionGraph(
        area, color, normal, *sum_borders(first, second, graph.length, graph.contrast, graph.concavity, graph.gap)
    )


def sum_borders(
    one: Int[np.ndarray, "P"], other: Int[np.ndarray, "P"], *sums: Float64[np.ndarray, "P"]
) -> tuple[np.ndarray, ...]:
    """Borders between the same two regions become one: (first, second, *summed), by ascending pair.

    Pairs of a region with itself vanish.
    """
    outer = one != other
    low, high = np.minimum(one, other)[outer], np.maximum(one, other)[outer]
    num = int(high.max(initial=0)) + 1
    pairs, place = np.unique(low.astype(np.int64) * num + high, return_inverse=True)
    summed = (np.bincount(place, values[outer], minlength=len(pairs)).astype(np.float64) for values in sums)
    return (pairs // num, pairs % num, *summed)
