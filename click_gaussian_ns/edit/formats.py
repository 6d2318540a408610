"""Smaller files for the web, made of a .ply by libraries that know the formats; both round what they keep.

.splat: 32 bytes per Gaussian, no view-dependent colour. .spz: about a tenth of the .ply, with spherical harmonics.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from click_gaussian_ns.files import written_aside
from click_gaussian_ns.splats.ply import read_ply
from click_gaussian_ns.splats.transforms import Similarity, apply
from click_gaussian_ns.types import Splats

_POSITION_BITS = 23
"""An .spz holds coordinates as signed 24-bit numbers."""
_MAX_FRACTIONAL_BITS = 20


def convert(ply: Path, target: Path) -> None:
    """Write a .ply's Gaussians in the format that the target's name ends in; written aside and renamed.

    Raises:
        ValueError: an unknown format, or the library that writes it is not installed.
    """
    writer = _WRITERS.get(target.suffix)
    if writer is None:
        raise ValueError(f"{target.name}: unknown format; expected one of {', '.join(_WRITERS)}")
    with written_aside(target) as temporary:
        writer(ply, temporary)


def to_spz_axes(splats: Splats) -> Splats:
    """From the axes of .ply files (right, down, front) to those of .spz (right, up, back): a half turn about x."""
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    return apply(splats, Similarity(half_turn, torch.zeros(3, dtype=torch.float64), 1.0))


def _write_splat(ply: Path, target: Path) -> None:
    try:
        import ply2splat
    except ImportError as error:
        raise _missing(".splat", "ply2splat") from error
    library: Any = ply2splat
    library.convert(str(ply), str(target))


def _write_spz(ply: Path, target: Path) -> None:
    try:
        import gsply
    except ImportError as error:
        raise _missing(".spz", "gsply") from error
    splats = to_spz_axes(read_ply(ply)[0])
    arrays = {
        "means": splats.means,
        "scales": splats.log_scales,
        "quats": splats.quats,
        "opacities": splats.opacity_logits,
        "sh0": splats.sh[:, 0],
        "shN": splats.sh[:, 1:],
    }
    library: Any = gsply
    data = library.GSData(**{name: np.ascontiguousarray(value.numpy()) for name, value in arrays.items()})
    extent = max(float(splats.means.abs().max()), 1e-6)
    fractional = min(max(_POSITION_BITS - 1 - math.floor(math.log2(extent)), 1), _MAX_FRACTIONAL_BITS)
    library.write_spz(target, data, fractional_bits=fractional)


def _missing(suffix: str, library: str) -> ValueError:
    return ValueError(f'writing {suffix} needs the library {library}: pip install -e ".[formats]", or export a .ply')


_WRITERS: dict[str, Callable[[Path, Path], None]] = {".splat": _write_splat, ".spz": _write_spz}
FORMATS = (".ply", *_WRITERS)
"""What Gaussians can be written as."""
