"""The user's photos: found, checked, and put where they are needed without a change to their folder."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from click_gaussian_ns.masks.photo_names import PHOTO_ENDINGS, photo_names
from click_gaussian_ns.poses.cameras import PhotoFacts

logger = logging.getLogger(__name__)

_MAKER, _MODEL, _EXIF_PART, _FOCAL, _FOCAL_35 = 0x010F, 0x0110, 0x8769, 0x920A, 0xA405
_NOT_FOR_COLMAP = {".webp"}
"""Endings that pycolmap 4.2 cannot read."""
_NAMED = 3


def find_photos(folder: Path) -> list[Path]:
    """All photos in a folder and those below it, in the order of their names; hidden files are passed over.

    What is no photo by its ending is left out, and said.
    """
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _is_hidden(path, folder)]
    photos = [path for path in files if path.suffix.lower() in PHOTO_ENDINGS]
    others = [path for path in files if path.suffix.lower() not in PHOTO_ENDINGS]
    if others:
        named = ", ".join(str(path.relative_to(folder)) for path in others[:_NAMED])
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        logger.warning(
            "%s: left out, as their endings are not those of photos (%s): %s%s",
            folder,
            " ".join(sorted(PHOTO_ENDINGS)),
            named,
            more,
        )
    return photos


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def check_photos(paths: Sequence[Path], tell: Callable[[int], None]) -> list[PhotoFacts]:
    """Decode each photo once, so that no damaged one ends up in the model, and read what it says of its camera.

    Args:
        paths: the photos.
        tell: is called with the number of those that are done.

    Raises:
        ValueError: a file is damaged or no image.
    """
    facts = []
    for number, (path, name) in enumerate(zip(paths, photo_names(paths))):
        try:
            with Image.open(path) as image:
                size, lens = image.size, _lens(image)
                image.load()
        except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            reason = "it is empty" if path.stat().st_size == 0 else str(error)
            raise ValueError(
                f"{path} cannot be read as a photo ({reason}): copy it again, or take it out of the folder"
            ) from error
        facts.append(PhotoFacts(name, size, lens))
        tell(number + 1)
    return facts


def _lens(image: Image.Image) -> tuple[str, ...]:
    try:
        exif = image.getexif()
        part = exif.get_ifd(_EXIF_PART)
        said = [exif.get(_MAKER), exif.get(_MODEL), part.get(_FOCAL), part.get(_FOCAL_35)]
    except Exception:  # damaged EXIF data says nothing, and Pillow raises all kinds of errors over it
        return ()
    return tuple(str(value).strip("\0 ") for value in said) if any(value is not None for value in said) else ()


def link_photos(paths: Sequence[Path], names: Sequence[str], folder: Path) -> None:
    """Put photos into a folder under these names: as hard links, which take no space, or else as copies."""
    for path, name in zip(paths, names):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        source = path.resolve()
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)


def number_photos(paths: Sequence[Path], folder: Path) -> list[str]:
    """Put photos into a folder under names that COLMAP can read: without spaces, in formats that it knows.

    Returns:
        the names, in the order of the photos.
    """
    names = []
    for number, path in enumerate(paths):
        ending = path.suffix.lower()
        if ending in _NOT_FOR_COLMAP:
            name = f"{number:06d}.png"
            with Image.open(path) as image:
                image.convert("RGB").save(folder / name)
        else:
            name = f"{number:06d}{ending}"
            link_photos([path], [name], folder)
        names.append(name)
    return names
