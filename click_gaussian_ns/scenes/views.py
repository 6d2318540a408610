"""nerfstudio's cameras as pinhole views, and label maps of photos as the views see them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import cv2
import numpy as np
import torch
from jaxtyping import Float32
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.datamanagers.full_images_datamanager import _undistort_image

from click_gaussian_ns.masks.photo_pixels import PhotoPixels, outside_photo
from click_gaussian_ns.splats.cameras import view_from_opengl
from click_gaussian_ns.types import Click, LevelMaps, LevelMapSource, PinholeView

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


def undistorted_view(camera: Cameras) -> tuple[PinholeView, np.ndarray | None]:
    """The pinhole view that nerfstudio's undistortion of this camera's photo gives, and where its pixels come from.

    The second is None for a camera without distortion, else float32 [H, W, 3]: x and y of the source pixel (index
    coordinates, px) and 1 where there is one. It is nerfstudio's own undistortion applied to coordinate ramps, so it
    holds for every camera model that nerfstudio undistorts.
    """
    view = camera_view(camera)
    if not is_distorted(camera):
        return view, None
    single = camera.reshape(()) if camera.shape == (1,) else camera
    rows, columns = np.mgrid[: view.height, : view.width].astype(np.float32)
    ramps = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    distortion = cast(torch.Tensor, single.distortion_params).numpy().copy()
    K, source, _ = _undistort_image(single, distortion, {}, ramps, view.K.numpy().copy())
    pinhole = PinholeView(view.viewmat, torch.from_numpy(np.asarray(K, np.float32)), source.shape[1], source.shape[0])
    return pinhole, source


def view_pixels(camera: Cameras, view: PinholeView) -> Float32[np.ndarray, "H W 2"] | None:
    """Where each pixel of a photo lies in its undistorted view; the inverse of what `undistorted_view` gives.

    Args:
        camera: of the photo, one.
        view: its undistorted view.

    Returns:
        x and y (index coordinates of the view, px), which may lie outside it; None for a camera without distortion.
    """
    if not is_distorted(camera):
        return None
    single = camera.reshape(()) if camera.shape == (1,) else camera
    K, seen = (K.double().numpy().copy() for K in (single.get_intrinsics_matrices(), view.K))
    # pixels have their centres at whole numbers there
    K[:2, 2] -= 0.5
    seen[:2, 2] -= 0.5
    k1, k2, k3, k4, p1, p2 = cast(torch.Tensor, single.distortion_params).double().flatten().tolist()
    height, width = int(single.height.item()), int(single.width.item())
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    photo = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
    if int(single.camera_type.item()) == CameraType.FISHEYE.value:
        found = cv2.fisheye.undistortPoints(photo, K, np.array([k1, k2, k3, k4]), P=seen)
    else:
        found = cv2.undistortPoints(photo, K, np.array([k1, k2, p1, p2, k3]), P=seen)
    return found.reshape(height, width, 2).astype(np.float32)


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


class UndistortedLevelMaps:
    """A `LevelMapSource` of photos, resampled (nearest) to their undistorted views."""

    def __init__(self, photos: LevelMapSource, sources: Sequence[np.ndarray | None]) -> None:
        """`sources` per view: see `undistorted_view`."""
        self._photos = photos
        self._pixels = [None if source is None else PhotoPixels.of(source) for source in sources]

    @property
    def names(self) -> tuple[str, ...]:
        return self._photos.names

    def __len__(self) -> int:
        return len(self._photos)

    def __getitem__(self, index: int) -> LevelMaps:
        found, pixels = self._photos[index], self._pixels[index]
        return found if pixels is None else LevelMaps(found.names, pixels.resample(found.maps))
