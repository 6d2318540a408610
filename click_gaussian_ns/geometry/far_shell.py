"""What lies beyond the points that SfM found: a sphere around the scene, where the background of photos can go.

Walls, trees and sky have few points or none. With nothing behind the scene, training explains them by haze near the
cameras, and another camera then stands in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from click_gaussian_ns.splats.cameras import camera_center, points_in_picture
from click_gaussian_ns.types import PinholeView

_REACH = 2.0
"""Radius of the sphere, in distances from the middle of the scene to its farthest points and cameras."""
_FARTHEST = 0.99
"""Of the points: SfM places some at random, far away."""
_GOLDEN_ANGLE = math.pi * (1 + math.sqrt(5))

Photo = tuple[PinholeView, UInt8[np.ndarray, "H W C"], Bool[np.ndarray, "H W"] | None]
"""A view, its picture (transparent pixels count for nothing) and, if not all do, the pixels that count."""


def far_shell(
    points: Float32[Tensor, "P 3"], photos: Iterable[Photo], num: int
) -> tuple[Float32[Tensor, "S 3"], UInt8[Tensor, "S 3"]]:
    """Points on a sphere around the scene, evenly spread, in the mean colour that the photos have there.

    Args:
        points: of SfM, world units; at least one.
        photos: for training; each is looked at once.
        num: on the whole sphere.

    Returns:
        Places and colours of the points that a photo shows, or would if nothing were before them.
    """
    photos = list(photos)
    middle = points.median(dim=0).values
    reach = float((points - middle).norm(dim=1).quantile(_FARTHEST))
    for view, _, _ in photos:
        reach = max(reach, float((camera_center(view) - middle).norm()))
    sphere = (middle + _REACH * reach * _even_directions(num)).float()
    sums, counts = np.zeros((num, 3)), np.zeros(num, np.int64)
    for view, picture, counted in photos:
        found = points_in_picture(sphere, view, (picture.shape[0], picture.shape[1]))
        shown, columns, rows = (numbers.numpy() for numbers in found[:3])
        pixels = picture[rows, columns]
        seen = np.ones(len(shown), bool) if counted is None else counted[rows, columns]
        if picture.shape[2] == 4:
            seen &= pixels[:, 3] > 127
        sums[shown[seen]] += pixels[seen, :3]
        counts[shown[seen]] += 1
    seen = counts > 0
    colors = sums[seen] / counts[seen, None]
    return sphere[torch.from_numpy(seen)], torch.from_numpy(colors.round().astype(np.uint8))


def _even_directions(num: int) -> Float32[Tensor, "num 3"]:
    """Unit vectors along a Fibonacci spiral."""
    places = torch.arange(num, dtype=torch.float64) + 0.5
    heights, turns = 1 - 2 * places / num, _GOLDEN_ANGLE * places
    widths = (1 - heights.square()).sqrt()
    return torch.stack([turns.cos() * widths, turns.sin() * widths, heights], dim=1).float()
