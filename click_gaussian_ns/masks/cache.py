"""Segments of images on disk: one readable file per image, named by everything that it was computed from."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click_gaussian_ns.files import is_written_aside, write_renamed
from click_gaussian_ns.masks.segmenter import Rle, Segment

FORMAT = "click-gaussian-ns segments 1"
_STALE_TEMPORARY_S = 3600.0
_DIGEST_LENGTH = 64


@dataclass(frozen=True)
class ImageSegments:
    """The segments of one image."""

    size: tuple[int, int]
    """(height, width) in pixels at which it was segmented."""
    segments: tuple[Segment, ...]


class DamagedCacheFile(Exception):
    """A cache file that is not what its name promises."""


class SegmentCache:
    """A folder of segments that several processes may use at once.

    `segments/<k>/<key>.json` holds the segments of one image, where key is the SHA-256 of the key fields: image bytes,
    generator, its full configuration, weights and format. `manifest/<image>.json` says what an image path was last
    used with. Files appear under their name only when complete, and are checked when read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in (root / "segments", root / "manifest"):
            folder.mkdir(parents=True, exist_ok=True)
        _remove_stale_temporaries(root)

    def path(self, fields: Mapping[str, Any]) -> Path:
        """File of the segments with these key fields."""
        key = _digest(_with_format(fields))
        return self.root / "segments" / key[:2] / f"{key}.json"

    def read(self, fields: Mapping[str, Any]) -> ImageSegments | None:
        """Segments with these key fields; None if there are none.

        Raises:
            DamagedCacheFile: there is a file, but it is truncated, altered or not of this format.
        """
        path = self.path(fields)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        return _parse(path, text, _with_format(fields))

    def write(self, fields: Mapping[str, Any], found: ImageSegments) -> None:
        """Keeps segments under their key fields."""
        content = {
            "key": _with_format(fields),
            "size": list(found.size),
            "segments": [_to_json(segment) for segment in found.segments],
        }
        content["sha256"] = _digest(content)
        write_renamed(self.path(fields), json.dumps(content, indent=0).encode())

    def note(self, image_path: Path, fields: Mapping[str, Any]) -> None:
        """Writes into the manifest what segments an image is used with now."""
        manifest = {
            "image": str(image_path.resolve()),
            "file": self.path(fields).name,
            "key": _with_format(fields),
        }
        text = json.dumps(manifest, indent=1).encode()
        path = self._manifest(image_path)
        if not path.is_file() or path.read_bytes() != text:
            write_renamed(path, text)

    def changed_fields(self, image_path: Path, fields: Mapping[str, Any]) -> list[str]:
        """What differs from what was last noted of this image, as log lines; empty if nothing was."""
        try:
            old = json.loads(self._manifest(image_path).read_bytes())["key"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return []
        new = _with_format(fields)
        return [
            f"{name} changed{_shown(old.get(name), new.get(name))}"
            for name in sorted({*old, *new})
            if old.get(name) != new.get(name)
        ]

    def _manifest(self, image_path: Path) -> Path:
        location = hashlib.sha256(str(image_path.resolve()).encode()).hexdigest()[:12]
        return self.root / "manifest" / f"{image_path.stem}-{location}.json"


def _with_format(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {**fields, "format": FORMAT}


def _digest(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _shown(old: Any, new: Any) -> str:
    if any(isinstance(value, str) and len(value) == _DIGEST_LENGTH for value in (old, new)):
        return ""
    return f" from {old} to {new}"


def _to_json(segment: Segment) -> dict[str, Any]:
    return {
        "counts": segment.rle["counts"].decode("ascii"),
        "area": segment.area,
        "predicted_iou": segment.predicted_iou,
        "stability": segment.stability,
        "level": segment.level,
        "standalone": segment.standalone,
    }


def _parse(path: Path, text: bytes, fields: Mapping[str, Any]) -> ImageSegments:
    try:
        content = json.loads(text)
        digest = content.pop("sha256")
        if content["key"] != fields:
            raise DamagedCacheFile(f"{path} holds the segments of something else")
        if digest != _digest(content):
            raise DamagedCacheFile(f"{path} was altered after it was written")
        height, width = content["size"]
        return ImageSegments(
            (height, width), tuple(_from_json(entry, [height, width]) for entry in content["segments"])
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedCacheFile(f"{path} is truncated or no cache file ({type(error).__name__}: {error})") from error


def _from_json(entry: Mapping[str, Any], size: Sequence[int]) -> Segment:
    return Segment(
        rle=Rle(size=list(size), counts=entry["counts"].encode("ascii")),
        area=entry["area"],
        predicted_iou=entry["predicted_iou"],
        stability=entry["stability"],
        level=entry["level"],
        standalone=entry["standalone"],
    )


def _remove_stale_temporaries(root: Path) -> None:
    """Left behind by killed processes; young ones may still be being written. The folder may hold files of the user."""
    for temporary in (*root.glob("segments/*/*.tmp"), *root.glob("manifest/*.tmp")):
        try:
            if is_written_aside(temporary) and time.time() - temporary.stat().st_mtime > _STALE_TEMPORARY_S:
                temporary.unlink()
        except FileNotFoundError:
            continue
