"""The cameras of a run, kept beside its config.yml: it opens without its photos, and wherever it is copied to."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataParser, DataParserConfig, DataparserOutputs

from click_gaussian_ns.files import write_renamed
from click_gaussian_ns.splats.scene import read_applied_transform
from click_gaussian_ns.splats.transforms import Similarity

logger = logging.getLogger(__name__)

_VERSION = 1
_FLOATS = ("camera_to_worlds", "fx", "fy", "cx", "cy", "distortion_params")
_WHOLE = ("width", "height", "camera_type")
_SPLITS = ("train", "test")


@dataclass
class KeptDataParserConfig(DataParserConfig):
    """The scene as it was trained on."""

    _target: type = field(default_factory=lambda: KeptDataParser)
    record: dict[str, Any] = field(default_factory=dict)
    """Content of the file."""


class KeptDataParser(DataParser):
    """Frame: that of the training."""

    config: KeptDataParserConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        record = self.config.record
        kept = record["train" if split == "train" else "test"]
        values = kept["cameras"]
        tensors: dict[str, Any] = {
            **{name: torch.tensor(values[name], dtype=torch.float32) for name in _FLOATS if name in values},
            **{name: torch.tensor(values[name], dtype=torch.int64) for name in _WHOLE},
        }
        return DataparserOutputs(
            image_filenames=[Path(photo) for photo in kept["photos"]],
            cameras=Cameras(**tensors),
            dataparser_transform=torch.tensor(record["dataparser_transform"], dtype=torch.float32),
            dataparser_scale=record["dataparser_scale"],
        )


def asked_for(config: Any) -> list[Any]:
    """What of a datamanager's settings says which cameras they are: a command may ask a run for others."""
    parser = config.dataparser
    return [str(config.data or parser.data), getattr(parser, "downscale_factor", None)]


def write_cameras(path: Path, asked: list[Any], data: Path, train: DataparserOutputs, test: DataparserOutputs) -> None:
    """Keep a scene's cameras, and where its photos lie.

    Args:
        path: the file.
        asked: see `asked_for`.
        data: what `--data` named.
        train: of nerfstudio's dataparser.
        test: the same, of the photos for testing.
    """
    applied = read_applied_transform(data)
    record = {
        "version": _VERSION,
        "asked": asked,
        "dataparser_transform": train.dataparser_transform.tolist(),
        "dataparser_scale": float(train.dataparser_scale),
        "applied_transform": None
        if applied is None
        else [applied.rotation.tolist(), applied.translation.tolist(), applied.scale],
        **{name: _kept(outputs) for name, outputs in zip(_SPLITS, (train, test))},
    }
    write_renamed(path, json.dumps(record).encode())


def read_cameras(path: Path | None, asked: list[Any]) -> KeptDataParserConfig | None:
    """The kept scene; None where there is none, it cannot be read, or other cameras are asked for."""
    if path is None or not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf8"))
        if record["version"] != _VERSION or record["asked"] != asked:
            return None
        config = KeptDataParserConfig(record=record)
        for split in _SPLITS:
            config.setup().get_dataparser_outputs(split)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        logger.warning("%s cannot be read (%s): the scene's own files are read instead", path, error)
        return None
    return config


def applied_transform(config: KeptDataParserConfig) -> Similarity | None:
    """What was applied to the scene's poses when they were saved; see `read_applied_transform`."""
    kept = config.record["applied_transform"]
    if kept is None:
        return None
    return Similarity.from_parts(torch.tensor(kept[0]), torch.tensor(kept[1]), float(kept[2]))


def _kept(outputs: DataparserOutputs) -> dict[str, Any]:
    cameras = outputs.cameras
    values = {name: getattr(cameras, name) for name in (*_FLOATS, *_WHOLE)}
    return {
        "photos": [str(path.resolve()) for path in outputs.image_filenames],
        "cameras": {name: value.tolist() for name, value in values.items() if value is not None},
    }
