"""Pictures of a selection in a view."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

from click_gaussian_ns.types import Click

_TINT = np.array([1.0, 0.45, 0.05], np.float32)
_STRENGTH = 0.45
_POSITIVE, _NEGATIVE = (0.1, 0.9, 0.2), (1.0, 0.1, 0.1)
_MARKER_PX = 4


def overlay(
    picture: Float[np.ndarray, "H W 3"], selected: Bool[np.ndarray, "H W"], clicks: tuple[Click, ...] = ()
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture ([0, 1]) with the selection tinted and outlined, and the clicks marked (negative ones red)."""
    tinted = np.where(selected[..., None], (1 - _STRENGTH) * picture + _STRENGTH * _TINT, picture)
    edge = selected & ~np.asarray(ndimage.binary_erosion(selected, iterations=2), bool)
    tinted[edge] = _TINT
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    for click in clicks:
        distance = np.hypot(rows + 0.5 - click.y_px, columns + 0.5 - click.x_px)
        tinted[distance <= _MARKER_PX + 2] = 1.0
        tinted[distance <= _MARKER_PX] = _NEGATIVE if click.negative else _POSITIVE
    return (tinted.clip(0.0, 1.0) * 255).round().astype(np.uint8)
