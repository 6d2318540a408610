"""Which of nerfstudio's dataparsers reads a folder of photos with poses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nerfstudio.data.dataparsers.base_dataparser import DataParserConfig
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

_COLMAP_MODELS = (Path("colmap/sparse/0"), Path("sparse/0"))
"""Below the data folder: as `ns-process-data` writes it, and the layout of 3DGS scenes."""


def guess_dataparser(data: Path) -> DataParserConfig | None:
    """The dataparser for a COLMAP scene or a transforms.json; None for anything else."""
    if data.suffix == ".json" or (data / "transforms.json").is_file():
        return NerfstudioDataParserConfig(data=data)
    for model in _COLMAP_MODELS:
        if (data / model).is_dir():
            return ColmapDataParserConfig(data=data, colmap_path=model)
    return None


def settle_dataparser(config: Any) -> None:
    """Make a datamanager's dataparser fit its data, so that `--data PHOTOS` alone is enough.

    nerfstudio's default parser wants a transforms.json: where there is none but a COLMAP model, COLMAP's takes over. A
    COLMAP parser is pointed at <data>/sparse/0 where nerfstudio's own place is missing.
    """
    parser = config.dataparser
    data = Path(config.data or parser.data)
    guessed = guess_dataparser(data)
    if isinstance(parser, ColmapDataParserConfig):
        if not (data / parser.colmap_path).exists() and isinstance(guessed, ColmapDataParserConfig):
            parser.colmap_path = guessed.colmap_path
    elif type(parser) is NerfstudioDataParserConfig and isinstance(guessed, ColmapDataParserConfig):
        config.dataparser = guessed
