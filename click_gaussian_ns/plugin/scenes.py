"""Scenes that are not (yet) runs: photos and poses as nerfstudio's dataparsers read them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from click_gaussian_ns.masks.guidance import SplatGuidance
from click_gaussian_ns.masks.segmenter import GuidanceSource
from click_gaussian_ns.plugin.data_layout import guess_dataparser
from click_gaussian_ns.plugin.datamanager import ClickGaussianDataManager
from click_gaussian_ns.plugin.settings import ClickGaussianDataManagerConfig
from click_gaussian_ns.splats.scene import load_splats

logger = logging.getLogger(__name__)

_PHOTO_ENDINGS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}


@dataclass(frozen=True)
class Scene:
    """What the mask stage needs of a scene."""

    photos: Sequence[Path]
    sizes: Sequence[tuple[int, int]] | None
    """(height, width) of the cameras, px; None: the photos' own."""
    guidance: GuidanceSource | None


def open_scene(data: Path, splat: Path | None) -> Scene:
    """Training photos of a scene, or all photos of a plain folder.

    Raises:
        ValueError: there is nothing of the kind, or a splat was given for photos without poses.
    """
    parser = guess_dataparser(data) if data.exists() else None
    if parser is None:
        photos = sorted(p for p in data.glob("*") if p.suffix.lower() in _PHOTO_ENDINGS) if data.is_dir() else []
        if not photos:
            raise ValueError(f"--data {data}: expected a COLMAP scene, a transforms.json or a folder of photos")
        if splat is not None:
            raise ValueError(f"--data {data} has no camera poses, so --splat {splat} cannot be seen from its photos")
        return Scene(photos, None, None)
    manager: ClickGaussianDataManager = ClickGaussianDataManagerConfig(dataparser=parser).setup(device="cpu")
    guidance = None
    if splat is not None and not manager.takes_guidance:
        logger.warning(
            "Photos of %s have lens distortion, which the label images of a splat lack: segmenting without --splat %s, "
            "as ns-train does. Undistort the photos to use it",
            data,
            splat,
        )
    elif splat is not None:
        metadata = manager.train_dataset.metadata
        loaded = load_splats(
            splat,
            "auto",
            metadata["dataparser_transform"],
            metadata["dataparser_scale"],
            metadata["applied_transform"],
        )
        guidance = SplatGuidance(loaded.splats, manager.train_views, "classic")
    return Scene(list(manager.train_dataset.image_filenames), manager.photo_sizes, guidance)
