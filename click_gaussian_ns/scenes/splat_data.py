"""Dataparser `splat-data`: a bare .ply of Gaussians as a scene. Its photos are rendered from virtual cameras.

They are written to the cache, never into the user's folder, and found again by the .ply's content and the settings.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs
from nerfstudio.plugins.registry_dataparser import DataParserSpecification
from nerfstudio.utils.rich_utils import CONSOLE

from click_gaussian_ns.files import cache_folder, save_picture, write_renamed
from click_gaussian_ns.types import VIEWER_GRAY

_LAYOUT = 2
"""Number of the cached files' layout; part of their name."""


@dataclass
class SplatDataParserConfig(DataParserConfig):
    """A .ply of Gaussians without photos."""

    _target: type = field(default_factory=lambda: SplatDataParser)
    data: Path = Path()
    """The .ply of Gaussians (3DGS layout, or `ns-export`'s)."""
    num_views: int = 60
    """Virtual cameras to train from."""
    num_test_views: int = 6
    """Virtual cameras for evaluation, beside those to train from."""
    width: int = 640
    """Width of a rendered photo, px."""
    height: int = 480
    """Height of a rendered photo, px."""
    placement: Literal["auto", "outside-in", "inside-out"] = "auto"
    """Where cameras may stand: around the scene, within it looking out, or whatever shows most of it."""
    views_dir: Path | None = None
    """Where the rendered photos go: a folder of their own (default: ~/.cache/click-gaussian-ns/views/...)."""


class SplatDataParser(DataParser):
    """Frame: the .ply's own, untouched."""

    config: SplatDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        folder = rendered_views(self.config)
        record = json.loads((folder / "views.json").read_text())
        matrices = torch.tensor(record["camera_to_worlds"], dtype=torch.float32)
        names = record["names"]
        # test views lie among the others: the last ones of a greedy choice show the least that is new
        every = max(2, round(len(names) / max(self.config.num_test_views, 1)))
        is_test = np.arange(len(names)) % every == every - 1 if self.config.num_test_views else np.zeros(len(names))
        wanted = np.flatnonzero(np.asarray(is_test, bool) == (split != "train"))
        num = len(wanted)
        cameras = Cameras(
            camera_to_worlds=matrices[torch.from_numpy(wanted)],
            fx=torch.full((num, 1), float(record["focal"])),
            fy=torch.full((num, 1), float(record["focal"])),
            cx=torch.full((num, 1), self.config.width / 2),
            cy=torch.full((num, 1), self.config.height / 2),
            width=torch.full((num, 1), self.config.width),
            height=torch.full((num, 1), self.config.height),
            camera_type=CameraType.PERSPECTIVE,
        )
        return DataparserOutputs(image_filenames=[folder / names[i] for i in wanted], cameras=cameras)


def rendered_views(config: SplatDataParserConfig) -> Path:
    """The folder of rendered photos and views.json, made where it is missing.

    Raises:
        ValueError: the .ply is missing or cannot be read, `views_dir` holds something else, or see `place_cameras`.
    """
    if not config.data.is_file():
        raise ValueError(f"splat-data --data {config.data}: no such file. Expected a .ply of Gaussians")
    key = _key(config)
    folder = config.views_dir or cache_folder("views") / key
    if (folder / "views.json").is_file():
        _check_views(folder, key)
        return folder
    if config.views_dir is not None and folder.exists() and not _is_empty_folder(folder):
        raise ValueError(
            f"splat-data --views-dir {folder}: it is no empty folder and has no views.json of a finished rendering, so "
            "its files are left alone. Name a new folder, or delete this one if a rendering was stopped there"
        )
    from click_gaussian_ns.masks.extract import progress_bar
    from click_gaussian_ns.raster import rasterize
    from click_gaussian_ns.raster.viewpoints import place_cameras
    from click_gaussian_ns.splats.cameras import opengl_from_view
    from click_gaussian_ns.splats.scene import load_splats

    splats = load_splats(config.data, "dataparser", torch.eye(4)[:3], 1.0).splats
    background = torch.tensor(VIEWER_GRAY)
    with progress_bar() as progress:
        views = place_cameras(
            splats,
            config.num_views + config.num_test_views,
            config.width,
            config.height,
            config.placement,
            track=lambda indices: progress.track(list(indices), description="Placing cameras"),
        )
        names = [f"{index:04d}.png" for index in range(len(views))]
        for name, view in progress.track(list(zip(names, views)), description="Rendering photos"):
            drawn = rasterize.render(rasterize.prepare(splats, view))
            picture = (drawn.image + (1 - drawn.alpha) * background).clamp(0, 1)
            save_picture(folder / name, (picture.numpy() * 255 + 0.5).astype(np.uint8), quality=95)
    record = {
        "key": key,
        "names": names,
        "source": str(config.data.resolve()),
        "focal": float(views[0].K[0, 0]),
        "camera_to_worlds": [opengl_from_view(view).tolist() for view in views],
    }
    write_renamed(folder / "views.json", json.dumps(record).encode())  # last: it says that the folder is whole
    CONSOLE.log(f"{len(views)} photos rendered from {config.data} are in {folder}")
    return folder


def _is_empty_folder(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _check_views(folder: Path, key: str) -> None:
    """Refuses views of another .ply or other settings, and those of which photos are missing."""
    advice = "delete the folder to have it rendered again, or name another one with --views-dir"
    try:
        record = json.loads((folder / "views.json").read_text())
        found, names = record["key"], record["names"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / 'views.json'} is no record of rendered views ({type(error).__name__}: {error}): {advice}"
        ) from error
    if found != key:
        raise ValueError(
            f"{folder} holds views of another .ply or other settings (they are {found}, expected {key}): {advice}"
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder / missing[0]} is missing, a photo that was rendered earlier: {advice}")


def _key(config: SplatDataParserConfig) -> str:
    digest = hashlib.sha256(config.data.read_bytes())
    settings = (config.num_views, config.num_test_views, config.width, config.height, config.placement, _LAYOUT)
    digest.update(repr(settings).encode())
    return f"{config.data.stem}-{digest.hexdigest()[:16]}"


def splat_data_parser() -> DataParserSpecification:
    """`... splat-data --data scene.ply`: Gaussians without photos."""
    return DataParserSpecification(
        config=SplatDataParserConfig(),
        description="A bare .ply of Gaussians: photos are rendered from virtual cameras.",
    )
