"""The room before every camera: between it and the nearest thing that it shows there is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from click_gaussian_ns.splats.cameras import camera_center, points_in_picture
from click_gaussian_ns.types import PinholeView

_SHARE = 0.5
"""Depth of a room, in depths of the nearest point that the camera could see."""
_NEAREST = 0.02
"""The share of the points in view that may be nearer still: SfM places some at random."""
_FEW_POINTS = 20


@dataclass(frozen=True)
class Rooms:
    """Cones before the cameras that are empty."""

    centers: Float[Tensor, "V 3"]
    """Of the cameras, world units."""
    axes: Float[Tensor, "V 3"]
    """Unit vectors along which they look."""
    half_angles: Float[Tensor, "V"]
    """From the axis to a corner of the picture, radians."""
    radii: Float[Tensor, "V"]
    """World units; 0 where a camera sees too few points to tell."""

    def contain(self, means: Float[Tensor, "N 3"], scales: Float[Tensor, "N 3"]) -> Bool[Tensor, "N"]:
        """Gaussians that reach into a room with one standard deviation."""
        reach, inside = scales.amax(dim=1), torch.zeros(means.shape[0], dtype=torch.bool)
        for center, axis, half_angle, radius in zip(self.centers, self.axes, self.half_angles, self.radii):
            offsets = means - center
            distances = offsets.norm(dim=1)
            off_axis = (offsets @ axis / distances.clamp_min(1e-9)).clamp(-1.0, 1.0).acos()
            width = (reach / distances.clamp_min(1e-9)).clamp_max(1.0).asin()
            at_camera = distances <= reach
            inside |= (distances - reach < radius) & (at_camera | (off_axis - width < half_angle))
        return inside


def camera_rooms(points: Float[Tensor, "P 3"], views: Sequence[PinholeView]) -> Rooms:
    """Rooms of cameras for training and for testing: where a camera stood is known without its photo.

    Args:
        points: of SfM, world units.
        views: pinhole views; lens distortion hardly matters here.
    """
    radii, half_angles = torch.zeros(len(views)), torch.zeros(len(views))
    for index, view in enumerate(views):
        *_, depths = points_in_picture(points, view)
        if len(depths) >= _FEW_POINTS:
            radii[index] = _SHARE * depths.quantile(_NEAREST)
        focal, middle = view.K.diagonal()[:2], view.K[:2, 2]
        corner = torch.maximum(middle, torch.tensor([view.width, view.height]) - middle) / focal
        half_angles[index] = corner.norm().atan()
    axes = torch.stack([view.viewmat[2, :3] for view in views])
    return Rooms(torch.stack([camera_center(view) for view in views]), axes, half_angles, radii)
