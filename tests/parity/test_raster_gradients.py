"""The rasterizer's gradients against autograd through gsplat's own PyTorch reference, and against finite differences.

Errors are relative to the largest gradient of a parameter, which is what a step of an optimizer sees.
"""

from __future__ import annotations

import gsplat_reference
import numba
import pytest
import scenes
import torch

from click_gaussian_ns.raster.differentiable import rasterization
from click_gaussian_ns.types import PinholeView, Splats

MODES = ["classic", "antialiased"]
NAMES = ("means", "quats", "scales", "opacities", "colors")
TOLERANCE = 2e-4


def parameters(splats: Splats, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """means, quats, scales, opacities, SH, as `rasterization` takes them."""
    activated = (splats.means, splats.quats, splats.log_scales.exp(), splats.opacity_logits.sigmoid(), splats.sh)
    return tuple(value.to(dtype).clone().requires_grad_() for value in activated)


def probe(view: PinholeView, num_channels: int, seed: int = 1) -> torch.Tensor:
    """Random weights of the picture's channels and alpha: their sum of products is the loss. [H, W, C + 1] float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(view.height, view.width, num_channels + 1, generator=generator, dtype=torch.float64)


def loss_of(render, values, view: PinholeView, weights: torch.Tensor, **more) -> tuple[torch.Tensor, dict]:
    dtype = values[0].dtype
    camera = (view.viewmat[None].to(dtype), view.K[None].to(dtype), view.width, view.height)
    image, alpha, info = render(*values, *camera, **more)
    return (torch.cat([image, alpha], dim=-1)[0] * weights.to(dtype)).sum(), info


def gradients(render, splats: Splats, view: PinholeView, weights: torch.Tensor, dtype, **more):
    values = parameters(splats, dtype)
    if more.get("sh_degree") is None:
        values = (*values[:4], values[4].detach()[:, 0].clone().requires_grad_())
    loss, info = loss_of(render, values, view, weights, **more)
    info["means2d"].retain_grad()
    loss.backward()
    return [v.grad for v in values], info


def assert_close(actual: torch.Tensor, expected: torch.Tensor, what: str, tolerance: float = TOLERANCE) -> None:
    error = float((actual.double() - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
    assert error <= tolerance, f"{what}: off by {error:.1e} of the largest gradient"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("render_mode", ["RGB", "RGB+ED"])
@pytest.mark.parametrize("seed", range(2))
def test_gradients_equal_gsplats(seed: int, render_mode: str, mode: str) -> None:
    splats, view = scenes.cloud(150, seed), scenes.camera(seed=seed)
    more = {"sh_degree": 3, "render_mode": render_mode, "rasterize_mode": mode}
    weights = probe(view, 3 if render_mode == "RGB" else 4)
    expected, expected_info = gradients(gsplat_reference.rasterization, splats, view, weights, torch.float64, **more)
    actual, info = gradients(rasterization, splats, view, weights, torch.float32, **more)
    for name, mine, theirs in zip(NAMES, actual, expected):
        assert_close(mine, theirs, name)
    assert torch.equal(info["radii"] > 0, expected_info["radii"] > 0)
    assert_close(info["means2d"].grad, expected_info["means2d"].grad, "means2d")
