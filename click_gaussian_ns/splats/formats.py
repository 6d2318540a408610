"""Any single file of Gaussians: what its name or its first bytes say it is decides how it is read."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import torch

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
        ply = Path(folder) / "converted.ply"
        antialiased = convert_file(path, kind, ply, "ply")
        try:
            splats, info = read_ply(ply)
        except ValueError as error:
            raise ValueError(str(error).replace(str(ply), str(path))) from error
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


def _foreign_kind(path: Path) -> str | None:
    """gaussforge's name for the file's format; None: what `read_ply` reads, or refuses."""
    if is_compressed_ply(path):
        return "compressed.ply"
    ending = ending_of(path)
    if not path.is_file() or ending is None or ending.endswith(".ply"):
        return None
    return FORMAT_OF_ENDING[ending]
