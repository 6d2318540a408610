"""Which of nerfstudio's dataparsers reads a folder of photos with poses."""

from __future__ import annotations

import copy
import logging
import struct
from dataclasses import fields
from pathlib import Path
from typing import Any

from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig
from nerfstudio.data.dataparsers.blender_dataparser import BlenderDataParserConfig
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

from click_gaussian_ns.masks.photo_names import PHOTO_ENDINGS
from click_gaussian_ns.poses.advice import poses_advice
from click_gaussian_ns.scenes.colmap_files import photo_lines
from click_gaussian_ns.scenes.dataparsers import ModelDataParser, TransformsDataParser

logger = logging.getLogger(__name__)

_COLMAP_MODELS = (
    *("colmap/sparse/*", "colmap/sparse", "sparse/*", "sparse"),
    *("dense/*/sparse", "dense/sparse", "dense/sparse/*", "distorted/sparse/*"),
    *("undistorted/sparse", "undistorted/sparse/*", "colmap", "."),
)
"""Below the data folder: as `ns-process-data` writes it, 3DGS scenes, COLMAP's own undistortion, 3DGS's convert.py."""
_PHOTO_FOLDERS = ("images", "input", "photos", "rgb", ".")
_MIN_PHOTO_BYTES = 64 + 2 + 8
"""In images.bin: number, pose and camera; a name of one letter; the number of its points."""
_FEW = 0.6
"""Of the photos: with a smaller share registered, something went wrong."""
_DEFAULT_MODEL = ColmapDataParserConfig().colmap_path


def guess_dataparser(data: Path) -> DataParserConfig | None:
    """The dataparser for a COLMAP scene, a transforms.json or a scene of Blender's; None for anything else.

    COLMAP leaves a model for every set of photos that it could connect: the one with most photos is taken.

    Raises:
        ValueError: the only COLMAP models are empty or damaged.
    """
    if data.suffix == ".json" or (data / "transforms.json").is_file():
        return NerfstudioDataParserConfig(data=data, _target=TransformsDataParser)
    if (data / "transforms_train.json").is_file():
        return BlenderDataParserConfig(data=data)
    models = {model: count for model in _model_folders(data) if (count := num_registered(model))}
    if not models:
        damaged = _model_folders(data)
        if damaged:
            raise ValueError(
                f"{damaged[0]}: the COLMAP model holds no photos or is cut off (images.bin, or images.txt in UTF-8). "
                "Copy it again, or run COLMAP's mapper again"
            )
        return None
    best = max(models, key=models.__getitem__)
    if len(models) > 1:
        others = ", ".join(f"{m.relative_to(data)} ({n})" for m, n in models.items() if m != best)
        logger.warning(
            "%s: COLMAP model %s with %d photos is taken; there are also %s",
            data,
            best.relative_to(data),
            models[best],
            others,
        )
    parser = ColmapDataParserConfig(data=data, colmap_path=best.relative_to(data), _target=ModelDataParser)
    names = _PHOTO_FOLDERS[::-1] if "distorted" in best.parts else _PHOTO_FOLDERS
    places = (at / name for name in names for at in (best.parent, data))
    photos = next((place for place in places if place.is_dir() and (place.name in names or _holds_photos(place))), None)
    if photos is not None:
        parser.images_path = photos.relative_to(data)
        _warn_of_unregistered(photos, models[best])
    return parser


def num_registered(model: Path) -> int:
    """Photos in a COLMAP model's folder, by its images.bin or images.txt; 0 where there is none or it is damaged."""
    try:
        # as nerfstudio reads it: text where both are there
        if (model / "images.bin").is_file() and not (model / "cameras.txt").is_file():
            with (model / "images.bin").open("rb") as file:
                (count,) = struct.unpack("<Q", file.read(8))
            fits = (model / "images.bin").stat().st_size >= 8 + count * _MIN_PHOTO_BYTES
            return count if fits else 0
        return sum(bool(line.strip()) for line in photo_lines(model))
    except (OSError, struct.error, UnicodeDecodeError):
        return 0


def _model_folders(data: Path) -> list[Path]:
    """With files of a model in them."""
    found = (path for pattern in _COLMAP_MODELS for path in ([data] if pattern == "." else sorted(data.glob(pattern))))
    return [path for path in found if any((path / f"images.{ending}").is_file() for ending in ("bin", "txt"))]


def _holds_photos(folder: Path) -> bool:
    return any(path.suffix.lower() in PHOTO_ENDINGS for path in folder.glob("*"))


def _warn_of_unregistered(photos: Path, num_registered: int) -> None:
    files = sum(path.suffix.lower() in PHOTO_ENDINGS for path in photos.rglob("*"))
    if num_registered < _FEW * files:
        logger.warning(
            "%s: COLMAP placed only %d of %d photos; the others are not used. Photos that overlap more, or another "
            "matcher, would place more",
            photos,
            num_registered,
            files,
        )


def settle_dataparser(config: Any) -> None:
    """Make a datamanager's dataparser fit its data, so that `--data PHOTOS` alone is enough.

    nerfstudio's default parser wants a transforms.json: where there is none but a COLMAP model, COLMAP's takes over. A
    COLMAP parser that was not told which model is pointed at the largest.

    Raises:
        ValueError: the photos have no poses, or see `guess_dataparser`.
    """
    parser = config.dataparser
    data = Path(config.data or parser.data)
    if type(parser) is NerfstudioDataParserConfig:
        parser._target = TransformsDataParser
        guessed = guess_dataparser(data)
        if guessed is None and (advice := poses_advice(data)) is not None:
            raise ValueError(advice)
        if guessed is not None and type(guessed) is not NerfstudioDataParserConfig:
            _carry_over(parser, guessed)
            config.dataparser = guessed
    elif type(parser) is ColmapDataParserConfig:
        parser._target = ModelDataParser
        model_is_open = parser.colmap_path == _DEFAULT_MODEL or not (data / parser.colmap_path).exists()
        photos_are_open = not (data / parser.images_path).exists()
        guessed = guess_dataparser(data) if model_is_open or photos_are_open else None
        if isinstance(guessed, ColmapDataParserConfig):
            if model_is_open:
                parser.colmap_path = guessed.colmap_path
            if photos_are_open:
                parser.images_path = guessed.images_path


def _carry_over(asked: DataParserConfig, found: DataParserConfig) -> None:
    """Options that a user set count for the parser that takes over; what it has none for is said."""
    default, known = type(asked)(), {field.name for field in fields(found)}
    for field in fields(asked):
        value = getattr(asked, field.name)
        if field.name in ("_target", "data") or value == getattr(default, field.name):
            continue
        if field.name in known:
            setattr(found, field.name, value)
        else:
            logger.warning(
                "--%s does nothing here: %s has no such option", field.name.replace("_", "-"), type(found).__name__
            )


def check_scene(config: Any) -> None:
    """Read a datamanager's scene once, so that a bad one is refused before geometry is trained on it.

    Raises:
        ValueError: what is wrong with it.
    """
    settle_dataparser(config)
    parser = copy.deepcopy(config.dataparser)
    parser.data = Path(config.data or parser.data)
    parser.setup().get_dataparser_outputs("train")
