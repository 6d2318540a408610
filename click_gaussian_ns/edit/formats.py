"""Smaller files for the web, made of a .ply by libraries that know the formats; all round what they keep.

.splat: 32 bytes per Gaussian, no view-dependent colour. .spz, .sog and SuperSplat's compressed .ply: a tenth to a
fourth of the .ply, with spherical harmonics; the last two put the Gaussians into another order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from click_gaussian_ns.files import written_aside
from click_gaussian_ns.splats.convert import FORMAT_OF_ENDING, convert_file, ending_of
from click_gaussian_ns.splats.formats import turn_spz_axes
from click_gaussian_ns.splats.ply import read_ply

_POSITION_BITS = 23
"""An .spz holds coordinates as signed 24-bit numbers."""
_MAX_FRACTIONAL_BITS = 20


def convert(ply: Path, target: Path) -> None:
    """Write a .ply's Gaussians in the format that the target's name ends in; written aside and renamed.

    Raises:
        ValueError: an unknown format, or the library that writes it is not installed.
    """
    writer = _WRITERS.get(ending_of(target) or "")
    if writer is None:
        raise ValueError(f"{target.name}: unknown format; expected one of {', '.join(_WRITERS)}")
    with written_aside(target) as temporary:
        writer(ply, temporary)


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
    splats = turn_spz_axes(read_ply(ply)[0])
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


def _write_by_gaussforge(ending: str, ply: Path, target: Path) -> None:
    convert_file(ply, "ply", target, FORMAT_OF_ENDING[ending])


def _missing(suffix: str, library: str) -> ValueError:
    return ValueError(f'writing {suffix} needs the library {library}: pip install -e ".[formats]", or export a .ply')


_WRITERS: dict[str, Callable[[Path, Path], None]] = {
    ".splat": _write_splat,
    ".spz": _write_spz,
    **{ending: partial(_write_by_gaussforge, ending) for ending in (".compressed.ply", ".sog")},
}
FORMATS = (".ply", *_WRITERS)
"""What Gaussians can be written as."""
