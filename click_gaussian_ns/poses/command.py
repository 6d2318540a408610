"""What `click-gaussian poses` does: photos or frames, features, matches, models, a report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from click_gaussian_ns.masks.photo_names import PHOTO_ENDINGS, photo_names
from click_gaussian_ns.masks.progress import progress_bar
from click_gaussian_ns.poses import colmap
from click_gaussian_ns.poses.cameras import Cameras, camera_groups
from click_gaussian_ns.poses.pairs import Matching, matching_rule, photo_pairs
from click_gaussian_ns.poses.photos import check_photos, find_photos, link_photos, number_photos
from click_gaussian_ns.poses.report import advice, draw_cameras, report_lines
from click_gaussian_ns.poses.solver import Model, check_installed, solve
from click_gaussian_ns.poses.workplace import PICTURE, REPORT, Workplace

CameraModel = Literal["simple-radial", "opencv", "pinhole"]

_COLMAP_MODELS: Mapping[CameraModel, str] = {
    "simple-radial": "SIMPLE_RADIAL",
    "opencv": "OPENCV",
    "pinhole": "SIMPLE_PINHOLE",
}
_FEWEST = 3


@dataclass(frozen=True)
class PoseSettings:
    """See `click_gaussian_ns.cli.poses`."""

    num_frames: int = 100
    matching: Matching = "auto"
    cameras: Cameras = "auto"
    camera_model: CameraModel = "simple-radial"
    seed: int = 0


def run_poses(images: Path, output_dir: Path, settings: PoseSettings, *, overwrite: bool = False) -> None:
    """Make a folder of photos with poses from a folder of photos or a video.

    Raises:
        ValueError: pycolmap is missing, the photos cannot be used, there is something in the way, or COLMAP can place
            no photos.
    """
    check_installed()
    if not images.exists():
        raise ValueError(f"--images {images}: there is no such folder or video")
    place = Workplace(output_dir)
    place.refuse_foreign(images)
    is_video = images.is_file()
    paths = [images] if is_video else find_photos(images)
    _check_input(images, paths, is_video, settings)
    features_key, key = _keys(paths, is_video, settings)
    if _is_finished(place, key, overwrite):
        return
    with place.held():
        lines = _fill(place, images, paths, is_video, settings, features_key, key)
    print("\n".join(lines))
    print(
        f"{output_dir}: photos in images/, poses in sparse/0, {REPORT} and a picture of the cameras, {PICTURE}. Next: "
        f"ns-train click-gaussian --data {output_dir}"
    )


def _fill(
    place: Workplace,
    images: Path,
    paths: Sequence[Path],
    is_video: bool,
    settings: PoseSettings,
    features_key: Mapping[str, Any],
    key: Mapping[str, Any],
) -> list[str]:
    """All the work; what to say of it."""
    before = time.monotonic()
    kept = place.begin(features_key)
    if is_video:
        names = _take_frames(images, settings.num_frames, place.images)
        groups = [0] * len(names)
    else:
        names, groups = _take_photos(paths, settings.cameras, place.images)
    seconds = {"frames" if is_video else "photos": time.monotonic() - before}
    if kept:
        print(f"Features and matches that an earlier call left in {place.work} are used again")
    models, stages = _solve(place, names, groups, is_video, settings)
    if not models:
        raise ValueError(f"{images}: COLMAP could place none of {len(names)} photos. {advice(len(names))}")
    seconds.update(stages)
    lines = [*report_lines(models, names), _time_line(seconds)]
    with np.load(place.models / "largest.npz") as found:
        draw_cameras(place.work / PICTURE, *(found[name] for name in ("points", "colors", "centers", "rotations")))
    place.finish(_report(key, images, names, groups, models, seconds, lines))
    return lines


def _check_input(images: Path, paths: Sequence[Path], is_video: bool, settings: PoseSettings) -> None:
    if is_video and images.suffix.lower() in PHOTO_ENDINGS:
        raise ValueError(f"--images {images} is one photo: expected a folder of photos, or a video")
    if is_video and settings.num_frames < _FEWEST:
        raise ValueError(f"--num-frames {settings.num_frames}: expected {_FEWEST} or more, and rather 100")
    if not is_video and len(paths) < _FEWEST:
        raise ValueError(
            f"--images {images} holds {len(paths)} photos ({' '.join(sorted(PHOTO_ENDINGS))}): expected {_FEWEST} or "
            "more, and rather 30, of one place from many sides"
        )


def _keys(paths: Sequence[Path], is_video: bool, settings: PoseSettings) -> tuple[dict[str, Any], dict[str, Any]]:
    """What features and matches depend on, and what the model does; the same in JSON and back."""
    stats = [(name, path.stat()) for name, path in zip(photo_names(paths), paths)]
    features: dict[str, Any] = {
        "photos": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
        "frames": settings.num_frames if is_video else 0,
        "cameras": settings.cameras,
        "camera_model": settings.camera_model,
        "pycolmap": colmap.version(),
        "seed": settings.seed,
    }
    return features, {**features, "matching": settings.matching}


def _is_finished(place: Workplace, key: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether there is nothing to do; says so.

    Raises:
        ValueError: the folder holds poses of other photos, or made with other settings.
    """
    report = place.finished()
    if report is None or overwrite or not place.is_whole():
        return False
    if report["key"] != key:
        raise ValueError(
            f"{place.data} holds poses of other photos or settings ({report.get('images')}): give another "
            "--output-dir, or --overwrite to replace them"
        )
    print(f"{place.data} is finished already (--overwrite makes it anew):")
    print("\n".join(report.get("lines", [])))
    return True


def _take_photos(paths: Sequence[Path], cameras: Cameras, folder: Path) -> tuple[list[str], list[int]]:
    with progress_bar() as progress:
        task = progress.add_task("Photos", total=len(paths))
        facts = check_photos(paths, lambda done: progress.update(task, completed=done))
    groups = camera_groups(facts, cameras)
    names = [photo.name for photo in facts]
    link_photos(paths, names, folder)
    return names, groups


def _take_frames(video: Path, num_frames: int, folder: Path) -> list[str]:
    from click_gaussian_ns.poses.frames import write_sharp_frames

    with progress_bar() as progress:
        task = progress.add_task("Sharp frames", total=None)
        names = write_sharp_frames(
            video, num_frames, folder, lambda done, total: progress.update(task, completed=done, total=total)
        )
    if len(names) < _FEWEST:
        raise ValueError(f"{video} has {len(names)} frames: expected {_FEWEST} or more, and rather 100")
    return names


def _solve(
    place: Workplace, names: Sequence[str], groups: Sequence[int], is_video: bool, settings: PoseSettings
) -> tuple[list[Model], Mapping[str, float]]:
    rule = matching_rule(settings.matching, len(names), is_video)
    job = colmap.Job(
        database=str(place.database.resolve()),
        photo_dir=str(place.numbered.resolve()),
        files=number_photos([place.images / name for name in names], place.numbered),
        names=names,
        groups=groups,
        camera_model=_COLMAP_MODELS[settings.camera_model],
        pairs=photo_pairs(rule, len(names)),
        output=str(place.models.resolve()),
        seed=settings.seed,
    )
    return solve(job, place.work)


def _time_line(seconds: Mapping[str, float]) -> str:
    return "time: " + ", ".join(f"{stage} {spent:.1f} s" for stage, spent in seconds.items())


def _report(
    key: Mapping[str, Any],
    images: Path,
    names: Sequence[str],
    groups: Sequence[int],
    models: Sequence[Model],
    seconds: Mapping[str, float],
    lines: Sequence[str],
) -> dict[str, Any]:
    placed = set(models[0].registered)
    return {
        "key": key,
        "images": str(images.resolve()),
        "num_photos": len(names),
        "num_registered": len(placed),
        "left_out": [name for name in names if name not in placed],
        "mean_error_px": models[0].error_px,
        "num_cameras": len(set(groups)),
        "seconds": {stage: round(spent, 2) for stage, spent in seconds.items()},
        "models": [asdict(model) for model in models],
        "lines": list(lines),
    }
