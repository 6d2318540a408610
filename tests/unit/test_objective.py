"""How the settings reach the terms of a step (their sums are held to the paper's in tests/parity)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from click_gaussian_ns.features.levels import granularity_levels
from click_gaussian_ns.features.neighbors import nearest_neighbors
from click_gaussian_ns.features.terms import TERMS
from click_gaussian_ns.features.terms.contrastive import contrastive_positive, pixel_weights
from click_gaussian_ns.features.terms.term import Guide, StepInputs
from click_gaussian_ns.method.objective import gaussian_gradient, literal_terms, step_gradient, step_inputs, with_pixels
from click_gaussian_ns.method.research import ResearchConfig
from click_gaussian_ns.types import BlendWeights

NUM, NUM_PIXELS = 20, 12
LEVELS = granularity_levels()


def inputs_of(config: ResearchConfig) -> StepInputs:
    """Of 20 Gaussians with a guide per level; each pixel shows one Gaussian, two pixels no segment."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(NUM, 24, generator=generator) + 1.0
    guides = {
        level.name: Guide(torch.nn.functional.normalize(features[:3, level.channels], dim=-1), torch.arange(NUM) % 3)
        for level in LEVELS
    }
    neighbors = nearest_neighbors(torch.randn(NUM, 3, generator=generator), 4)
    return step_inputs(config, LEVELS, features, neighbors, guides, np.random.default_rng(0))


def labels() -> torch.Tensor:
    """Segments of 5, 3 and 2 pixels at the coarse level, of 10 at the fine one."""
    coarse = torch.tensor([1] * 5 + [2] * 3 + [3] * 2 + [0] * 2)
    return torch.stack([coarse, (coarse > 0).long()])


def rows() -> BlendWeights:
    return BlendWeights(torch.arange(NUM_PIXELS + 1), torch.arange(NUM_PIXELS).int(), torch.ones(NUM_PIXELS), NUM)


def test_each_setting_weighs_its_term() -> None:
    plain = ResearchConfig(**{term.setting: 1.0 for term in TERMS})
    step = with_pixels(inputs_of(plain), inputs_of(plain).features[:NUM_PIXELS], labels())
    ones = literal_terms(plain, step)
    assert list(ones) == [term.name for term in TERMS]
    for term in TERMS:
        changed = literal_terms(ResearchConfig(**{t.setting: 1.0 for t in TERMS} | {term.setting: 2.5}), step)
        for name, value in ones.items():
            torch.testing.assert_close(changed[name], (2.5 if name == term.name else 1.0) * value)
        off = literal_terms(ResearchConfig(**{t.setting: 1.0 for t in TERMS} | {term.setting: 0.0}), step)
        assert list(off) == [name for name in ones if name != term.name]


def test_terms_with_nothing_to_say_are_left_out() -> None:
    config = ResearchConfig()
    bare = StepInputs(levels=LEVELS, features=torch.randn(NUM, 24))
    assert list(literal_terms(config, bare)) == ["norm_3d"]
    unassigned = with_pixels(bare, torch.randn(NUM_PIXELS, 24), torch.zeros(2, NUM_PIXELS, dtype=torch.int64))
    assert list(literal_terms(config, unassigned)) == ["norm_3d"]
    assert inputs_of(ResearchConfig(spatial_weight=0.0)).sampled is None


def test_the_segment_balance_and_threshold_reach_the_terms() -> None:
    for balance in (0.0, 0.5, 1.0):
        config = ResearchConfig(segment_balance=balance, gfl_threshold=0.6, spatial_samples=7)
        step = inputs_of(config)
        assert step.gfl_threshold == 0.6 and step.sampled is not None and int(step.sampled.sum()) == 7
        step = with_pixels(step, step.features[:NUM_PIXELS], labels())
        expected = 0.0
        for level, of_level in zip(LEVELS, labels()):
            at = of_level > 0
            features, segments = step.features[:NUM_PIXELS][at][:, level.channels], of_level[at]
            expected += float(contrastive_positive(features, segments, pixel_weights(segments, balance)))
        found = literal_terms(config, step)["contrastive_positive"]
        assert float(found) == pytest.approx(config.positive_weight * expected, rel=1e-5)


@pytest.mark.parametrize("with_rows", [True, False])
def test_a_step_on_cpu_is_the_gradient_of_the_literal_terms(with_rows: bool) -> None:
    """With our own settings: balanced segments, homes."""
    config = ResearchConfig(spatial_samples=9)
    step = inputs_of(config)
    step.features.requires_grad_()
    whole = with_pixels(step, step.features[:NUM_PIXELS], labels()) if with_rows else step
    terms = literal_terms(config, whole)
    (expected,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), step.features)
    step.features.requires_grad_(False)
    gradient = np.full((NUM, 24), np.nan, np.float32)
    values = step_gradient(config, step, rows() if with_rows else None, labels(), gradient)
    assert list(values) == list(terms)
    for name, value in values.items():
        assert value == pytest.approx(float(terms[name].detach()), abs=2e-6 * max(1.0, abs(value))), name
    np.testing.assert_allclose(gradient, expected.numpy(), rtol=0, atol=2e-5 * float(expected.abs().max()))
    if not with_rows:
        own = np.full((NUM, 24), np.nan, np.float32)
        assert gaussian_gradient(config, step, own) == values and np.array_equal(own, gradient)
