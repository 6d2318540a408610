"""Photo masks: pictures that say which pixels of a photo count. Black pixels, a passer-by, the sky, take no part."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from click_gaussian_ns.masks.images import decode_image, read_photo
from click_gaussian_ns.masks.photo_names import without_ending
from click_gaussian_ns.scenes.refusals import listed

logger = logging.getLogger(__name__)

FOLDER = "masks"
_LOOKED_AT = 5
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
        raise ValueError(
            f"the photo masks {listed(map(str, lost))} are missing: copy them there, or remove their `mask_path`"
        )
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
    places = (f"{name}.png", f"{without_ending(name)}.png", f"{photo.name}.png", f"{photo.stem}.png")
    return next((folder / place for place in places if (folder / place).is_file()), None)


def _are_black_and_white(masks: Sequence[Path]) -> bool:
    """Whether a folder's pictures are photo masks, by a few of them: label maps lie in such folders, too."""
    for path in masks[:: max(1, len(masks) // _LOOKED_AT)]:
        grey = decode_image(path, read_photo(path)).max(axis=-1)
        if np.mean((grey == 0) | (grey == grey.max())) < _BLACK_OR_WHITE:
            logger.warning(
                "%s and others beside it have shades between black and white: they are not taken as photo masks", path
            )
            return False
    return True


def read_photo_mask(path: Path, size: tuple[int, int]) -> Bool[np.ndarray, "H W"]:
    """Pixels that count: those that are not black.

    Args:
        path: a black-and-white picture, grey or coloured, at any size.
        size: (height, width) of the photo, px.

    Raises:
        ValueError: it is no picture.
    """
    counts = decode_image(path, read_photo(path)).any(axis=-1)
    if counts.shape == size:
        return counts
    return np.array(Image.fromarray(counts).resize((size[1], size[0]), Image.Resampling.NEAREST))
