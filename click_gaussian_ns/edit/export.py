"""Selected Gaussians as files that any viewer of 3D Gaussians opens: vanilla .ply, or a smaller format made of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from jaxtyping import Bool, Int
from torch import Tensor

from click_gaussian_ns.edit.formats import convert
from click_gaussian_ns.files import folder_aside
from click_gaussian_ns.selection.pick import visible_gaussians
from click_gaussian_ns.splats.convert import ending_of
from click_gaussian_ns.splats.ply import write_ply
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.splats.transforms import Similarity, apply, fits_float32
from click_gaussian_ns.types import Splats

ExportFrame = Literal["dataparser", "world"]


def export_ply(
    path: Path, splats: Splats, mask: Bool[Tensor, "N"], frame: ExportFrame, to_dataparser: Similarity
) -> int:
    """Write the masked Gaussians that can be drawn; returns how many.

    Args:
        path: one of edit/formats.py's FORMATS by its ending; written aside and renamed.
        splats: the scene, in the dataparser's frame.
        mask: what to write.
        frame: "dataparser" writes values untouched, as `ns-export` does; "world" moves them into the data's own frame
            (see splats/scene.py).
        to_dataparser: the world to the dataparser's frame.

    Raises:
        ValueError: nothing is left to write, or the format cannot hold the scene's coordinates.
    """
    kept = mask & visible_gaussians(splats.opacity_logits)
    chosen = select(splats, kept)
    if frame == "world":
        chosen = moved_to_world(chosen, to_dataparser)
    if ending_of(path) == ".ply":
        write_ply(path, chosen, frame)
    elif not fits_float32(chosen.means):
        raise ValueError(
            f"{path}: only a .ply holds coordinates as large as this scene's: export one, or --frame dataparser"
        )
    else:
        with folder_aside(path) as aside:
            write_ply(aside / "exact.ply", chosen, frame)
            convert(aside / "exact.ply", path)
    return chosen.num_gaussians


def moved_to_world(splats: Splats, to_dataparser: Similarity) -> Splats:
    """Centres stay float64 where float32 cannot hold the world's coordinates, as those of a country's grid."""
    moved = apply(replace(splats, means=splats.means.double()), to_dataparser.inverse())
    return replace(moved, means=moved.means.float()) if fits_float32(moved.means) else moved


def exported_objects(output_dir: Path, prefix: str, ending: str = ".ply") -> list[Path]:
    """Files that `export_all_objects` wrote there earlier, by their names."""
    name = re.compile(rf"{re.escape(prefix)}_\d{{3,}}{re.escape(ending)}")
    return sorted(path for path in output_dir.glob(f"*{ending}") if name.fullmatch(path.name))


def export_all_objects(
    output_dir: Path,
    splats: Splats,
    prefix: str,
    labels: Int[Tensor, "N"],
    num_objects: int,
    frame: ExportFrame,
    to_dataparser: Similarity,
    progress: Callable[[Iterable[int]], Iterable[int]] = lambda ids: ids,
    ending: str = ".ply",
) -> dict[Path, int]:
    """One file `<prefix>_<label><ending>` per label with any visible Gaussian; returns how many Gaussians each holds.

    They take the place of all that an earlier call wrote there with this prefix, once all are written.
    """
    written: dict[Path, int] = {}
    visible = visible_gaussians(splats.opacity_logits)
    with folder_aside(output_dir / f"{prefix}_objects") as aside:
        for label in progress(range(num_objects)):
            mask = (labels == label) & visible
            if bool(mask.any()):
                path = output_dir / f"{prefix}_{label:03d}{ending}"
                written[path] = export_ply(aside / path.name, splats, mask, frame, to_dataparser)
        older = exported_objects(output_dir, prefix, ending)
        for path in written:
            os.replace(aside / path.name, path)
    for path in set(older) - set(written):
        path.unlink()
    return written
