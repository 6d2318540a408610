"""nerfstudio's readers of a transforms.json and of COLMAP models, for files as people have them.

A run's config.yml names these classes. They read the same scene in the same frame as nerfstudio's own do, and differ in
what those cannot do: nothing is asked for on stdin or written into the data's folder, photos may be missing, be of
another size or have masks, and what cannot be read ends in one line.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from nerfstudio.data.dataparsers import nerfstudio_dataparser
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParser, ColmapDataParserConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import Nerfstudio, NerfstudioDataParserConfig
from nerfstudio.utils.rich_utils import CONSOLE

from click_gaussian_ns.scenes.colmap_files import check_model, has_points, photo_lines
from click_gaussian_ns.scenes.photo_files import find_photos, fitted
from click_gaussian_ns.scenes.photo_masks import find_photo_masks
from click_gaussian_ns.scenes.refusals import BadScene, check_cameras, check_poses, refused_in_one_line
from click_gaussian_ns.scenes.transforms_json import for_nerfstudio, named_masks, read_transforms, transforms_path

PHOTO_MASKS = "photo_masks"
"""Key of the outputs' metadata: the mask of each photo, or None."""


class TransformsDataParser(Nerfstudio):
    """Of a transforms.json."""

    config: NerfstudioDataParserConfig

    def __init__(self, config: NerfstudioDataParserConfig) -> None:
        super().__init__(config)
        # photos are made smaller when they are read
        self.downscale_factor = 1
        # nerfstudio would ask on stdin, and rewrite the transforms.json
        self.prompted_user, self.create_pc = True, False

    def _generate_dataparser_outputs(self, split: str = "train") -> DataparserOutputs:
        path = transforms_path(self.config.data)
        meta = read_transforms(path)
        with refused_in_one_line(path, "scene"), _read_instead(for_nerfstudio(path, meta)):
            outputs = super()._generate_dataparser_outputs(split)
        points = self.config.data / "colmap" / "sparse" / "0"
        if self.config.load_3D_points and "points3D_xyz" not in outputs.metadata and points.is_dir():
            outputs.metadata.update(_colmap_points(points, outputs))
        masks = named_masks(meta, path.parent)
        return _as_it_lies(path, outputs, self, split, path.parent, masks)


class ModelDataParser(ColmapDataParser):
    """Of a COLMAP model."""

    config: ColmapDataParserConfig

    def _generate_dataparser_outputs(self, split: str = "train", **kwargs: Any) -> DataparserOutputs:
        path = self.config.data / self.config.colmap_path
        with refused_in_one_line(path, "COLMAP model"):
            outputs = super()._generate_dataparser_outputs(split, **kwargs)
        named = dict(zip(outputs.image_filenames, outputs.mask_filenames or ()))
        return _as_it_lies(path, outputs, self, split, self.config.data / self.config.images_path, named)

    def _get_all_images_and_cameras(self, recon_dir: Path) -> dict[str, Any]:
        check_model(recon_dir)
        meta = super()._get_all_images_and_cameras(recon_dir)
        names = _names_with_spaces(recon_dir)
        for frame in meta["frames"]:
            name = names.get(frame["colmap_im_id"])
            if name is not None:
                frame["file_path"] = (self.config.data / self.config.images_path / name).as_posix()
        frames = meta["frames"]
        check_poses(
            recon_dir, [Path(frame["file_path"]).name for frame in frames], [f["transform_matrix"] for f in frames]
        )
        return meta

    def _setup_downscale_factor(
        self, image_filenames: list[Path], mask_filenames: list[Path], depth_filenames: list[Path]
    ) -> tuple[list[Path], list[Path], list[Path], int]:
        """Photos are made smaller when they are read; nerfstudio would ask on stdin, and write copies."""
        self._downscale_factor = 1
        return image_filenames, mask_filenames, depth_filenames, 1

    def _load_3D_points(self, colmap_path: Path, transform_matrix: torch.Tensor, scale_factor: float) -> dict[str, Any]:
        if not has_points(colmap_path):
            CONSOLE.log(f"{colmap_path}: no points: geometry that is trained starts from random points")
            return {}
        return super()._load_3D_points(colmap_path, transform_matrix, scale_factor)


def _names_with_spaces(model: Path) -> dict[int, str]:
    """Names of a text model's photos: nerfstudio ends them at the first space."""
    if not (model / "cameras.txt").exists() or not (model / "images.txt").exists():
        return {}
    photos = [line.split(maxsplit=9) for line in photo_lines(model)]
    return {int(parts[0]): parts[9].strip() for parts in photos if len(parts) == 10}


@contextmanager
def _read_instead(meta: dict[str, Any]) -> Iterator[None]:
    """What nerfstudio reads as the scene's JSON: its parser takes a file's path and nothing else."""
    name = "load_from_json"
    original = getattr(nerfstudio_dataparser, name)
    setattr(nerfstudio_dataparser, name, lambda path: copy.deepcopy(meta))
    try:
        yield
    finally:
        setattr(nerfstudio_dataparser, name, original)


def _colmap_points(model: Path, outputs: DataparserOutputs) -> dict[str, Any]:
    """Points of a scene whose transforms.json does not name them, as nerfstudio has them."""
    with refused_in_one_line(model, "COLMAP model"):
        reader = ModelDataParser(ColmapDataParserConfig())
        return reader._load_3D_points(model, outputs.dataparser_transform, outputs.dataparser_scale)


def _as_it_lies(
    origin: Path,
    outputs: DataparserOutputs,
    parser: TransformsDataParser | ModelDataParser,
    split: str,
    root: Path,
    masks: Mapping[Path, Path],
) -> DataparserOutputs:
    """The photos that are there, their masks, and cameras of their size.

    Args:
        origin: names the scene in messages.
        outputs: of nerfstudio's parser, at full size.
        parser: whose they are.
        split: of the photos. Where no photo for testing is left, the first for training stands in.
        root: the folder that photos' names are relative to.
        masks: photo masks that the scene names, by the photos as named.
    """
    config = parser.config
    if config.downscale_factor is not None and config.downscale_factor < 1:
        raise BadScene(f"--downscale-factor {config.downscale_factor}: expected 1 or more, or none")
    check_cameras(origin, outputs.cameras)
    named: Sequence[Path] = outputs.image_filenames
    found = find_photos(origin, named, config.downscale_factor or 1, needed=split == "train")
    kept = [place for place, file in enumerate(found) if file is not None]
    if not kept:
        train = parser.get_dataparser_outputs("train")
        first = {key: value[:1] if key == PHOTO_MASKS else value for key, value in train.metadata.items()}
        return replace(train, image_filenames=train.image_filenames[:1], cameras=train.cameras[:1], metadata=first)
    photos = [file for file in found if file is not None]
    places = torch.tensor(kept, dtype=torch.long)
    by_file = {file: masks[name] for name, file in zip(named, found) if file is not None and name in masks}
    folder = config.data if config.data.is_dir() else config.data.parent
    return replace(
        outputs,
        image_filenames=photos,
        cameras=fitted(outputs.cameras[places], photos, config.downscale_factor),
        mask_filenames=None,
        metadata={**outputs.metadata, PHOTO_MASKS: find_photo_masks(folder, photos, root, by_file)},
    )
