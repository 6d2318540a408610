"""Real spherical harmonics of degrees 0-3 in the convention of 3D Gaussian Splatting: evaluation and rotation.

The basis is the one that splat files store coefficients for: order m = -l..l within each degree l, with the
Condon-Shortley sign kept (the degree-1 functions are proportional to -y, z, -x).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from click_gaussian_ns.splats.cameras import camera_center
from click_gaussian_ns.types import PinholeView, Splats

MAX_DEGREE = 3

SH_C0 = 0.5 / math.sqrt(math.pi)
"""The constant function Y_0: colour = 0.5 + SH_C0 * dc for splats of degree 0."""

_C1 = math.sqrt(3 / (4 * math.pi))
_C2 = math.sqrt(15 / (4 * math.pi))
_C2_0 = math.sqrt(5 / (16 * math.pi))
_C3_3 = math.sqrt(35 / (32 * math.pi))
_C3_2 = math.sqrt(105 / (4 * math.pi))
_C3_1 = math.sqrt(21 / (32 * math.pi))
_C3_0 = math.sqrt(7 / (16 * math.pi))


def num_coefficients(degree: int) -> int:
    """K = (degree + 1)^2."""
    return (degree + 1) ** 2


def degree_of(num_coefficients: int) -> int:
    """The degree that has this many coefficients.

    Raises:
        ValueError: the number is not 1, 4, 9 or 16.
    """
    degree = math.isqrt(num_coefficients) - 1
    if not 0 <= degree <= MAX_DEGREE or (degree + 1) ** 2 != num_coefficients:
        raise ValueError(
            f"{num_coefficients} spherical-harmonics coefficients per channel fit no degree: expected 1, 4, 9 or 16"
        )
    return degree


def sh_basis(dirs: Float[Tensor, "N 3"], degree: int) -> Float[Tensor, "N K"]:
    """The K = (degree + 1)^2 basis functions at unit directions."""
    x, y, z = dirs.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    columns = [torch.full_like(x, SH_C0)]
    if degree >= 1:
        columns += [-_C1 * y, _C1 * z, -_C1 * x]
    if degree >= 2:
        columns += [
            _C2 * x * y,
            -_C2 * y * z,
            _C2_0 * (2 * zz - xx - yy),
            -_C2 * x * z,
            0.5 * _C2 * (xx - yy),
        ]
    if degree >= 3:
        columns += [
            -_C3_3 * y * (3 * xx - yy),
            _C3_2 * x * y * z,
            -_C3_1 * y * (4 * zz - xx - yy),
            _C3_0 * z * (2 * zz - 3 * xx - 3 * yy),
            -_C3_1 * x * (4 * zz - xx - yy),
            0.5 * _C3_2 * z * (xx - yy),
            -_C3_3 * x * (xx - 3 * yy),
        ]
    return torch.stack(columns, dim=-1)


def eval_sh(sh: Float[Tensor, "N K 3"], dirs: Float[Tensor, "N 3"], degree: int | None = None) -> Float[Tensor, "N 3"]:
    """View-dependent colours, 0.5 + sum_k sh_k Y_k(dir). NOT clamped: renderers clamp below at 0.

    Args:
        sh: coefficients, K in {1, 4, 9, 16}.
        dirs: from the camera centre towards the Gaussian, in the frame of the coefficients, any length but 0.
        degree: highest degree to use, at most that of `sh`; all by default.

    Raises:
        ValueError: K fits no degree, or `degree` is above it.
    """
    available = degree_of(sh.shape[1])
    degree = available if degree is None else degree
    if not 0 <= degree <= available:
        raise ValueError(f"degree must lie in 0..{available} for {sh.shape[1]} coefficients, got {degree}")
    basis = sh_basis(torch.nn.functional.normalize(dirs, dim=-1), degree)
    return 0.5 + torch.einsum("nk,nkc->nc", basis, sh[:, : basis.shape[1]])


def view_colors(splats: Splats, view: PinholeView) -> Float[Tensor, "N 3"]:
    """RGB of every Gaussian as seen from the view's centre, clamped below at 0."""
    return eval_sh(splats.sh, splats.means - camera_center(view).to(splats.means)).clamp_min(0.0)


def rotate_sh(sh: Float[Tensor, "N K 3"], R: Float[Tensor, "3 3"]) -> Float[Tensor, "N K 3"]:
    """Coefficients of the same colours after the scene was rotated by x' = R x.

    eval_sh(rotate_sh(sh, R), d) == eval_sh(sh, R^T d) for every direction d. Exact: each degree is closed under
    rotation, and its matrix is solved in float64 from more directions than it has functions.

    Raises:
        ValueError: K fits no degree.
    """
    degree = degree_of(sh.shape[1])
    dirs = _spread_directions(64).to(R.device)
    before = sh_basis(dirs @ R.double(), degree)
    after = sh_basis(dirs, degree)
    matrix = torch.eye(sh.shape[1], dtype=torch.float64, device=R.device)
    for l in range(1, degree + 1):
        block = slice(l * l, (l + 1) ** 2)
        matrix[block, block] = torch.linalg.lstsq(after[:, block], before[:, block]).solution
    # one product over [N, 3 K] is several times faster than products of each degree's strided block
    channelwise = torch.kron(matrix, torch.eye(3, dtype=matrix.dtype, device=R.device))
    return (sh.flatten(1) @ channelwise.T.to(sh)).reshape(sh.shape)


def _spread_directions(count: int) -> Float[Tensor, "M 3"]:
    """Unit directions spread evenly over the sphere (Fibonacci lattice), float64."""
    index = torch.arange(count, dtype=torch.float64)
    z = 1 - (2 * index + 1) / count
    angle = index * math.pi * (3 - math.sqrt(5))
    radius = torch.sqrt(1 - z * z)
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle), z], dim=-1)
