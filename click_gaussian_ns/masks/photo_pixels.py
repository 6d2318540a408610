"""Label maps of a photo as its view without lens distortion sees them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, UInt16

from click_gaussian_ns.types import UNASSIGNED

_WHOLE = 0.999


def outside_photo(source: Float32[np.ndarray, "H W 3"]) -> Bool[np.ndarray, "H W"]:
    """Pixels of an undistorted view that no pixel of the photo, or only a part of one, is the source of.

    Args:
        source: where each pixel of the view comes from: x, y (index coordinates, px), and the share that does.
    """
    return source[..., 2] < _WHOLE


@dataclass(frozen=True)
class PhotoPixels:
    """The pixel of a photo that each pixel of its undistorted view shows (nearest)."""

    rows: UInt16[np.ndarray, "H W"]
    columns: UInt16[np.ndarray, "H W"]
    outside: Bool[np.ndarray, "H W"]
    """See `outside_photo`."""

    @staticmethod
    def of(source: Float32[np.ndarray, "H W 3"]) -> PhotoPixels:
        """From what `outside_photo` takes."""
        columns, rows = (np.rint(source[..., i]).clip(min=0).astype(np.uint16) for i in (0, 1))
        return PhotoPixels(rows, columns, outside_photo(source))

    def resample(self, maps: UInt16[np.ndarray, "L h w"]) -> UInt16[np.ndarray, "L H W"]:
        """The photo's label maps in the view, UNASSIGNED outside the photo."""
        _, height, width = maps.shape
        found = maps[:, np.minimum(self.rows, height - 1), np.minimum(self.columns, width - 1)]
        found[:, self.outside] = UNASSIGNED
        return np.ascontiguousarray(found)
