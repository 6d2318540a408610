"""Where a browser first looks from, and how a selection is framed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from click_gaussian_ns.splats.cameras import camera_center, project_points
from click_gaussian_ns.types import PinholeView
from click_gaussian_ns.viewer.widgets import VISER_SCALE

_SAMPLE = 20_000
_MARGIN = 1.6
"""How much wider than the selection the picture is."""


def sampled(means: Float[Tensor, "N 3"], drawn: Bool[Tensor, "N"]) -> Float[Tensor, "S 3"]:
    """Evenly spread rows of what is drawn: enough to see where the scene is."""
    rows = drawn.nonzero()[:, 0]
    return means[rows[:: max(1, len(rows) // _SAMPLE)]].detach().cpu().double()


def sees_most(views: Sequence[PinholeView], points: Float[Tensor, "S 3"]) -> int:
    """The view that shows the most points; of those that show nearly as many, the one with the most in its middle."""
    shown, central = zip(*(_shown(view, points) for view in views))
    best = max(shown)
    return max(range(len(views)), key=lambda i: (shown[i] >= 0.95 * best, central[i]))


def _shown(view: PinholeView, points: Float[Tensor, "S 3"]) -> tuple[int, int]:
    x, y, depth = _in_picture(view, points)
    inside = (depth > 0) & (x.abs() < 1) & (y.abs() < 1)
    return int(inside.sum()), int((inside & (x.abs() < 0.5) & (y.abs() < 0.5)).sum())


def _in_picture(view: PinholeView, points: Float[Tensor, "S 3"]) -> tuple[Tensor, Tensor, Tensor]:
    """Across and down, in [-1, 1] inside the picture, and depth."""
    places, depth = project_points(points, view)
    return 2 * places[:, 0] / view.width - 1, 2 * places[:, 1] / view.height - 1, depth


def distance_ahead(view: PinholeView, points: Float[Tensor, "S 3"]) -> float:
    """How far away what is in the middle of the picture is: the camera then turns about that."""
    x, y, depth = _in_picture(view, points)
    ahead = depth[(depth > 0) & (x.abs() < 0.5) & (y.abs() < 0.5)]
    return float(ahead.median()) if len(ahead) else 1.0


def up_of(views: Sequence[PinholeView]) -> tuple[float, float, float]:
    """Which way is up for most cameras, as a unit vector."""
    up = -torch.stack([view.viewmat[1, :3].double().cpu() for view in views]).mean(dim=0)
    x, y, z = (up / up.norm().clamp_min(1e-9)).tolist()
    return x, y, z


def vertical_fov(view: PinholeView, aspect: float) -> float:
    """Of a window that shows the whole photo, radians."""
    tan_x, tan_y = view.width / (2 * float(view.K[0, 0])), view.height / (2 * float(view.K[1, 1]))
    return min(2 * math.atan(max(tan_y, tan_x / aspect)), math.radians(110))


def look_through(client: Any, view: PinholeView, distance: float) -> None:
    """Put a browser's camera where a photo was taken; it turns about what is `distance` ahead."""
    rotation = view.viewmat[:3, :3].double().cpu().numpy().T
    eye = camera_center(view).double().cpu().numpy()
    camera = client.camera
    with client.atomic():
        camera.fov = vertical_fov(view, camera.aspect)
        camera.position = eye * VISER_SCALE
        camera.look_at = (eye + rotation[:, 2] * distance) * VISER_SCALE
        x, y, z, w = Rotation.from_matrix(rotation).as_quat().tolist()
        camera.wxyz = np.array([w, x, y, z])


def frame(client: Any, points: Float[Tensor, "S 3"]) -> None:
    """Move a browser's camera, which keeps its direction, until the points fill the picture."""
    camera = client.camera
    center = points.median(dim=0).values
    radius = float((points - center).norm(dim=1).quantile(0.98))
    half = min(camera.fov / 2, math.atan(math.tan(camera.fov / 2) * camera.aspect))
    ahead = np.asarray(camera.look_at) - np.asarray(camera.position)
    distance = max(_MARGIN * radius / math.sin(half), 1e-3)
    with client.atomic():
        camera.position = center.numpy() * VISER_SCALE - ahead / np.linalg.norm(ahead) * distance * VISER_SCALE
        camera.look_at = center.numpy() * VISER_SCALE
