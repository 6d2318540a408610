import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from splats_factory import random_rotation

from click_gaussian_ns.splats.spherical_harmonics import SH_C0, degree_of, eval_sh, rotate_sh, sh_basis


def unit_directions(num: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    dirs = torch.randn(num, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return torch.nn.functional.normalize(dirs, dim=-1)


def coefficients(num: int, degree: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(num, (degree + 1) ** 2, 3, generator=torch.Generator().manual_seed(1), dtype=dtype)


@pytest.mark.parametrize("degree", range(4))
def test_colours_agree_with_gsplat(degree: int) -> None:
    from gsplat.cuda._torch_impl import _spherical_harmonics

    sh, dirs = coefficients(500, degree), 7 * unit_directions(500)
    torch.testing.assert_close(eval_sh(sh, dirs), 0.5 + _spherical_harmonics(degree, dirs, sh), rtol=0, atol=1e-6)


def test_basis_is_orthonormal_on_the_sphere() -> None:
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.legendre.leggauss(8))
    angles = torch.arange(16, dtype=torch.float64) * (2 * math.pi / 16)
    z, angle = (grid.reshape(-1) for grid in torch.meshgrid(nodes, angles, indexing="ij"))
    radius = torch.sqrt(1 - z**2)
    basis = sh_basis(torch.stack([radius * torch.cos(angle), radius * torch.sin(angle), z], -1), 3)
    area = weights.repeat_interleave(16) * (2 * math.pi / 16)
    torch.testing.assert_close(basis.T @ (area[:, None] * basis), torch.eye(16, dtype=torch.float64))


def test_colours_are_not_clamped() -> None:
    sh = torch.tensor([[[-10.0, 0.0, 10.0]]])
    colors = eval_sh(sh, torch.tensor([[0.0, 0.0, 1.0]]))
    torch.testing.assert_close(colors, torch.tensor([[0.5 - 10 * SH_C0, 0.5, 0.5 + 10 * SH_C0]]))


def test_lower_degree_ignores_higher_coefficients() -> None:
    sh, dirs = coefficients(20, 3), unit_directions(20)
    torch.testing.assert_close(eval_sh(sh, dirs, degree=1), eval_sh(sh[:, :4], dirs))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3), st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(v * v for v in q) > 1e-4))
def test_rotated_coefficients_give_the_rotated_colours(degree: int, quat: tuple[float, ...]) -> None:
    R = torch.from_numpy(Rotation.from_quat(quat).as_matrix())
    sh, dirs = coefficients(50, degree), unit_directions(50)
    torch.testing.assert_close(eval_sh(rotate_sh(sh, R), dirs), eval_sh(sh, dirs @ R), rtol=0, atol=1e-12)


def test_rotation_keeps_float32_precision() -> None:
    R, dirs = random_rotation(), unit_directions(500, dtype=torch.float32)
    sh = coefficients(500, 3, torch.float32)
    rotated = rotate_sh(sh, R.float())
    assert rotated.dtype == torch.float32
    torch.testing.assert_close(eval_sh(rotated, dirs), eval_sh(sh, dirs @ R.float()), rtol=0, atol=1e-5)


def test_rotations_compose() -> None:
    first, second, sh = random_rotation(1), random_rotation(2), coefficients(10, 3)
    torch.testing.assert_close(rotate_sh(rotate_sh(sh, first), second), rotate_sh(sh, second @ first))


def test_wrong_number_of_coefficients_is_refused() -> None:
    assert [degree_of(k) for k in (1, 4, 9, 16)] == [0, 1, 2, 3]
    for wrong in (0, 3, 5, 25):
        with pytest.raises(ValueError, match=f"{wrong} spherical-harmonics coefficients .* expected 1, 4, 9 or 16"):
            degree_of(wrong)
    with pytest.raises(ValueError, match=r"degree must lie in 0\.\.1 for 4 coefficients, got 2"):
        eval_sh(coefficients(3, 1), unit_directions(3), degree=2)
