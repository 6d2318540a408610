"""Scenes that are not (yet) runs: photos and poses as nerfstudio's dataparsers read them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from click_gaussian_ns.masks.guidance import SplatGuidance
from click_gaussian_ns.masks.lens import Lens
from click_gaussian_ns.masks.photo_names import PHOTO_ENDINGS
from click_gaussian_ns.masks.segmenter import GuidanceSource
from click_gaussian_ns.masks.source import PhotoMask
from click_gaussian_ns.scenes.data_layout import guess_dataparser
from click_gaussian_ns.scenes.dataparsers import ModelDataParser, TransformsDataParser
from click_gaussian_ns.scenes.photo_dataset import PhotoDataset
from click_gaussian_ns.scenes.refusals import check_cameras, refused_in_one_line
from click_gaussian_ns.scenes.views import lens_view, photo_sizes
from click_gaussian_ns.splats.scene import load_splats, read_applied_transform


@dataclass(frozen=True)
class Scene:
    """What the mask stage needs of a scene."""

    photos: Sequence[Path]
    sizes: Sequence[tuple[int, int]] | None
    """(height, width) of the cameras, px; None: the photos' own."""
    guidance: GuidanceSource | None
    photo_mask: PhotoMask = lambda index: None
    lenses: Sequence[Lens | None] | None = None
    """Of the photos; None: they have none."""


def open_scene(data: Path, splat: Path | None) -> Scene:
    """Training photos of a scene, or all photos of a plain folder.

    Raises:
        ValueError: there is nothing of the kind, or a splat was given for photos without poses.
    """
    parser = guess_dataparser(data) if data.exists() else None
    if parser is None:
        photos = sorted(p for p in data.glob("*") if p.suffix.lower() in PHOTO_ENDINGS) if data.is_dir() else []
        if not photos:
            raise ValueError(f"--data {data}: expected a COLMAP scene, a transforms.json or a folder of photos")
        if splat is not None:
            raise ValueError(f"--data {data} has no camera poses, so --splat {splat} cannot be seen from its photos")
        return Scene(photos, None, None)
    # ours say themselves what is wrong
    ours = parser._target in (TransformsDataParser, ModelDataParser)
    with nullcontext() if ours else refused_in_one_line(data, "scene"):
        outputs = parser.setup().get_dataparser_outputs(split="train")
    check_cameras(data, outputs.cameras)
    dataset = PhotoDataset(outputs)
    straight = [lens_view(outputs.cameras[i : i + 1]) for i in range(len(outputs.image_filenames))]
    guidance = None
    if splat is not None:
        applied = read_applied_transform(Path(parser.data))
        loaded = load_splats(splat, "auto", outputs.dataparser_transform, outputs.dataparser_scale, applied)
        mode = "antialiased" if loaded.antialiased else "classic"
        guidance = SplatGuidance(loaded.splats, [view for view, _ in straight], mode)
    lenses = [lens for _, lens in straight]
    return Scene(dataset.image_filenames, photo_sizes(outputs.cameras), guidance, dataset.photo_mask, lenses)
