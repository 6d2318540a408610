"""A transforms.json as people have it: read, checked, and brought to what nerfstudio's reader takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click_gaussian_ns.scenes.refusals import BadScene, check_lens, check_poses, listed

_EXPECTED = "Expected the transforms.json of a nerfstudio scene, as `ns-process-data` writes it"
_SPLITS = ("train_filenames", "val_filenames", "test_filenames")
_NEEDED = ("fl_x", "fl_y", "cx", "cy", "w", "h")


def transforms_path(data: Path) -> Path:
    """The file that `--data` means: itself, or the transforms.json in the folder."""
    return data if data.suffix == ".json" else data / "transforms.json"


def read_json(path: Path) -> Any:
    """A JSON file in UTF-8, with a byte order mark or without.

    Raises:
        BadScene: there is no such file, or it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise BadScene(f"{path}: cannot be read as JSON ({reason}). {_EXPECTED}.") from error


def read_transforms(path: Path) -> dict[str, Any]:
    """The content of a transforms.json that photos with poses can be read from.

    Raises:
        BadScene: no such file, no JSON, or what of it is missing or wrong.
    """
    meta = read_json(path)
    frames = meta.get("frames") if isinstance(meta, dict) else None
    if not isinstance(frames, list) or not frames:
        raise BadScene(f"{path}: it lists no photos (`frames` is missing or empty). {_EXPECTED}.")
    for number, frame in enumerate(frames):
        lacking = {"file_path", "transform_matrix"} - set(frame if isinstance(frame, dict) else ())
        if lacking:
            raise BadScene(f"{path}: frame {number} has no `{min(lacking)}`. {_EXPECTED}.")
        _check_camera(path, meta, frame)
    check_lens(path, str(meta.get("camera_model", "PINHOLE")))
    names = [str(frame["file_path"]) for frame in frames]
    check_poses(path, names, [frame["transform_matrix"] for frame in frames])
    for key in _SPLITS:
        unknown = sorted(set(map(str, meta.get(key) or ())) - set(names))
        if unknown:
            raise BadScene(
                f"{path}: {len(unknown)} names in its `{key}` are no `file_path` of its frames ({listed(unknown)}): "
                "correct the list, or remove it"
            )
    return meta


def for_nerfstudio(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Without photo masks, which are read by us: nerfstudio wants one for every photo or none."""
    return {**meta, "frames": [{k: v for k, v in frame.items() if k != "mask_path"} for frame in meta["frames"]]}


def named_masks(meta: Mapping[str, Any], folder: Path) -> dict[Path, Path]:
    """The photo masks that frames name, by the paths of their photos as named."""
    return {
        folder / frame["file_path"]: folder / frame["mask_path"] for frame in meta["frames"] if frame.get("mask_path")
    }


def _check_camera(path: Path, meta: Mapping[str, Any], frame: Mapping[str, Any]) -> None:
    for key in _NEEDED:
        value = frame.get(key) if key not in meta else meta[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            shown = "is missing" if value is None else f"is {value!r}"
            raise BadScene(
                f"{path}: `{key}` of {frame['file_path']} {shown}. Expected focal lengths, centre and size of the "
                "camera in pixels (fl_x, fl_y, cx, cy, w, h), for all photos or in every frame."
            )
