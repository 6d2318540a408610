"""nerfstudio's cameras as pinhole views, and the lenses that photos were taken through."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.datamanagers.full_images_datamanager import _undistort_image

from click_gaussian_ns.masks.lens import Lens
from click_gaussian_ns.masks.photo_pixels import outside_photo
from click_gaussian_ns.splats.cameras import view_from_opengl
from click_gaussian_ns.types import Click, PinholeView

_NEAR_PX = 2.0
"""Neighbouring pixels of an undistorted view come from less than twice this apart."""


@dataclass(frozen=True)
class NamedView:
    """A photo's view."""

    path: Path
    """The photo."""
    name: str
    """What the photo is called: its path below the folder that holds all photos, with `/`."""
    view: PinholeView
    """As rendered: without lens distortion."""
    camera: Cameras
    """nerfstudio's camera of the photo, as the dataparser gives it."""
    split: Literal["train", "test"]


def camera_view(camera: Cameras) -> PinholeView:
    """The view of a single camera, taken as a pinhole: lens distortion is ignored."""
    single = camera.reshape(()) if camera.shape == (1,) else camera
    return view_from_opengl(
        single.camera_to_worlds,
        single.get_intrinsics_matrices().to(single.camera_to_worlds),
        int(single.width.item()),
        int(single.height.item()),
    )


def photo_sizes(cameras: Cameras) -> list[tuple[int, int]]:
    """(height, width) of photos as their cameras have them, px."""
    return [(int(cameras.height[i]), int(cameras.width[i])) for i in range(len(cameras))]


def is_distorted(camera: Cameras) -> bool:
    """Whether nerfstudio would undistort the photo of this camera."""
    distortion = camera.distortion_params
    return distortion is not None and bool((distortion != 0).any())


def lens_view(camera: Cameras) -> tuple[PinholeView, Lens | None]:
    """The pinhole view that nerfstudio's undistortion of this camera's photo gives, and the lens between the two.

    The lens is None for a camera without distortion. Intrinsics and size of the view are nerfstudio's own, so it holds
    for every camera model that nerfstudio undistorts.
    """
    view = camera_view(camera)
    if not is_distorted(camera):
        return view, None
    single = camera.reshape(()) if camera.shape == (1,) else camera
    distortion = cast(torch.Tensor, single.distortion_params).numpy().copy()
    blank = np.zeros((view.height, view.width), np.uint8)
    K, made, _ = _undistort_image(single, distortion, {}, blank, view.K.numpy().copy())
    pinhole = PinholeView(view.viewmat, torch.from_numpy(np.asarray(K, np.float32)), made.shape[1], made.shape[0])
    is_fisheye = int(single.camera_type.item()) == CameraType.FISHEYE.value
    k1, k2, k3, k4, p1, p2 = distortion.ravel().tolist()
    return pinhole, Lens(
        (view.height, view.width),
        _numbers(view.K),
        (k1, k2, k3, k4, p1, p2),
        is_fisheye,
        (pinhole.height, pinhole.width),
        _numbers(pinhole.K),
    )


def _numbers(K: Float[torch.Tensor, "3 3"]) -> tuple[float, float, float, float]:
    return float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])


def undistorted_view(camera: Cameras) -> tuple[PinholeView, np.ndarray | None]:
    """See `lens_view`; the second is where the view's pixels come from, see `Lens.source`."""
    view, lens = lens_view(camera)
    return view, None if lens is None else lens.source()


def undistorted_click(click: Click, source: np.ndarray | None) -> Click:
    """A click on a photo as a click on its undistorted view: the pixel that comes from nearest to it.

    Args:
        click: on the photo, px from its top left corner.
        source: see `undistorted_view`.

    Raises:
        ValueError: undistorting cuts that part of the photo off.
    """
    if source is None:
        return click
    distances = np.hypot(source[..., 0] + 0.5 - click.x_px, source[..., 1] + 0.5 - click.y_px)
    distances[outside_photo(source)] = np.inf
    row, column = np.unravel_index(int(distances.argmin()), distances.shape)
    if distances[row, column] > _NEAR_PX:
        raise ValueError(
            f"({click.x_px:g}, {click.y_px:g}) is not in the photo's undistorted view, which is what is rendered: "
            "click farther from the photo's edge"
        )
    return Click(float(column) + 0.5, float(row) + 0.5, click.negative)
