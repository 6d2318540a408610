"""Where a scene's photos lie, as people's files name them, and the cameras at the size of what lies there."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType

from click_gaussian_ns.files import listed
from click_gaussian_ns.masks.images import fit_photo, read_header
from click_gaussian_ns.masks.photo_names import PHOTO_ENDINGS
from click_gaussian_ns.scenes.refusals import BadScene

logger = logging.getLogger(__name__)

MAX_SIDE_PX = 1600
"""Longer photos are halved until they are not, as nerfstudio does with copies on disk."""
_FACTORS = (2, 4, 8)
_NO_LENS_EFFECT = 1e-9
"""A fisheye whose coefficients are all zero is one all the same; nerfstudio takes zeros for a pinhole."""


def find_photo(named: Path, factor: int = 1) -> Path | None:
    """The file of a photo that a model or transforms.json names.

    People's files differ from it in the ending's case, have an ending where it names none (Blender), or are the smaller
    copies alone (`images_2/`).

    Args:
        named: as it is named.
        factor: where the user asks for smaller photos: copies of that size are taken where they are there.
    """
    for spelt in _spellings(named):
        found = _as_spelt(spelt, factor)
        if found is not None:
            return found
    return None


def _spellings(named: Path) -> list[Path]:
    """As it is named; with Windows' separators; with letters composed or taken apart (macOS)."""
    text = str(named)
    made = (text, text.replace("\\", "/"), unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))
    return [Path(spelt) for spelt in dict.fromkeys(made)]


def _as_spelt(named: Path, factor: int) -> Path | None:
    folders = [named.parent] + [named.parent.with_name(f"{named.parent.name}_{n}") for n in _FACTORS]
    if factor > 1:
        folders.insert(0, named.parent.with_name(f"{named.parent.name}_{factor}"))
    for folder in folders:
        if (folder / named.name).is_file():
            return folder / named.name
        has_ending = named.suffix.lower() in PHOTO_ENDINGS
        stem, endings = (named.stem, [named.suffix]) if has_ending else (named.name, sorted(PHOTO_ENDINGS))
        for name in (stem + case for ending in endings for case in (ending.lower(), ending.upper())):
            if (folder / name).is_file():
                return folder / name
    return None


def find_photos(origin: Path, named: Sequence[Path], factor: int = 1, needed: bool = True) -> list[Path | None]:
    """`find_photo` of all; what is missing is said.

    Raises:
        BadScene: all are missing, and some are `needed`.
    """
    found = [find_photo(path, factor) for path in named]
    missing = [path for path, file in zip(named, found) if file is None]
    if needed and len(missing) == len(named):
        raise BadScene(
            f"{origin}: none of its {len(named)} photos is there; the first would be {missing[0]}. Put them "
            "there, or say where they are (colmap --images-path)"
        )
    if missing:
        logger.warning(
            "%s: %d of %d photos are missing, and are left out: %s",
            origin,
            len(missing),
            len(named),
            listed([path.name for path in missing]),
        )
    return found


def fitted(cameras: Cameras, photos: Sequence[Path], factor: int | None) -> Cameras:
    """The cameras at the size that photos are read at.

    Cameras that were solved on photos of another size, of the same proportions, are scaled, each side by itself.

    Args:
        cameras: one per photo.
        photos: files; only their headers are read.
        factor: how many times smaller than the cameras photos are wanted; None: at most `MAX_SIDE_PX`.

    Raises:
        ValueError: a photo that is none, or of other proportions than its camera.
    """
    sizes = []
    for path, size in zip(photos, zip(cameras.height.flatten().tolist(), cameras.width.flatten().tolist())):
        stored, _ = fit_photo(path, read_header(path), (int(size[0]), int(size[1])))
        sizes.append(_wanted(stored, (int(size[0]), int(size[1])), factor))
    heights, widths = (torch.tensor([[size[i]] for size in sizes], dtype=torch.int64) for i in (0, 1))
    across, down = widths / cameras.width, heights / cameras.height
    distortion = cameras.distortion_params
    if distortion is not None:
        zeros = (cameras.camera_type.flatten() == CameraType.FISHEYE.value) & (distortion == 0).all(dim=-1)
        distortion = torch.where(zeros[:, None] & (torch.arange(6) == 0), _NO_LENS_EFFECT, distortion)
    return Cameras(
        camera_to_worlds=cameras.camera_to_worlds,
        fx=cameras.fx * across,
        fy=cameras.fy * down,
        cx=cameras.cx * across,
        cy=cameras.cy * down,
        width=widths,
        height=heights,
        distortion_params=distortion,
        camera_type=cameras.camera_type,
        times=cameras.times,
        metadata=cameras.metadata,
    )


def _wanted(stored: tuple[int, int], solved: tuple[int, int], factor: int | None) -> tuple[int, int]:
    """(height, width) at which a photo is read: never larger than it is stored."""
    if factor is not None:
        scale = min(1.0, max(solved) / factor / max(stored))
    else:
        scale = 0.5 ** max(0, int(np.ceil(np.log2(max(stored) / MAX_SIDE_PX))))
    # a quarter of a pixel: what should be whole may be just below
    return tuple(max(1, int(side * scale + 0.25 * (factor is not None))) for side in stored)  # type: ignore[return-value]
