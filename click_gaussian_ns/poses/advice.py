"""What to tell somebody whose photos have no camera poses."""

from __future__ import annotations

import shlex
from pathlib import Path

from click_gaussian_ns.masks.photo_names import PHOTO_ENDINGS

VIDEO_ENDINGS = {".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mts", ".3gp"}


def poses_advice(data: Path) -> str | None:
    """One line with the command that makes poses, for a folder of photos or a video; None for anything else.

    Args:
        data: what was given as `--data`, and has neither a transforms.json nor a COLMAP model.
    """
    if data.is_file() and data.suffix.lower() in VIDEO_ENDINGS:
        return _advice(f"{data} is a video without camera poses", data, data.with_name(f"{data.stem}_with_poses"))
    if not data.is_dir():
        return None
    found = [path for path in data.rglob("*") if not any(p.startswith(".") for p in path.relative_to(data).parts)]
    photos = sum(path.suffix.lower() in PHOTO_ENDINGS for path in found)
    target = data.resolve().with_name(f"{data.resolve().name}_with_poses") if data.name in ("", "..") else None
    target = target or data.with_name(f"{data.name}_with_poses")
    if photos:
        say = f"{data} holds {photos} {'photo' if photos == 1 else 'photos'} without camera poses"
        return _advice(say, data, target)
    videos = sorted(path for path in found if path.suffix.lower() in VIDEO_ENDINGS)
    if len(videos) == 1:
        return _advice(f"{videos[0]} is a video without camera poses", videos[0], target)
    return None


def _advice(say: str, images: Path, target: Path) -> str:
    data = shlex.quote(str(target))
    return (
        f"{say}: run `click-gaussian poses --images {shlex.quote(str(images))} --output-dir {data}` first, then "
        f"`ns-train click-gaussian --data {data}`"
    )
