"""What `click-gaussian masks` does: the stage, then its statistics, a contact sheet and a folder of label maps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from click_gaussian_ns.files import refuse_existing, save_picture, write_renamed
from click_gaussian_ns.masks.config import MaskConfig, level_names_of
from click_gaussian_ns.masks.extract import prepare_level_maps
from click_gaussian_ns.masks.folder import check_names
from click_gaussian_ns.masks.images import read_header
from click_gaussian_ns.masks.lens import Lens
from click_gaussian_ns.masks.photo_names import photo_names, without_ending
from click_gaussian_ns.masks.preview import write_contact_sheet
from click_gaussian_ns.masks.progress import progress_bar
from click_gaussian_ns.masks.segmenter import GuidanceSource
from click_gaussian_ns.masks.source import PhotoMask
from click_gaussian_ns.types import UNASSIGNED, LevelMaps, LevelMapSource

STATISTICS = "statistics.json"


@dataclass(frozen=True)
class LevelStatistics:
    """One level of one view."""

    num_segments: int
    unassigned_share: float
    """Share of the pixels that belong to no segment, in [0, 1]."""


@dataclass(frozen=True)
class ViewStatistics:
    """One view."""

    image: str
    levels: dict[str, LevelStatistics]


def run_masks(
    config: MaskConfig,
    image_paths: Sequence[Path],
    sizes: Sequence[tuple[int, int]] | None = None,
    guidance: GuidanceSource | None = None,
    device: torch.device | str = "cpu",
    photo_mask: PhotoMask = lambda index: None,
    lenses: Sequence[Lens | None] | None = None,
    *,
    output_dir: Path | None = None,
    preview: Path | None = None,
    overwrite: bool = False,
) -> list[ViewStatistics]:
    """Runs the mask stage over photos and reports what it found.

    Args:
        config: see `MaskConfig`.
        image_paths: the photos.
        sizes: (height, width) of the views, px; by default the photos' own.
        guidance: what a splat knows of the views, for `superpixels`.
        device: where SAM runs.
        photo_mask: which pixels of a photo count.
        lenses: of the photos, see `prepare_level_maps`. What is written is in the photos' pixels, distortion and all.
        output_dir: writes label maps `{coarse,fine}/<photo>.png` and statistics.json there, for
            the generator `folder`.
        preview: writes a contact sheet to this JPEG or PNG.
        overwrite: replace files that are there; label maps that an earlier call wrote are replaced anyway.

    Raises:
        ValueError: a file is there already, two photos would have one file of label maps, or see `prepare_level_maps`.
    """
    names = photo_names(image_paths)
    if output_dir is not None:
        check_names(output_dir, names)
        _refuse_others(output_dir, names, config, overwrite)
    if preview is not None:
        refuse_existing(preview, overwrite, "give another --preview")
    if sizes is None:
        sizes = [read_header(path).size for path in image_paths]
    source = prepare_level_maps(config, image_paths, sizes, guidance, device, photo_mask, lenses)
    statistics: list[ViewStatistics] = []
    with progress_bar() as progress:
        for index in progress.track(range(len(source)), description="Making label maps"):
            maps = source[index]
            statistics.append(view_statistics(names[index], maps))
            if output_dir is not None:
                lens = None if lenses is None else lenses[index]
                written = maps if lens is None else LevelMaps(maps.names, lens.to_photo(maps.maps))
                _write_label_maps(output_dir, without_ending(names[index]), written)
    if output_dir is not None:
        write_renamed(output_dir / STATISTICS, json.dumps([asdict(view) for view in statistics], indent=1).encode())
    if preview is not None:
        write_contact_sheet(preview, image_paths, source, lenses)
    _print_table(source, statistics)
    return statistics


def _refuse_others(output_dir: Path, names: Sequence[str], config: MaskConfig, overwrite: bool) -> None:
    """Label maps that lie there and are not of an earlier call, which leaves its statistics, are the user's."""
    if (output_dir / STATISTICS).is_file():
        return
    for level in level_names_of(config.mask_levels):
        for name in names:
            refuse_existing(output_dir / level / f"{without_ending(name)}.png", overwrite, "give another --output-dir")


def view_statistics(image: str, maps: LevelMaps) -> ViewStatistics:
    """Counts of one view's label maps."""
    levels = {
        name: LevelStatistics(
            num_segments=int(np.count_nonzero(np.bincount(labels.ravel())[UNASSIGNED + 1 :])),
            unassigned_share=float(np.mean(labels == UNASSIGNED)),
        )
        for name, labels in zip(maps.names, maps.maps)
    }
    return ViewStatistics(image, levels)


def _print_table(source: LevelMapSource, statistics: Sequence[ViewStatistics]) -> None:
    from rich import get_console
    from rich.table import Table

    table = Table("level", "segments per image (min / median / max)", "unassigned (mean / max)", title="Masks")
    for name in source.names:
        counts = np.array([view.levels[name].num_segments for view in statistics])
        shares = np.array([view.levels[name].unassigned_share for view in statistics])
        table.add_row(
            name,
            f"{counts.min()} / {np.median(counts):g} / {counts.max()}",
            f"{shares.mean():.1%} / {shares.max():.1%}",
        )
    get_console().print(table)


def _write_label_maps(folder: Path, name: str, maps: LevelMaps) -> None:
    for level, labels in zip(maps.names, maps.maps):
        save_picture(folder / level / f"{name}.png", labels)
