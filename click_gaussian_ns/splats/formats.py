"""Any single file of Gaussians: what its name or its first bytes say it is decides how it is read."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from plyfile import PlyData, PlyElement, PlyParseError

from click_gaussian_ns.splats.convert import FORMAT_OF_ENDING, convert_file, ending_of
from click_gaussian_ns.splats.ply import read_ply
from click_gaussian_ns.splats.ply_header import PlyHeaderInfo, is_compressed_ply
from click_gaussian_ns.splats.transforms import Similarity, apply
from click_gaussian_ns.types import Splats


def read_splat_file(path: Path) -> tuple[Splats, PlyHeaderInfo]:
    """Gaussians of a .ply (SuperSplat's compressed ones too), .splat, .ksplat, .spz or .sog, as `read_ply` gives them.

    An .spz is turned from its axes (right, up, back) to those of .ply files.

    Raises:
        ValueError: one line that names the file and says what is wrong.
    """
    kind = _foreign_kind(path)
    if kind is None:
        return read_ply(path)
    with tempfile.TemporaryDirectory(prefix="click-gaussian-ns-") as folder:
        ply, newer = Path(folder) / "converted.ply", Path(folder) / "newer.ply"
        try:
            source = newer if kind == "compressed.ply" and _write_newer_layout(path, newer) else path
            antialiased = convert_file(source, kind, ply, "ply")
            splats, info = read_ply(ply)
        except ValueError as error:
            raise ValueError(str(error).replace(str(ply), str(path)).replace(str(newer), str(path))) from error
    if kind == "spz":
        splats = turn_spz_axes(splats)
    comments = ("antialiased 1",) if antialiased else ()
    return splats, replace(info, comments=comments)


def is_splat_file(path: Path) -> bool:
    """Whether a name is one of a file of Gaussians, by its ending."""
    return ending_of(path) is not None


def turn_spz_axes(splats: Splats) -> Splats:
    """Between the axes of .ply files (right, down, front) and of .spz (right, up, back): a half turn about x."""
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    return apply(splats, Similarity(half_turn, torch.zeros(3, dtype=torch.float64), 1.0))


def _write_newer_layout(path: Path, target: Path) -> bool:
    """SuperSplat's first compressed .ply has no ranges of colours per chunk, as gaussforge wants them: they are 0 to 1.

    Returns:
        Whether the file is one of those, and `target` its newer form.

    Raises:
        ValueError: it is damaged.
    """
    try:
        ply = PlyData.read(str(path))
        chunks = ply["chunk"].data
    except (PlyParseError, KeyError, ValueError, MemoryError, OverflowError) as error:
        raise ValueError(f"{path}: the compressed .ply is damaged ({error}). Copy or export the file again.") from error
    if "min_r" in (chunks.dtype.names or ()):
        return False
    ranges = [f"{end}_{color}" for end in ("min", "max") for color in "rgb"]
    made = np.zeros(len(chunks), [*chunks.dtype.descr, *((name, "<f4") for name in ranges)])
    for name in chunks.dtype.names or ():
        made[name] = chunks[name]
    for name in ranges[3:]:
        made[name] = 1.0
    others = [element for element in ply.elements if element.name != "chunk"]
    PlyData([PlyElement.describe(made, "chunk"), *others], byte_order="<").write(str(target))
    return True


def _foreign_kind(path: Path) -> str | None:
    """gaussforge's name for the file's format; None: what `read_ply` reads, or refuses."""
    if is_compressed_ply(path):
        return "compressed.ply"
    ending = ending_of(path)
    if not path.is_file() or ending is None or ending.endswith(".ply"):
        return None
    return FORMAT_OF_ENDING[ending]
