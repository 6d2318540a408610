"""The objective of a step from the model's features: whole, repeatable, whatever views are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click_scene import SmallHost, front_view
from small_model import small_model
from torch import Tensor

from click_gaussian_ns.features.neighbors import nearest_neighbors
from click_gaussian_ns.method.feature_training import FeatureTrainer, zero_loss
from click_gaussian_ns.method.model import ClickGaussianModel
from click_gaussian_ns.method.objective import literal_terms, step_inputs, with_pixels
from click_gaussian_ns.raster import matrices, rasterize

TERMS = ["contrastive_positive", "contrastive_negative", "norm_2d", "norm_3d", "spatial", "gfl"]


@pytest.fixture
def model(tmp_path: Path) -> ClickGaussianModel:
    """Features near those that the small scene should have, and global features that guide them."""
    made, host = small_model(tmp_path), SmallHost(tmp_path)
    noise = 0.3 * torch.randn(host.features.shape, generator=torch.Generator().manual_seed(1))
    made.click_features.data = host.features + noise
    for level in made.levels:
        setattr(made, f"guide_{level.name}", host.clusters[level.name].centers)
        setattr(made, f"guided_{level.name}", host.clusters[level.name].labels)
    made.config.research.spatial_samples = 100
    return made


def pixels() -> tuple[Tensor, Tensor]:
    """Pixels of the front view on all three objects and beside them, and their labels per level."""
    covered = rasterize.render(rasterize.prepare(SmallHost(Path()).splats, front_view())).alpha.flatten() > 0.5
    pixel_ids = covered.nonzero()[::9, 0]
    fine = torch.arange(pixel_ids.shape[0]) % 5
    return pixel_ids, torch.stack([(fine + 1) // 2, fine])


def step_of(model: ClickGaussianModel, trainer: FeatureTrainer, step: int, view: int = 0) -> tuple[dict, Tensor]:
    """Values of a step's terms, and the gradient of their sum."""
    model.click_features.grad = None
    terms = trainer.terms(step, trainer.pixels(view, *pixels()))
    torch.stack(list(terms.values())).sum().backward()
    assert model.click_features.grad is not None
    return {name: float(value.detach()) for name, value in terms.items()}, model.click_features.grad.clone()


def test_a_step_is_the_sum_of_the_literal_terms(model: ClickGaussianModel) -> None:
    values, gradient = step_of(model, FeatureTrainer(model, [front_view()]), 7)
    features = model.click_features.detach().clone().requires_grad_()
    neighbors = nearest_neighbors(model.splats.means, model.config.research.spatial_neighbors)
    rng = np.random.default_rng((model.config.seed, 7, 1))
    inputs = step_inputs(model.config.research, model.levels, features, neighbors, model.guides, rng)
    pixel_ids, labels = pixels()
    rows = matrices.blend_weights(rasterize.prepare(model.splats, front_view()), pixel_ids)
    expected = literal_terms(model.config.research, with_pixels(inputs, rasterize.blend(rows, features), labels))
    assert list(values) == list(expected) == TERMS
    assert all(abs(value) > 1e-4 for value in values.values()), "every term takes part"
    for name, value in values.items():
        assert value == pytest.approx(float(expected[name].detach()), abs=3e-6 * max(1.0, abs(value))), name
    (slope,) = torch.autograd.grad(torch.stack(list(expected.values())).sum(), features)
    torch.testing.assert_close(gradient, slope, rtol=0, atol=2e-5 * float(slope.abs().max()))


def test_a_view_without_pixels_teaches_the_gaussians_own_terms(model: ClickGaussianModel) -> None:
    trainer = FeatureTrainer(model, [front_view()])
    none = torch.empty(0, dtype=torch.int64), torch.empty((2, 0), dtype=torch.int64)
    assert list(trainer.terms(0, trainer.pixels(0, *none))) == TERMS[3:]
    research = model.config.research
    research.spatial_weight = research.gfl_weight = research.norm_3d_weight = 0.0
    assert trainer.terms(0, trainer.pixels(0, *none)) == {}
    loss = zero_loss(model.click_features)
    loss.backward()
    assert float(loss.detach()) == 0.0 and not model.click_features.grad.any()


def test_steps_differ_and_repeat(model: ClickGaussianModel) -> None:
    """Each samples other Gaussians for the spatial term; a trainer made anew repeats it to the bit."""
    trainer = FeatureTrainer(model, [front_view()])
    spatial = [step_of(model, trainer, step)[0]["spatial"] for step in range(4)]
    assert len(set(spatial)) == 4
    values, gradient = step_of(model, FeatureTrainer(model, [front_view()]), 2)
    again, same = step_of(model, trainer, 2)
    assert values == again and values["spatial"] == spatial[2] and torch.equal(gradient, same)


def test_gradients_that_are_kept_are_not_written_over(model: ClickGaussianModel) -> None:
    """As when steps are accumulated."""
    trainer = FeatureTrainer(model, [front_view()])
    first, second = (step_of(model, trainer, step)[1] for step in (0, 1))
    model.click_features.grad = None
    for step in (0, 1):
        torch.stack(list(trainer.terms(step, trainer.pixels(0, *pixels())).values())).sum().backward()
    torch.testing.assert_close(model.click_features.grad, first + second, rtol=1e-6, atol=1e-7)
    assert not torch.equal(first, second)


def test_views_are_kept_while_the_budget_lasts(model: ClickGaussianModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """All whole; some without their projection, so that all fit; else as many as fit. The step is the same."""
    prepared = rasterize.prepare(model.splats, front_view(), model.rasterize_mode)
    whole = 2**20 // prepared.num_bytes
    model.config.view_cache_mb = 0
    expected, slope = step_of(model, FeatureTrainer(model, [front_view()]), 3)
    prepare, made = rasterize.prepare, []
    monkeypatch.setattr(rasterize, "prepare", lambda *args: made.append(args) or prepare(*args))
    for budget_mb, num_views in ((0, 1), (1, whole), (1, whole + 1), (1, 9 * whole)):
        model.config.view_cache_mb = budget_mb
        trainer = FeatureTrainer(model, [front_view()] * num_views)
        for index in range(num_views):
            trainer.keep(index, prepared)
            trainer.keep(index, prepared)  # once only
        held = list(trainer._prepared.values())
        bare = sum(view.packed is None for view in held)
        assert sum(view.num_bytes for view in held) <= budget_mb * 2**20
        if num_views == 9 * whole:
            assert whole < len(held) < num_views and bare == len(held)
        else:
            assert len(held) == num_views * budget_mb
            assert (bare > 0) == (num_views > whole)
        made.clear()
        for _ in range(2):
            values, gradient = step_of(model, trainer, 3, view=0)
            assert values == expected and torch.equal(gradient, slope)
        # at every step, where nothing may be kept
        assert len([args for args in made if args[0] is trainer._splats]) == (0 if held else 2)
