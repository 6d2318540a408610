"""nerfstudio's cameras (OpenGL, camera to world) to and from `PinholeView` (OpenCV, world to camera).

Both have x to the right; OpenGL has y up and looks along -z, OpenCV has y down and looks along +z. Pixel coordinates
agree: the origin is the top left corner of the image and pixel centres lie at half integers.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from click_gaussian_ns.types import PinholeView


def intrinsics(fx: float, fy: float, cx: float, cy: float) -> Float[Tensor, "3 3"]:
    """K from focal lengths and principal point, in pixels."""
    return torch.tensor([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def view_from_opengl(
    camera_to_world: Float[Tensor, "3 4"] | Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    width: int,
    height: int,
) -> PinholeView:
    """The view of a nerfstudio camera.

    Args:
        camera_to_world: rigid, [3, 4] as in `Cameras.camera_to_worlds`, or [4, 4].
        K: intrinsics in pixels.
        width, height: image size in pixels.
    """
    rotation = _flip_y_and_z(camera_to_world[:3, :3]).T
    viewmat = torch.eye(4, dtype=camera_to_world.dtype, device=camera_to_world.device)
    viewmat[:3, :3] = rotation
    viewmat[:3, 3] = -(rotation @ camera_to_world[:3, 3])
    return PinholeView(viewmat, K, width, height)


def opengl_from_view(view: PinholeView) -> Float[Tensor, "3 4"]:
    """nerfstudio's camera-to-world matrix of a view; the inverse of `view_from_opengl`."""
    return torch.cat([_flip_y_and_z(view.viewmat[:3, :3].T), camera_center(view)[:, None]], dim=1)


def camera_center(view: PinholeView) -> Float[Tensor, " 3"]:
    """The camera's position in the world; view directions for `eval_sh` are means - camera_center."""
    return -(view.viewmat[:3, :3].T @ view.viewmat[:3, 3])


def project_points(points: Float[Tensor, "P 3"], view: PinholeView) -> tuple[Float[Tensor, "P 2"], Float[Tensor, "P"]]:
    """Where points are in a view, px, and their depth along its axis, world units; only depths above 0 are in front."""
    viewmat, K = view.viewmat.to(points), view.K.to(points)
    in_camera = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    depths = in_camera[:, 2]
    return (in_camera @ K.T)[:, :2] / depths.clamp_min(1e-9)[:, None], depths


def points_in_picture(
    points: Float[Tensor, "P 3"], view: PinholeView, size: tuple[int, int] | None = None
) -> tuple[Int64[Tensor, "S"], Int64[Tensor, "S"], Int64[Tensor, "S"], Float[Tensor, "S"]]:
    """The points that a view has in its picture, the column and row of each there, and its depth, world units.

    `size` is the picture's (height, width) where that is not the view's own.
    """
    height, width = size or (view.height, view.width)
    places, depths = project_points(points, view)
    columns, rows = (places * places.new_tensor([width / view.width, height / view.height])).floor().long().unbind(1)
    inside = (depths > 0) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    return inside.nonzero()[:, 0], columns[inside], rows[inside], depths[inside]


def _flip_y_and_z(rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "3 3"]:
    return rotation * torch.tensor([1.0, -1.0, -1.0], dtype=rotation.dtype, device=rotation.device)
