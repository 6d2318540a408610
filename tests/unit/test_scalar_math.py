"""The float32 building blocks of the CPU kernels against float64."""

import numpy as np
import pytest
from numba import njit

from click_gaussian_ns.raster.scalar_math import exp_neg, gaussian_alpha


@njit
def _exp_neg(sigma, out):
    for i in range(sigma.shape[0]):
        out[i] = exp_neg(sigma[i])


@njit
def _alpha(dx, dy, a, b, c, opacity, out):
    for i in range(dx.shape[0]):
        out[i] = gaussian_alpha(dx[i], dy[i], a, b, c, opacity)


@pytest.mark.parametrize(
    ("highest", "tolerance"),
    [(1.0, 2.5e-7), (5.6, 5e-7), (87.0, 5e-6)],  # measured: 2.33e-7, 4.33e-7, 3.96e-6
)
def test_exp_neg_is_accurate(highest: float, tolerance: float) -> None:
    sigma = np.linspace(0.0, highest, 1_000_001).astype(np.float32)
    actual = np.empty_like(sigma)
    _exp_neg(sigma, actual)
    exact = np.exp(-sigma.astype(np.float64))
    assert (np.abs(actual - exact) / exact).max() <= tolerance
    assert np.abs(actual - exact).max() <= 2e-7
    assert (np.diff(actual) <= 0).all(), "not monotonous"


def test_exp_neg_at_its_ends() -> None:
    sigma = np.array([0.0, -0.0, 1e-45, 88.0, 1e30, np.inf], np.float32)
    actual = np.empty_like(sigma)
    _exp_neg(sigma, actual)
    assert (actual[:3] == 1.0).all()
    assert (actual[3:] == np.float32(2.0**-126)).all()


def test_gaussian_alpha_keeps_gsplats_bounds() -> None:
    dx, dy = (x.ravel().astype(np.float32) for x in np.meshgrid(np.linspace(-9, 9, 301), np.linspace(-9, 9, 301)))
    for a, b, c, opacity in (
        (0.3, 0.1, 0.2, 1.0),
        (0.3, 0.1, 0.2, 0.5),
        (3.0, -2.9, 3.0, 0.02),
        (0.1, 0.0, 0.1, 0.003),
    ):
        parameters = [np.float32(x) for x in (a, b, c, opacity)]
        actual = np.empty_like(dx)
        _alpha(dx, dy, *parameters, actual)
        a64, b64, c64, o64 = (float(p) for p in parameters)
        x, y = dx.astype(np.float64), dy.astype(np.float64)
        exact = np.minimum(0.999, o64 * np.exp(-0.5 * (a64 * x * x + c64 * y * y) - b64 * x * y))
        decided = np.abs(exact * 255 - 1) > 1e-4
        expected = np.where(exact >= 1 / 255, exact, 0.0)
        np.testing.assert_allclose(actual[decided], expected[decided], rtol=0, atol=5e-6)
        assert decided.mean() > 0.99


def test_gaussian_alpha_of_an_indefinite_or_nan_conic_is_zero() -> None:
    """gsplat skips sigma < 0, which rounding alone can give."""
    one = np.ones(1, np.float32)
    for conic in ((-1.0, 0.0, -1.0), (float("nan"), 0.0, 1.0)):
        actual = np.full(1, 7.0, np.float32)
        _alpha(one, one, *(np.float32(x) for x in conic), np.float32(0.9), actual)
        assert actual[0] == 0.0
