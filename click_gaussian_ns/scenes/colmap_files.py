"""COLMAP's files, looked through before nerfstudio reads them: it believes their counts, and takes memory for them."""

from __future__ import annotations

import codecs
import mmap
import struct
from collections.abc import Callable
from pathlib import Path

from nerfstudio.data.utils.colmap_parsing_utils import CAMERA_MODEL_IDS

from click_gaussian_ns.scenes.refusals import BadScene, check_lens

_CAMERA = struct.Struct("<iiQQ")
_COUNT = struct.Struct("<Q")
_PHOTO_BYTES = 4 + 7 * 8 + 4
"""Number, pose and camera, before the name."""
_MATCH_BYTES = 8 + 8 + 8
"""A place in a photo, and its point."""
_POINT_BYTES = 8 + 3 * 8 + 3 + 8
"""Number, place, colour and error, before its track."""
_TRACK_BYTES = 4 + 4


def check_model(model: Path) -> None:
    """
    Args:
        model: the folder. Text is read where both are there, as nerfstudio does.

    Raises:
        BadScene: a file is missing, cut off or damaged, or a camera is of a kind that is not supported.
    """
    if (model / "cameras.txt").exists():
        for name in ("cameras.txt", "images.txt", "points3D.txt"):
            if (model / name).exists() and (model / name).read_bytes()[:3] == codecs.BOM_UTF8:
                raise BadScene(f"{model / name}: it begins with a byte order mark. Save it as UTF-8 without one")
        for line in (model / "cameras.txt").read_text(encoding="utf8", errors="replace").splitlines():
            if line.strip() and not line.startswith("#"):
                check_lens(model / "cameras.txt", [*line.split(), ""][1])
        return
    walks: tuple[tuple[str, Callable[[mmap.mmap, int], int]], ...] = (
        ("cameras.bin", lambda data, at: _after_camera(model / "cameras.bin", data, at)),
        ("images.bin", _after_photo),
        ("points3D.bin", _after_point),
    )
    for name, after in walks:
        path = model / name
        if path.exists():
            _walk(path, after)
        elif name != "points3D.bin":
            raise BadScene(f"{path} is missing. Expected a COLMAP model: cameras, images and points3D, as .bin or .txt")


def photo_lines(model: Path) -> list[str]:
    """Of a text model: the line of each photo, with its number, pose, camera and name.

    Raises:
        OSError: there is no images.txt.
        UnicodeDecodeError: it is no UTF-8.
    """
    lines = (model / "images.txt").read_text(encoding="utf8").splitlines()
    # two lines a photo, of which the second, its points, may be empty
    return [line for line in lines if not line.startswith("#")][::2]


def has_points(model: Path) -> bool:
    """Whether a model has 3D points: models of known poses often have none, in an empty file or in no file."""
    if (model / "points3D.bin").exists():
        with (model / "points3D.bin").open("rb") as file:
            return any(file.read(_COUNT.size))
    if not (model / "points3D.txt").exists():
        return False
    with (model / "points3D.txt").open(encoding="utf8", errors="replace") as lines:
        return any(line.strip() and not line.startswith("#") for line in lines)


def _walk(path: Path, after: Callable[[mmap.mmap, int], int]) -> None:
    """From entry to entry, `after` tells where the next begins."""
    size = path.stat().st_size
    damaged = "the file is cut off or damaged. Copy it again, or run COLMAP's mapper again"
    if size < _COUNT.size:
        raise BadScene(f"{path}: {damaged}")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        (count,) = _COUNT.unpack_from(data, 0)
        at = _COUNT.size
        for number in range(count):
            try:
                at = after(data, at)
            except struct.error:
                at = size + 1
            if at > size:
                raise BadScene(f"{path}: entry {number + 1} of {count} goes beyond its end; {damaged}")


def _after_camera(path: Path, data: mmap.mmap, at: int) -> int:
    kind = _CAMERA.unpack_from(data, at)[1]
    if kind not in CAMERA_MODEL_IDS:
        check_lens(path, f"number {kind} of COLMAP")
    model = CAMERA_MODEL_IDS[kind]
    check_lens(path, model.model_name)
    return at + _CAMERA.size + 8 * model.num_params


def _after_photo(data: mmap.mmap, at: int) -> int:
    end = data.find(b"\0", at + _PHOTO_BYTES)
    if end < 0:
        return len(data) + 1
    (matches,) = _COUNT.unpack_from(data, end + 1)
    return end + 1 + _COUNT.size + _MATCH_BYTES * matches


def _after_point(data: mmap.mmap, at: int) -> int:
    (length,) = _COUNT.unpack_from(data, at + _POINT_BYTES)
    return at + _POINT_BYTES + _COUNT.size + _TRACK_BYTES * length
