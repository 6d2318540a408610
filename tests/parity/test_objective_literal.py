"""A whole step, assembled from the settings, against the paper's sums with the paper's weights (Eq. 13)."""

from dataclasses import replace

import numpy as np
import paper
import pytest
import scenes
import torch
from torch import Tensor
from torch.nn.functional import normalize

from click_gaussian_ns.features.levels import granularity_levels
from click_gaussian_ns.features.neighbors import nearest_neighbors
from click_gaussian_ns.features.sampling import sample_gaussians
from click_gaussian_ns.features.terms.term import Guide
from click_gaussian_ns.method.objective import literal_terms, step_gradient, step_inputs, with_pixels
from click_gaussian_ns.method.research import PAPER_EXACT, ResearchConfig
from click_gaussian_ns.raster import matrices, rasterize

NUM, NUM_PIXELS = 40, 24


@pytest.fixture(scope="module")
def step():
    """Settings, rows, labels and inputs of a step in which every term has something to say."""
    config = ResearchConfig(**PAPER_EXACT, spatial_samples=25)
    levels, generator = granularity_levels(), torch.Generator().manual_seed(5)
    directions = torch.randn(4, 24, generator=generator)
    features = directions[torch.arange(NUM) % 4] + 0.25 * torch.randn(NUM, 24, generator=generator)
    splats, view = scenes.cloud(NUM, seed=3), scenes.camera(seed=3)
    prepared = rasterize.prepare(splats, view)
    drawn = rasterize.render(prepared).alpha.flatten()
    covered = (drawn > 0.3).nonzero()[:, 0]
    pixel_ids = covered[torch.randint(len(covered), (NUM_PIXELS,), generator=generator)]
    rows = matrices.blend_weights(prepared, pixel_ids)
    fine = torch.arange(NUM_PIXELS) % 6
    labels = torch.stack([fine // 2, fine])  # label 0: pixels that no segment covers take no part
    guides = {
        level.name: Guide(normalize(features[:3, level.channels] + 0.2 * features[4:7, level.channels], dim=-1), None)
        for level in levels
    }
    neighbors = nearest_neighbors(splats.means, config.spatial_neighbors)
    sampled = sample_gaussians(NUM, config.spatial_samples, np.random.default_rng(7))
    inputs = step_inputs(config, levels, features, neighbors, guides, np.random.default_rng(7))
    return config, rows, labels, inputs, splats.means, sampled


def papers_total(features: Tensor, step) -> dict[str, Tensor]:
    """Eq. 13 by double loops, with the weights that the paper prints."""
    _, rows, labels, inputs, means, sampled = step
    W = torch.zeros(rows.num_rows, NUM, dtype=torch.float64)
    for row in range(rows.num_rows):
        entries = slice(int(rows.row_offsets[row]), int(rows.row_offsets[row + 1]))
        W[row, rows.gaussian_ids[entries].long()] = rows.weights[entries].double()
    rendered = W @ features
    terms = {name: torch.zeros(()) for name in ("contrastive_positive", "contrastive_negative", "norm_2d", "gfl")}
    for place, (name, stop, tau) in enumerate((("coarse", 12, 0.5), ("fine", 24, 0.75))):
        at = labels[place] > 0
        F, M = rendered[at][:, :stop], labels[place][at]
        terms["contrastive_positive"] = terms["contrastive_positive"] + paper.equation_3(F, M)
        negative = paper.equation_4(F, M, tau, 12 if name == "fine" else 0)
        terms["contrastive_negative"] = terms["contrastive_negative"] + 0.1 * negative
        terms["norm_2d"] = terms["norm_2d"] + 0.2 * paper.equation_11(F, name)
        centers = inputs.guides[name].centers.double()
        own = features[:, :stop]
        pulled, pushed = paper.equation_7(own, centers, 0.9), paper.equation_8(own, centers, tau)
        terms["gfl"] = terms["gfl"] + 10.0 * (pulled + pushed)
    terms["norm_3d"] = 0.2 * paper.equation_10(features, 12)
    terms["spatial"] = 0.5 * paper.equation_12(features, means, sampled, 5)
    return terms


def test_a_step_is_the_papers_total(step) -> None:
    """Values 2e-6, gradients 2e-5 of the largest entry: both forms, that of the CPU and that of CUDA."""
    config, rows, labels, inputs, _, _ = step
    parameter = inputs.features.double().requires_grad_()
    expected = papers_total(parameter, step)
    assert all(abs(float(value.detach())) > 1e-4 for value in expected.values()), "every term takes part"
    (slope,) = torch.autograd.grad(torch.stack(list(expected.values())).sum(), parameter)
    gradient = np.full((NUM, 24), np.nan, np.float32)
    values = step_gradient(config, inputs, rows, labels, gradient)
    assert set(values) == set(expected)
    for name, value in values.items():
        assert value == pytest.approx(float(expected[name].detach()), abs=3e-6 * max(1.0, abs(value))), name
    np.testing.assert_allclose(gradient, slope.numpy(), rtol=0, atol=2e-5 * float(slope.abs().max()))

    inputs.features.requires_grad_()
    terms = literal_terms(config, with_pixels(inputs, rasterize.blend(rows, inputs.features), labels))
    (found,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), inputs.features)
    inputs.features.requires_grad_(False)
    assert list(terms) == list(values)
    np.testing.assert_allclose(found.numpy(), slope.numpy(), rtol=0, atol=2e-5 * float(slope.abs().max()))


def test_without_pixels_the_gaussians_own_terms_remain(step) -> None:
    config, _, labels, inputs, _, _ = step
    gradient = np.empty((NUM, 24), np.float32)
    values = step_gradient(config, inputs, None, labels, gradient)
    assert set(values) == {"norm_3d", "spatial", "gfl"} and np.abs(gradient).max() > 0


def test_more_levels_than_the_one_pass_knows_are_refused(step) -> None:
    config, _, _, inputs, _, _ = step
    levels = (*inputs.levels, *inputs.levels)
    with pytest.raises(ValueError, match="takes 2 or 3 levels, got 4"):
        step_gradient(
            config,
            replace(inputs, levels=levels),
            None,
            torch.zeros(4, 0, dtype=torch.long),
            np.empty((NUM, 24), np.float32),
        )
