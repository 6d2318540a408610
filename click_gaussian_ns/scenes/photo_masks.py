"""Photo masks: pictures that say which pixels of a photo count. Black pixels, a passer-by, the sky, take no part."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8, UInt16
from PIL import Image

from click_gaussian_ns.files import listed, one_line
from click_gaussian_ns.masks.images import read_header, same_proportions
from click_gaussian_ns.masks.photo_names import without_ending

logger = logging.getLogger(__name__)

FOLDER = "masks"
_LOOKED_AT = 5
_ENDINGS = (".png", ".PNG", ".jpg", ".jpeg", ".JPG")
_GREY = 128
_TURNS = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How a photo of this EXIF orientation is turned upright."""
_BLACK_OR_WHITE = 0.9
"""Of the pixels of a photo mask; soft edges are between."""


def find_photo_masks(data: Path, photos: Sequence[Path], root: Path, named: Mapping[Path, Path]) -> list[Path | None]:
    """The mask of each photo; None where it has none: all of it counts.

    Args:
        data: the scene's folder. Masks lie in its `masks/`, as `NAME.png` or, as COLMAP has them, `NAME.jpg.png`, where
            NAME may have folders.
        photos: files.
        root: the folder that the photos' names are relative to.
        named: masks that the scene names itself, by photo; they come first.

    Raises:
        ValueError: a named mask is missing.
    """
    lost = [mask for mask in named.values() if not mask.is_file()]
    if lost:
        names = listed([str(mask) for mask in lost])
        raise ValueError(f"the photo masks {names} are missing: copy them there, or remove their `mask_path`")
    beside = [_beside(data / FOLDER, photo, root) for photo in photos]
    if not _are_black_and_white([mask for mask in beside if mask is not None]):
        beside = [None] * len(photos)
    found = [named.get(photo) or mask for photo, mask in zip(photos, beside)]
    if any(found):
        logger.warning(
            "Photo masks of %d of %d photos (%s ...): their black pixels take no part",
            sum(mask is not None for mask in found),
            len(found),
            next(mask for mask in found if mask is not None),
        )
    return found


def _beside(folder: Path, photo: Path, root: Path) -> Path | None:
    name = photo.relative_to(root).as_posix() if photo.is_relative_to(root) else photo.name
    called = (name, without_ending(name), photo.name, photo.stem)
    places = (folder / f"{way}{ending}" for ending in _ENDINGS for way in called)
    return next((place for place in places if place.is_file()), None)


def _are_black_and_white(masks: Sequence[Path]) -> bool:
    """Whether a folder's pictures are photo masks, by a few of them: label maps lie in such folders, too."""
    seen = [_values(path) for path in masks[:: max(1, len(masks) // _LOOKED_AT)]]
    for path, (values, _) in zip(masks, seen):
        if np.mean((values == 0) | (values == values.max())) < _BLACK_OR_WHITE:
            logger.warning(
                "%s and others beside it have shades between black and white: they are not taken as photo masks", path
            )
            return False
    if seen and not any(_counts(*found).any() for found in seen):
        logger.warning("%s and others beside it are all black: they are not taken as photo masks", masks[0])
        return False
    return True


def read_photo_mask(path: Path, size: tuple[int, int], photo: Path | None = None) -> Bool[np.ndarray, "H W"]:
    """Pixels that count: those that are neither black nor transparent.

    Args:
        path: a black-and-white picture, grey or coloured, or one whose transparency is the mask; at any size of the
            photo's proportions.
        size: (height, width) of the photo, px.
        photo: its file: a mask that is stored as sideways as the photo is turned with it.

    Raises:
        ValueError: it is no picture, or of other proportions.
    """
    counts = _counts(*_values(path))
    own = (counts.shape[0], counts.shape[1])
    if not same_proportions(own, size) and photo is not None and same_proportions((own[1], own[0]), size):
        how = _TURNS.get(read_header(photo).orientation)
        if how is not None:
            counts = np.asarray(Image.fromarray(counts).transpose(how))
            own = (counts.shape[0], counts.shape[1])
    if not same_proportions(own, size):
        raise ValueError(
            f"the photo mask {path} is {own[1]}x{own[0]} px, but its photo is {size[1]}x{size[0]} px: expected the "
            "photo's size, or another of its proportions"
        )
    if own == size:
        return counts
    return np.array(Image.fromarray(counts).resize((size[1], size[0]), Image.Resampling.NEAREST))


def _values(path: Path) -> tuple[UInt8[np.ndarray, "H W"] | UInt16[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    """Brightness, as stored, and where it is not transparent."""
    try:
        with Image.open(path) as image:
            image.load()
            lossy = image.format == "JPEG"
            if image.mode.startswith("I"):
                values = np.asarray(image).clip(0, 65535).astype(np.uint16)
                return values, np.ones(values.shape, bool)
            pixels = np.asarray(image.convert("RGBA"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"the photo mask {path} cannot be read as an image ({one_line(error)}): expected a black-and-white PNG"
        ) from error
    values = pixels[..., :3].max(axis=-1)
    if lossy:
        # compression leaves traces of grey in what was black
        values = np.where(values < _GREY, np.uint8(0), values)
    return values, pixels[..., 3] > 0


def _counts(values: np.ndarray, shown: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Where transparency is all that differs, it is the mask."""
    return shown if not shown.all() and (values[shown] == values[shown].max(initial=0)).all() else (values > 0) & shown
