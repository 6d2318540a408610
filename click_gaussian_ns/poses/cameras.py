"""Which photos share a camera: COLMAP then solves for one lens instead of many."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

Cameras = Literal["auto", "one", "per-folder", "per-photo"]


@dataclass(frozen=True)
class PhotoFacts:
    """What a photo's file says of the camera."""

    name: str
    size: tuple[int, int]
    """(width, height) of the stored pixels, px: COLMAP and nerfstudio both ignore the flag that turns a photo."""
    lens: tuple[str, ...] = ()
    """Maker, model and focal length, where the EXIF data has them."""


def camera_groups(photos: Sequence[PhotoFacts], cameras: Cameras) -> list[int]:
    """A number for each photo; photos of one number share a camera.

    With `auto`, all do if they have one size and say one lens. Else those of each folder do, where this holds in every
    folder. Else those that say the same lens and have one size do, and a photo that says nothing stands alone.

    Raises:
        ValueError: photos of different sizes were to share a camera.
    """
    folders = [str(PurePosixPath(photo.name).parent) for photo in photos]
    if cameras == "one":
        return _numbered(_same_size(photos, ["" for _ in photos], "--cameras one"))
    if cameras == "per-folder":
        return _numbered(_same_size(photos, folders, "--cameras per-folder"))
    if cameras == "per-photo":
        return list(range(len(photos)))
    kinds = [(photo.size, photo.lens) for photo in photos]
    if len(set(kinds)) == 1:
        return [0] * len(photos)
    if len(set(zip(folders, kinds))) == len(set(folders)):
        return _numbered(folders)
    return _numbered([kind if photo.lens else photo.name for photo, kind in zip(photos, kinds)])


def _numbered(keys: Sequence[Hashable]) -> list[int]:
    """The first key is 0, the next other one 1, and so on."""
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _same_size(photos: Sequence[PhotoFacts], keys: Sequence[str], flag: str) -> Sequence[str]:
    first: dict[str, PhotoFacts] = {}
    for photo, key in zip(photos, keys):
        other = first.setdefault(key, photo)
        if other.size != photo.size:
            raise ValueError(
                f"{flag}: {photo.name} is {photo.size[0]}x{photo.size[1]} px and {other.name} {other.size[0]}x"
                f"{other.size[1]} px, so one camera did not take both as they are; leave the flag out, or crop none"
            )
    return keys
