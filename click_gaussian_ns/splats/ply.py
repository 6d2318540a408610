"""Gaussians in .ply files: the layout of the original 3DGS code, and what `ns-export gaussian-splat` writes.

Per vertex: x y z [nx ny nz] f_dc_0-2 f_rest_* opacity scale_0-2 rot_0-3. f_rest lists the 1.. coefficients of red,
then of green, then of blue: [N, 3, K - 1], and `Splats.sh` is [N, K, 3]. Scales are logarithms, opacity is a logit,
rot is wxyz. Unknown properties are ignored on reading.

Also read: two scales (2DGS: the third axis is flat), one (a ball), colours as red green blue (bytes, or floats in
[0, 1]), mip-splatting's filter_3D, and SH of degree 4, which is cut to 3.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from numpy.lib.recfunctions import append_fields
from plyfile import PlyData, PlyElement, PlyParseError
from torch import Tensor

from click_gaussian_ns.files import written_aside
from click_gaussian_ns.splats.ply_header import (
    DC,
    FRAME_COMMENT,
    RGB,
    FileFrame,
    Header,
    PlyHeaderInfo,
    check_layout,
    read_header,
)
from click_gaussian_ns.splats.spherical_harmonics import SH_C0, num_coefficients
from click_gaussian_ns.splats.subset import FLAT_LOG_SCALE, drop_undrawable
from click_gaussian_ns.splats.subset import select as select
from click_gaussian_ns.splats.transforms import fits_float32
from click_gaussian_ns.types import Splats

logger = logging.getLogger(__name__)

_SH_DEGREE_BY_NUM_REST = {3 * (num_coefficients(degree) - 1): degree for degree in range(5)}
_MAX_DEGREE = 3
_SCALES = tuple(f"scale_{i}" for i in range(3))
_FILTER = "filter_3D"


def read_ply(path: Path) -> tuple[Splats, PlyHeaderInfo]:
    """Read Gaussians, in whatever frame the file has, on the CPU.

    float32; centres stay float64 where the file has them so and float32 cannot hold them (`fits_float32`): a country's
    grid has coordinates of 10^5 to 10^7. The SH degree is told by the number of f_rest properties (0, 9, 24, 45 or
    72). For what is not finite see `drop_undrawable`.

    Raises:
        ValueError: no such file, not a .ply, truncated, empty, or not the .ply of a Gaussian splat.
    """
    header = read_header(path)
    names = check_layout(path, header)
    data = _read_vertices(path, header)
    num, degree = len(data), _sh_degree(path, names)
    kept_degree = min(degree, _MAX_DEGREE)
    if kept_degree < degree:
        logger.warning("%s: spherical harmonics of degree %d are cut to degree %d", path, degree, kept_degree)
    colors: Literal["sh", "rgb"] = "sh" if DC[0] in names else "rgb"
    sh = np.empty((num, num_coefficients(kept_degree), 3), dtype=np.float32)
    sh[:, 0] = _columns(data, DC) if colors == "sh" else (_rgb(data) - 0.5) / SH_C0
    if degree:
        rest = _columns(data, _rest_names(degree)).reshape(num, 3, -1)
        sh[:, 1:] = rest[:, :, : sh.shape[1] - 1].transpose(0, 2, 1)
    splats = Splats(
        means=torch.from_numpy(_centres(data)),
        quats=torch.from_numpy(_columns(data, ("rot_0", "rot_1", "rot_2", "rot_3"))),
        log_scales=torch.from_numpy(_log_scales(data)),
        opacity_logits=torch.from_numpy(_columns(data, ("opacity",))[:, 0]),
        sh=torch.from_numpy(sh),
    )
    if _FILTER in names:
        splats = _filtered(splats, torch.from_numpy(_columns(data, (_FILTER,))))
    splats, num_dropped = drop_undrawable(splats, path)
    return splats, PlyHeaderInfo(tuple(header.comments), num, num_dropped, colors)


def _columns(data: np.ndarray, wanted: tuple[str, ...]) -> Float32[np.ndarray, "N C"]:
    names: list[str] = list(data.dtype.names or ())
    first = names.index(wanted[0])
    kinds = {data.dtype[name] for name in names}
    with np.errstate(over="ignore"):
        if len(kinds) == 1 and tuple(names[first : first + len(wanted)]) == wanted:
            # the usual file: one block of memory, read in one pass
            matrix = data.view(kinds.pop()).reshape(len(data), len(names))
            return matrix[:, first : first + len(wanted)].astype(np.float32)
        return np.stack([data[name].astype(np.float32) for name in wanted], axis=1)


def _centres(data: np.ndarray) -> Float32[np.ndarray, "N 3"] | Float64[np.ndarray, "N 3"]:
    """In float64 where the file has them so and float32 would move them."""
    if data.dtype["x"].itemsize == 8:
        centres = np.stack([data[name].astype(np.float64) for name in ("x", "y", "z")], axis=1)
        if not fits_float32(torch.from_numpy(centres)):
            return centres
    return _columns(data, ("x", "y", "z"))


def _log_scales(data: np.ndarray) -> Float32[np.ndarray, "N 3"]:
    present = tuple(name for name in _SCALES if name in (data.dtype.names or ()))
    scales = _columns(data, present)
    if len(present) == 1:
        return np.repeat(scales, 3, axis=1)
    flat = np.full((len(data), 3 - len(present)), FLAT_LOG_SCALE, np.float32)
    return np.concatenate([scales, flat], axis=1)


def _rgb(data: np.ndarray) -> Float32[np.ndarray, "N 3"]:
    """Colours in [0, 1]: bytes and other whole numbers are of 255."""
    return _columns(data, RGB) / (1 if data.dtype["red"].kind == "f" else 255)


def _filtered(splats: Splats, sizes: Float[Tensor, "N 1"]) -> Splats:
    """mip-splatting's 3D smoothing filter made part of the Gaussians, as its own rasterizer draws them.

    s' = sqrt(s^2 + f^2), opacity' = opacity sqrt(prod s^2 / prod s'^2).
    """
    variances = (2 * splats.log_scales.double().clamp(min=FLAT_LOG_SCALE)).exp()
    larger = variances + sizes.double() ** 2
    opacities = torch.sigmoid(splats.opacity_logits.double()) * (variances / larger).prod(dim=1).sqrt()
    return replace(
        splats,
        log_scales=(larger.log() / 2).float(),
        opacity_logits=torch.logit(opacities, eps=1e-9).float(),
    )


def write_ply(
    path: Path, splats: Splats, frame: FileFrame | None = None, more: Mapping[str, np.ndarray] | None = None
) -> None:
    """Write the original 3DGS layout: binary little endian, float32, normals 0.

    The file appears under its name only when complete; a missing parent folder is made.

    Args:
        path: overwritten if it exists.
        splats: at least one Gaussian. Centres in float64 are written as such: only they keep coordinates of a grid.
        frame: noted in a header comment, so that `load_splats` need not be told. Without it, a reader takes the file to
            be in the data's own frame ("world").
        more: further properties, by name, each [N] in its own number type.

    Raises:
        ValueError: there are no Gaussians.
    """
    num, degree = splats.num_gaussians, splats.sh_degree
    if num == 0:
        raise ValueError(f"{path}: nothing to write, there are no Gaussians; select some first")
    sh = splats.sh.detach().cpu()
    parts = [
        (("x", "y", "z"), splats.means),
        (("nx", "ny", "nz"), torch.zeros(num, 3)),
        (DC, sh[:, 0]),
        (_rest_names(degree), sh[:, 1:].transpose(1, 2).reshape(num, -1)),
        (("opacity",), splats.opacity_logits[:, None]),
        (tuple(f"scale_{i}" for i in range(3)), splats.log_scales),
        (tuple(f"rot_{i}" for i in range(4)), splats.quats),
    ]
    names = [name for part, _ in parts for name in part]
    matrix = np.empty((num, len(names)), dtype="<f4")
    start = 0
    for part, values in parts:
        matrix[:, start : start + len(part)] = values.detach().cpu().numpy()
        start += len(part)
    vertices = matrix.view([(name, "<f4") for name in names])[:, 0]
    if splats.means.dtype == torch.float64:
        vertices = vertices.astype([(name, "<f8" if name in ("x", "y", "z") else "<f4") for name in names])
        for axis, name in enumerate(("x", "y", "z")):
            vertices[name] = splats.means[:, axis].detach().cpu().numpy()
    if more:
        vertices = append_fields(vertices, list(more), list(more.values()), usemask=False)
    comments = [] if frame is None else [FRAME_COMMENT + frame]
    ply = PlyData([PlyElement.describe(vertices, "vertex")], byte_order="<", comments=comments)
    with written_aside(path) as temporary:
        ply.write(str(temporary))


def _rest_names(degree: int) -> tuple[str, ...]:
    return tuple(f"f_rest_{i}" for i in range(3 * (num_coefficients(degree) - 1)))


def _sh_degree(path: Path, names: list[str]) -> int:
    if DC[0] not in names:
        return 0
    rest = {name for name in names if name.startswith("f_rest_")}
    degree = _SH_DEGREE_BY_NUM_REST.get(len(rest))
    if degree is None or rest != set(_rest_names(degree)):
        raise ValueError(
            f"{path}: {len(rest)} f_rest properties fit no spherical-harmonics degree: expected f_rest_0 to f_rest_8 "
            "(degree 1), _23 (degree 2), _44 (degree 3), or none (degree 0)."
        )
    return degree


def _read_vertices(path: Path, header: Header) -> np.ndarray:
    try:
        with path.open("rb") as file:
            if len(header.plain) == header.num_bytes:
                return PlyData.read(file)["vertex"].data
            file.seek(header.num_bytes)
            return PlyData.read(io.BytesIO(header.plain + file.read()))["vertex"].data
    except PlyParseError as error:
        raise ValueError(
            f"{path}: truncated or damaged, the header promises {header.num_vertices} Gaussians but the data cannot be "
            f"read ({error}). Copy or export the file again."
        ) from error
    except (ValueError, MemoryError, OverflowError) as error:
        raise ValueError(
            f"{path}: damaged, its {header.num_vertices} Gaussians cannot be read ({error}). Copy or export it again."
        ) from error
