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
from click_gaussian_ns.raster.similarity import structural_similarity
from click_gaussian_ns.types import PinholeView, Splats

MODES = ["classic", "antialiased"]
NAMES = ("means", "quats", "scales", "opacities", "colors")
TOLERANCE = 2e-4
SMALLEST = 1e-3
"""Gradients below it are taken for 0: those of the rotations of spheres are nothing but rounding."""


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
    error = float((actual.double() - expected).abs().max() / expected.abs().max().clamp_min(SMALLEST))
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


@pytest.mark.parametrize("name", ["behind and around the near plane", "the camera is inside", "opacity near 1", "huge"])
def test_gradients_of_hard_scenes_equal_gsplats(name: str) -> None:
    splats, view = scenes.degenerate_scenes()[name]
    weights, more = probe(view, 4), {"sh_degree": 3, "render_mode": "RGB+ED"}
    expected, _ = gradients(gsplat_reference.rasterization, splats, view, weights, torch.float64, **more)
    actual, _ = gradients(rasterization, splats, view, weights, torch.float32, **more)
    for parameter, mine, theirs in zip(NAMES, actual, expected):
        assert_close(mine, theirs, parameter, 2e-3)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_equal_finite_differences(mode: str) -> None:
    """Along random directions of each parameter, through gsplat's reference in float64."""
    splats, view = scenes.cloud(25, seed=4, size=0.3), scenes.camera(32, 24, 30.0, 30.0, seed=4)
    weights, more = probe(view, 4), {"sh_degree": 2, "render_mode": "RGB+ED", "rasterize_mode": mode}
    actual, _ = gradients(rasterization, splats, view, weights, torch.float32, **more)
    base = [value.detach() for value in parameters(splats, torch.float64)]
    generator = torch.Generator().manual_seed(0)
    for index, name in enumerate(NAMES):
        direction = torch.randn(base[index].shape, generator=generator, dtype=torch.float64)
        step = 1e-6 * direction
        ends = []
        for sign in (1, -1):
            values = [value + sign * step if k == index else value for k, value in enumerate(base)]
            with torch.no_grad():
                ends.append(float(loss_of(gsplat_reference.rasterization, values, view, weights, **more)[0]))
        expected = (ends[0] - ends[1]) / 2e-6
        found = float((actual[index].double() * direction).sum())
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-3 * float(actual[index].norm())), name


def test_absolute_gradients_sum_over_pixels() -> None:
    splats, view = scenes.cloud(12, seed=2, size=0.4), scenes.camera(12, 8, 12.0, 12.0, seed=2)
    weights = probe(view, 3)
    _, info = gradients(rasterization, splats, view, weights, torch.float32, sh_degree=1, absgrad=True)
    total = torch.zeros(1, 12, 2, dtype=torch.float64)
    for pixel in range(view.width * view.height):
        one = torch.zeros_like(weights).flatten(0, 1)
        one[pixel] = weights.flatten(0, 1)[pixel]
        _, alone = gradients(rasterization, splats, view, one.view_as(weights), torch.float32, sh_degree=1)
        total += alone["means2d"].grad.double().abs()
    assert_close(info["means2d"].absgrad, total, "absgrad")


def test_values_of_many_channels() -> None:
    splats, view = scenes.cloud(60, seed=3), scenes.camera(seed=3)
    values = torch.randn(60, 9, generator=torch.Generator().manual_seed(2))
    weights, found = probe(view, 9), []
    for render, dtype in ((gsplat_reference.rasterization, torch.float64), (rasterization, torch.float32)):
        geometry = [value.detach() for value in parameters(splats, dtype)[:4]]
        colors = values.to(dtype).clone().requires_grad_()
        loss_of(render, [*geometry, colors], view, weights)[0].backward()
        found.append(colors.grad)
    assert_close(found[1], found[0], "values")


def test_gradients_do_not_depend_on_the_number_of_threads() -> None:
    splats, view = scenes.cloud(400, seed=8), scenes.camera(seed=8)
    weights, before = probe(view, 3), numba.get_num_threads()
    found = []
    try:
        for threads in sorted({1, numba.config.NUMBA_NUM_THREADS}):  # pyright: ignore[reportAttributeAccessIssue]
            numba.set_num_threads(threads)
            found.append(gradients(rasterization, splats, view, weights, torch.float32, sh_degree=3)[0])
    finally:
        numba.set_num_threads(before)
    again = gradients(rasterization, splats, view, weights, torch.float32, sh_degree=3)[0]
    for other in (*found[1:], again):
        assert all(torch.equal(a, b) for a, b in zip(found[0], other))


def test_nothing_in_view() -> None:
    for name in ("nothing visible", "no Gaussian"):
        splats, view = scenes.degenerate_scenes()[name]
        found, info = gradients(rasterization, splats, view, probe(view, 3), torch.float32, sh_degree=3)
        assert all(not bool(grad.any()) for grad in found)
        assert not bool((info["radii"] > 0).any())


def test_gsplats_densification_works_unchanged() -> None:
    from nerfstudio.models.splatfacto import DefaultStrategy

    torch.manual_seed(0)
    splats, view = scenes.cloud(80, seed=1), scenes.camera(seed=1)
    params = torch.nn.ParameterDict(
        {
            "means": splats.means,
            "quats": splats.quats,
            "scales": splats.log_scales,
            "opacities": splats.opacity_logits,
            "sh": splats.sh,
        }
    )
    optimizers = {name: torch.optim.Adam([value], lr=1e-3) for name, value in params.items()}
    strategy = DefaultStrategy(
        refine_start_iter=0, refine_every=2, grow_grad2d=1e-3, absgrad=True, refine_scale2d_stop_iter=99
    )
    strategy.check_sanity(params, optimizers)
    state = strategy.initialize_state()
    counts = []
    for step in range(1, 6):
        values = (params["means"], params["quats"], params["scales"].exp(), params["opacities"].sigmoid(), params["sh"])
        loss, info = loss_of(rasterization, values, view, probe(view, 3, step), sh_degree=3, absgrad=True)
        strategy.step_pre_backward(params, optimizers, state, step, info)
        (loss / 1000).backward()
        for optimizer in optimizers.values():
            optimizer.step()
            optimizer.zero_grad()
        strategy.step_post_backward(params, optimizers, state, step, info, packed=False)
        counts.append(len(params["means"]))
    assert counts[-1] > counts[0] == 80
    assert all(len(value) == counts[-1] for value in params.values())


def test_what_is_not_offered_is_refused() -> None:
    splats, view = scenes.cloud(5, seed=0), scenes.camera()
    values = parameters(splats, torch.float32)
    camera = (view.viewmat[None], view.K[None], view.width, view.height)
    with pytest.raises(ValueError, match="one camera at a time"):
        rasterization(*values, view.viewmat.repeat(2, 1, 1), view.K.repeat(2, 1, 1), *camera[2:], sh_degree=0)
    with pytest.raises(ValueError, match="cameras take no gradient"):
        rasterization(*values, view.viewmat[None].clone().requires_grad_(), *camera[1:], sh_degree=0)
    with pytest.raises(ValueError, match="sh_degree 4 needs"):
        rasterization(*values, *camera, sh_degree=4)


@pytest.mark.parametrize("size", [(11, 11), (40, 23), (64, 65)])
def test_similarity_equals_pytorch_msssim(size: tuple[int, int]) -> None:
    from pytorch_msssim import SSIM

    generator = torch.Generator().manual_seed(0)
    target = torch.rand(3, *size, generator=generator)
    picture = (target + 0.2 * torch.randn(3, *size, generator=generator)).clamp(0, 1)
    mine, theirs = picture.clone().requires_grad_(), picture.double().clone().requires_grad_()
    found = structural_similarity(target, mine)
    expected = SSIM(data_range=1.0, size_average=True, channel=3)(target.double()[None], theirs[None])
    (2 * found).backward()
    (2 * expected).backward()
    assert float(found) == pytest.approx(float(expected), abs=1e-6)
    assert_close(mine.grad, theirs.grad, "picture", 1e-4)
    with pytest.raises(ValueError, match="at least 11 px"):
        structural_similarity(target[:, :5], picture[:, :5])
