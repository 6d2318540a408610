"""Contact sheets: photos beside their label maps, to see at a glance what the segmenter found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8, UInt16
from PIL import Image

from click_gaussian_ns.files import save_picture
from click_gaussian_ns.masks.images import decode_straight, is_stored_sideways, read_photo
from click_gaussian_ns.masks.lens import Lens
from click_gaussian_ns.types import LevelMapSource

_GOLDEN_ANGLE = 0.61803398875
_OVERLAY = 0.65


def write_contact_sheet(
    path: Path,
    image_paths: Sequence[Path],
    source: LevelMapSource,
    lenses: Sequence[Lens | None] | None = None,
    *,
    max_views: int = 12,
    column_width_px: int = 320,
) -> None:
    """One row per view: the photo, then its label map of every level over the photo, with segment borders.

    Args:
        path: JPEG or PNG, by its extension.
        image_paths: photos of the source's views.
        source: their label maps.
        lenses: of the photos, which are shown without distortion; None: they have none.
        max_views: that many views, evenly chosen.
        column_width_px: width of one picture.
    """
    chosen = np.unique(np.linspace(0, len(source) - 1, min(max_views, len(source))).round().astype(int))
    rows = []
    for index in chosen:
        maps = source[int(index)].maps
        lens = None if lenses is None else lenses[int(index)]
        photo = _photo_at(image_paths[int(index)], (maps.shape[1], maps.shape[2]), lens)
        pictures = [photo, *(overlay_labels(photo, labels) for labels in maps)]
        height_px = max(1, round(column_width_px * photo.shape[0] / photo.shape[1]))
        rows.append(np.hstack([_resized(picture, (height_px, column_width_px)) for picture in pictures]))
    save_picture(path, np.vstack(rows), quality=88)


def overlay_labels(photo: UInt8[np.ndarray, "H W 3"], labels: UInt16[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Segments as flat colours over the photo, borders in white, unassigned pixels darkened."""
    colors = label_colors(int(labels.max(initial=0)) + 1)
    mixed = (1 - _OVERLAY) * photo + _OVERLAY * colors[labels]
    border = np.zeros(labels.shape, dtype=bool)
    border[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    border[1:] |= labels[1:] != labels[:-1]
    mixed[border] = 255
    return mixed.round().astype(np.uint8)


def label_colors(count: int) -> Float[np.ndarray, "count 3"]:
    """Distinct colours in [0, 255] by label; label 0 is black."""
    hue = np.arange(count) * _GOLDEN_ANGLE % 1.0
    value = 0.65 + 0.35 * (np.arange(count) * 7 % 5) / 4
    channels = [np.clip(np.abs((hue + shift) % 1.0 * 6 - 3) - 1, 0, 1) for shift in (0.0, 2 / 3, 1 / 3)]
    colors = np.stack(channels, axis=1) * value[:, None] * 255
    colors[:1] = 0
    return colors


def _photo_at(path: Path, size: tuple[int, int], lens: Lens | None) -> UInt8[np.ndarray, "H W 3"]:
    data = read_photo(path)
    turn = is_stored_sideways(path, data, size if lens is None else lens.photo_size)
    return _resized(decode_straight(path, data, turn, 0, lens), size)


def _resized(picture: UInt8[np.ndarray, "H W 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    if picture.shape[:2] == size:
        return picture
    return np.array(Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.LANCZOS))
