"""A transforms.json as people have it: read, checked, and brought to what nerfstudio's reader takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from click_gaussian_ns.files import listed, one_line
from click_gaussian_ns.scenes.refusals import BadScene, check_lens, check_poses

_EXPECTED = "Expected the transforms.json of a nerfstudio scene, as `ns-process-data` writes it"
_SPLITS = ("train_filenames", "val_filenames", "test_filenames")
_COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2", "distortion_params")
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
        raise BadScene(f"{path}: cannot be read as JSON ({one_line(error)}). {_EXPECTED}.") from error


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
    if len(frames) == 1:
        raise BadScene(f"{path}: it lists one photo. A scene needs two and more, from different places.")
    check_lens(path, _camera_model(path, meta))
    _check_coefficients(path, [meta, *frames])
    names = [str(frame["file_path"]) for frame in frames]
    check_poses(path, names, [frame["transform_matrix"] for frame in frames])
    for key in _SPLITS:
        unknown = sorted(set(map(_plain, meta.get(key) or ())) - set(map(_plain, names)))
        if unknown:
            raise BadScene(
                f"{path}: {len(unknown)} names in its `{key}` are no `file_path` of its frames ({listed(unknown)}): "
                "correct the list, or remove it"
            )
    return meta


def for_nerfstudio(path: Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    """The scene in the form that nerfstudio reads right.

    Photo masks are left out: they are read by us, and nerfstudio wants one for every photo or none. What a frame says
    of its camera counts before what is said for all. Poses are 4x4.
    """
    made = {**meta, "camera_model": _camera_model(path, meta)}
    frames = [{key: value for key, value in frame.items() if key != "mask_path"} for frame in meta["frames"]]
    for keys in (*((key,) for key in _NEEDED), _COEFFICIENTS):
        own = any(key in frame for key in keys for frame in frames)
        common = {key: made.pop(key) for key in keys if own and key in made}
        frames = [{**common, **frame} for frame in frames]
    for frame in frames:
        frame["transform_matrix"] = [*frame["transform_matrix"][:3], [0.0, 0.0, 0.0, 1.0]]
    return {**made, "frames": frames}


def _plain(name: Any) -> str:
    """A name as paths are compared: `./a` is `a`."""
    return str(PurePosixPath(str(name)))


def _camera_model(path: Path, meta: Mapping[str, Any]) -> str:
    """Of all photos: nerfstudio knows one, in `camera_model`; instant-ngp says `is_fisheye`."""
    default = "OPENCV_FISHEYE" if meta.get("is_fisheye") is True else "OPENCV"
    models = {str(frame.get("camera_model", meta.get("camera_model", default))) for frame in meta["frames"]}
    if len(models) > 1:
        raise BadScene(
            f"{path}: its photos have cameras of several models ({', '.join(sorted(models))}). Undistort them, or make "
            "a scene of each"
        )
    return models.pop()


def _check_coefficients(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    for entry in entries:
        for key in ("k5", "k6"):
            if entry.get(key):
                raise BadScene(
                    f"{path}: the cameras have a coefficient {key}, which is not supported. Undistort the photos, or "
                    "solve the cameras with the model OPENCV"
                )


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
