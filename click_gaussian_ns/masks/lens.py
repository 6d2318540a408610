"""A photo's lens: where its pixels lie in the view without distortion, which is what is trained on and rendered."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8, UInt16

from click_gaussian_ns.masks.photo_pixels import PhotoPixels
from click_gaussian_ns.types import UNASSIGNED

_EDGE_PX = 1e-3
"""A source this far outside the outermost pixel centres is still in the photo: rounding."""


@dataclass(frozen=True)
class Lens:
    """Plain numbers, from which maps of pixels are made when they are needed: it travels to workers, and takes no
    memory. Intrinsics are (fx, fy, cx, cy) in px, pixels having their centres at halves."""

    photo_size: tuple[int, int]
    """(height, width), px."""
    photo_K: tuple[float, float, float, float]
    coefficients: tuple[float, float, float, float, float, float]
    """nerfstudio's order: k1 k2 k3 k4 p1 p2."""
    is_fisheye: bool
    view_size: tuple[int, int]
    """(height, width) of the view without distortion, px."""
    view_K: tuple[float, float, float, float]

    def source(self) -> Float32[np.ndarray, "H W 3"]:
        """Where each pixel of the view comes from in the photo: x, y (index coordinates, px), and 1 where it does."""
        size = self.view_size[::-1]
        photo, view = _matrix(self.photo_K), _matrix(self.view_K)
        if self.is_fisheye:
            maps = cv2.fisheye.initUndistortRectifyMap(photo, self._bend, np.eye(3), view, size, cv2.CV_32FC1)
        else:
            maps = cv2.initUndistortRectifyMap(photo, self._bend, np.eye(3), view, size, cv2.CV_32FC1)
        height, width = self.photo_size
        columns, rows = maps
        inside = (columns > -_EDGE_PX) & (columns < width - 1 + _EDGE_PX)
        inside &= (rows > -_EDGE_PX) & (rows < height - 1 + _EDGE_PX)
        return np.stack([columns, rows, inside.astype(np.float32)], axis=-1)

    def in_view(self) -> Float32[np.ndarray, "H W 2"]:
        """Where each pixel of the photo lies in the view, perhaps outside it: x, y (index coordinates, px)."""
        height, width = self.photo_size
        rows, columns = np.mgrid[:height, :width].astype(np.float64)
        places = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2)
        photo, view = _matrix(self.photo_K), _matrix(self.view_K)
        unbend = cv2.fisheye.undistortPoints if self.is_fisheye else cv2.undistortPoints
        return unbend(places, photo, self._bend, P=view).reshape(height, width, 2).astype(np.float32)

    def straighten(self, photo: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """The photo, of `photo_size`, as the view has it; linear between pixels."""
        source = self.source()
        return cv2.remap(photo, source[..., 0], source[..., 1], cv2.INTER_LINEAR)

    def resample(self, maps: UInt16[np.ndarray, "L h w"]) -> UInt16[np.ndarray, "L H W"]:
        """The photo's label maps, of `photo_size`, in the view: the nearest pixel's, UNASSIGNED outside the photo."""
        return PhotoPixels.of(self.source()).resample(maps)

    def to_photo(self, maps: UInt16[np.ndarray, "L H W"]) -> UInt16[np.ndarray, "L h w"]:
        """The view's label maps in the photo: the nearest pixel's, UNASSIGNED outside the view."""
        columns, rows = (np.rint(self.in_view()[..., axis]).astype(np.int64) for axis in (0, 1))
        height, width = self.view_size
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        found = maps[:, rows.clip(0, height - 1), columns.clip(0, width - 1)]
        found[:, ~inside] = UNASSIGNED
        return found

    @property
    def _bend(self) -> np.ndarray:
        """The coefficients in OpenCV's order."""
        k1, k2, k3, k4, p1, p2 = self.coefficients
        return np.array([k1, k2, k3, k4]) if self.is_fisheye else np.array([k1, k2, p1, p2, k3])


def _matrix(K: tuple[float, float, float, float]) -> np.ndarray:
    """For OpenCV: pixels have their centres at whole numbers there."""
    fx, fy, cx, cy = K
    return np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1.0]])
