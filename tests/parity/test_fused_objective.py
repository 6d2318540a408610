"""The one pass over the Gaussians against the sum of the terms, each of which is held to the paper's sums."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from click_gaussian_ns.features.known_gradient import with_gradient_of_sum
from click_gaussian_ns.features.levels import granularity_levels
from click_gaussian_ns.features.neighbors import nearest_neighbors
from click_gaussian_ns.features.terms.term import Guide
from click_gaussian_ns.method.objective import gaussian_gradient, literal_terms, step_inputs
from click_gaussian_ns.method.research import PAPER_EXACT, ResearchConfig

EDGES = [(65, 31), (63, 32), (64, 33), (31, 63), (32, 64), (33, 65), (255, 3), (256, 3), (257, 3)]
"""Of chunks of 64 Gaussians (256 for the spatial term) and tiles of 32 clusters."""


def _guides(levels, features: torch.Tensor, num_clusters: int, with_homes: bool, seed: int) -> dict[str, Guide]:
    """Centres near some of the features, so that both pull and push act."""
    generator = torch.Generator().manual_seed(seed)
    guides = {}
    for level in levels:
        some = features[torch.randint(len(features), (num_clusters,), generator=generator), level.channels]
        centers = normalize(some + 0.05 * torch.randn(some.shape, generator=generator), dim=-1)
        homes = None
        if with_homes:
            best = (normalize(features[:, level.channels], dim=-1) @ centers.T).argmax(dim=-1)
            chance = torch.rand(len(features), generator=generator)
            strayed = torch.where(chance < 0.5, (best + 1) % num_clusters, best)
            homes = torch.where(chance < 0.2, -1, strayed).to(torch.int32)
        guides[level.name] = Guide(centers, homes)
    return guides


def _clear(features: torch.Tensor, levels, guides: dict[str, Guide], threshold: float) -> torch.Tensor:
    """Zero where rounding would decide which cluster is the most similar, or on which side of a threshold it is."""
    for level in levels:
        similarity = normalize(features[:, level.channels].double(), dim=-1) @ guides[level.name].centers.double().T
        top = similarity.sort(dim=-1, descending=True).values[:, :2]
        unclear = (similarity - level.margin).abs().amin(dim=-1) < 1e-5
        unclear |= (similarity - threshold).abs().amin(dim=-1) < 1e-5
        if top.shape[1] > 1:
            unclear |= top[:, 0] - top[:, 1] < 1e-5
        features = torch.where(unclear[:, None], 0.0, features)
    return features


def _features(num: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(7, 24, generator=generator)
    features = directions[torch.randint(7, (num,), generator=generator)] + 0.2 * torch.randn(
        num, 24, generator=generator
    )
    features *= 0.1 + 2.0 * torch.rand(num, 1, generator=generator)
    features[7::50] = 0.0
    return features


@pytest.mark.parametrize("with_homes", [False, True])
@pytest.mark.parametrize(("num_levels", "prior"), [(2, True), (2, False), (3, True)])
@pytest.mark.parametrize(("num", "num_clusters"), [(1, 1), (63, 5), (130, 33), (1000, 70), *EDGES])
def test_one_pass_equals_the_sum_of_the_terms(
    num: int, num_clusters: int, num_levels: int, prior: bool, with_homes: bool
) -> None:
    """Worst seen: value 4e-7, gradient 4e-6 of the largest entry."""
    config = ResearchConfig(**PAPER_EXACT, spatial_samples=num // 3 + 1)
    levels = granularity_levels(num_levels, prior)
    features = _features(num, seed=num)
    guides = _guides(levels, features, num_clusters, with_homes, seed=2)
    features = _clear(features, levels, guides, config.gfl_threshold).requires_grad_()
    neighbors = nearest_neighbors(torch.randn(num, 3, generator=torch.Generator().manual_seed(1)), 5)
    step = step_inputs(config, levels, features, neighbors, guides, np.random.default_rng(3))
    terms = literal_terms(config, step)
    (expected,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), features)
    gradient = np.full((num, 24), np.nan, np.float32)
    values = gaussian_gradient(config, step, gradient)
    assert list(values) == list(terms) == ["norm_3d", "spatial", "gfl"]
    for name, value in values.items():
        assert value == pytest.approx(float(terms[name].detach()), abs=2e-6 * max(1.0, abs(value)))
    scale = float(expected.abs().max())
    assert scale < 1e3  # a single huge entry would excuse all others
    np.testing.assert_allclose(gradient, expected.numpy(), rtol=0, atol=2e-5 * scale)
    assert (gradient != 0).any()


@pytest.mark.parametrize("off", ["norm_3d_weight", "spatial_weight", "gfl_weight"])
def test_a_term_that_is_switched_off_leaves_no_trace(off: str) -> None:
    config = ResearchConfig(spatial_samples=30, **{off: 0.0})
    levels = granularity_levels()
    features = _features(100, seed=1)
    guides = _guides(levels, features, 9, True, seed=2)
    features = _clear(features, levels, guides, config.gfl_threshold).requires_grad_()
    neighbors = nearest_neighbors(torch.randn(100, 3, generator=torch.Generator().manual_seed(1)), 5)
    step = step_inputs(config, levels, features, neighbors, guides, np.random.default_rng(3))
    terms = literal_terms(config, step)
    (expected,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), features)
    gradient = np.empty((100, 24), np.float32)
    values = gaussian_gradient(config, step, gradient)
    assert list(values) == list(terms) and len(values) == 2
    np.testing.assert_allclose(gradient, expected.numpy(), rtol=0, atol=2e-5 * float(expected.abs().max()))


def test_gradient_is_taken_over_and_scaled_with_the_sum() -> None:
    features = torch.randn(6, 24).requires_grad_()
    gradient = np.random.default_rng(0).standard_normal((6, 24)).astype(np.float32)
    terms = with_gradient_of_sum(features, {"a": 1.5, "b": -0.25}, gradient)
    assert {name: float(value.detach()) for name, value in terms.items()} == {"a": 1.5, "b": -0.25}
    (terms["a"] + terms["b"]).backward()
    assert features.grad is not None
    assert features.grad.data_ptr() == gradient.ctypes.data
    before = gradient.copy()
    (scaled,) = torch.autograd.grad(3.0 * sum(with_gradient_of_sum(features, {"a": 1.0}, gradient).values()), features)
    np.testing.assert_allclose(scaled.numpy(), 3.0 * before, rtol=1e-6)
    alone = with_gradient_of_sum(features, {"a": 1.5, "b": -0.25}, gradient)
    with pytest.raises(RuntimeError, match="one gradient in common"):
        alone["a"].backward()
    assert with_gradient_of_sum(features, {}, gradient) == {}
