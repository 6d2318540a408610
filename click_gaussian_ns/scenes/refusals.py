"""What of a scene cannot be trained on, and is refused before nerfstudio reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nerfstudio.cameras.cameras import CAMERA_MODEL_TO_TYPE, Cameras, CameraType

from click_gaussian_ns.files import one_line
from click_gaussian_ns.splats.transforms import fits_float32

LENSES = sorted(
    name for name, kind in CAMERA_MODEL_TO_TYPE.items() if kind in (CameraType.PERSPECTIVE, CameraType.FISHEYE)
)
_LENSES_READ = (CameraType.PERSPECTIVE.value, CameraType.FISHEYE.value)
_ROTATION_TOLERANCE = 0.02
"""Of a rotation's products; files with few digits are off by less."""


class BadScene(ValueError):
    """The scene's own fault, in words for its owner."""


@contextmanager
def refused_in_one_line(origin: Path, kind: str) -> Iterator[None]:
    """What nerfstudio's readers end with (they assert, raise all kinds, and leave Python) as one `BadScene`."""
    try:
        yield
    except BadScene:
        raise
    except (Exception, SystemExit) as error:
        reason = one_line(error) or "no reason given"
        raise BadScene(f"{origin}: nerfstudio cannot read this {kind} ({type(error).__name__}: {reason})") from error


def check_lens(origin: Path, model: str) -> None:
    """
    Raises:
        BadScene: a camera model that no picture of Gaussians can be drawn for.
    """
    if model not in LENSES:
        raise BadScene(
            f"{origin}: the camera model {model} is not supported. Undistort the photos (COLMAP's image_undistorter) "
            f"or use one of {', '.join(LENSES)}"
        )


def check_cameras(origin: Path, cameras: Cameras) -> None:
    """
    Raises:
        BadScene: panoramas and other cameras that are neither a lens nor a fisheye; a fourth coefficient of a lens; a
            focal length that is none.
    """
    kinds = {int(kind) for kind in cameras.camera_type.flatten()} - set(_LENSES_READ)
    if kinds:
        check_lens(origin, CameraType(min(kinds)).name)
    perspective = cameras.camera_type.flatten() == CameraType.PERSPECTIVE.value
    if cameras.distortion_params is not None and bool((cameras.distortion_params[perspective][:, 3] != 0).any()):
        raise BadScene(
            f"{origin}: the cameras have a coefficient k4, which only a fisheye (OPENCV_FISHEYE) can have here. "
            "Undistort the photos, or solve the cameras with the model OPENCV"
        )
    focal = torch.stack([cameras.fx, cameras.fy])
    if not bool((torch.isfinite(focal) & (focal > 0)).all()):
        raise BadScene(f"{origin}: a focal length (fl_x, fl_y) is not a positive number of pixels")


def check_poses(origin: Path, names: Sequence[str], poses: Sequence[Any]) -> None:
    """
    Args:
        origin: the file that the poses are from.
        names: of their photos.
        poses: camera to world, 4x4 or 3x4 each, as read.

    Raises:
        BadScene: a pose that is none, or poses too far from the origin for nerfstudio's 32-bit numbers.
    """
    matrices = [_pose(origin, name, pose) for name, pose in zip(names, poses)]
    centers = torch.from_numpy(np.array([matrix[:3, 3] for matrix in matrices]).reshape(-1, 3))
    if not fits_float32(centers):
        middle = centers.median(dim=0).values.round().tolist()
        raise BadScene(
            f"{origin}: its cameras lie around ({middle[0]:.0f}, {middle[1]:.0f}, {middle[2]:.0f}), too far from the "
            "origin for the 32-bit numbers that nerfstudio computes with. Shift the camera poses, and the splat, by "
            "that much"
        )


def _pose(origin: Path, name: str, pose: Any) -> np.ndarray:
    try:
        matrix = np.asarray(pose, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape not in ((4, 4), (3, 4)):
        raise BadScene(f"{origin}: the pose of {name} is no 4x4 matrix of numbers (camera to world)")
    if not np.isfinite(matrix).all():
        raise BadScene(
            f"{origin}: the pose of {name} has numbers that are not finite. Remove the photo, or solve it again"
        )
    rotation = matrix[:3, :3]
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > _ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
        raise BadScene(
            f"{origin}: the pose of {name} is no rotation and place (its 3x3 part scales, shears or mirrors). Expected "
            "the camera's own axes in the world, each of length 1"
        )
    return matrix
