"""Every loss against the paper's double sums (paper.py), values and gradients.

The kernels are float32, the sums float64. Worst differences seen over all cases below: value 8.8e-7, gradient 4.9e-6 of
its largest entry. A threshold (tau) is moved off any similarity nearer than 1e-5, where float32 may decide otherwise.
"""

import math
from collections.abc import Callable

import paper
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from click_gaussian_ns.features.levels import channel_shares, granularity_levels
from click_gaussian_ns.features.neighbors import nearest_neighbors
from click_gaussian_ns.features.terms import contrastive, guidance
from click_gaussian_ns.features.terms.contrastive import contrastive_negative, contrastive_positive, pixel_weights
from click_gaussian_ns.features.terms.norm_2d import norm_2d
from click_gaussian_ns.features.terms.norm_3d import norm_3d
from click_gaussian_ns.features.terms.spatial import spatial

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
VALUE_TOLERANCE = 3e-6
GRADIENT_TOLERANCE = 2e-5

examples = settings(max_examples=25, deadline=None, derandomize=True)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _clustered(num: int, dim: int, num_directions: int, spread: float, seed: int) -> Tensor:
    """Features around a few directions, of norms 0.1 to 10: similarities from -1 to 1."""
    generator = _seeded(seed)
    directions = torch.randn(num_directions, dim, generator=generator)
    which = torch.randint(num_directions, (num,), generator=generator)
    features = normalize(directions[which] + spread * torch.randn(num, dim, generator=generator), dim=-1)
    return features.double() * 10 ** (2 * torch.rand(num, 1, generator=generator).double() - 1)


def _clear_of(tau: float, *similarities: Tensor) -> float:
    while any(((s - tau).abs() < 1e-5).any() for s in similarities):
        tau += 3e-5
    return tau


def _self_similarities(features: Tensor) -> Tensor:
    unit = normalize(features.double(), dim=-1)
    return unit @ unit.T


def _assert_same(
    actual: Callable[[Tensor], Tensor], literal: Callable[[Tensor], Tensor], features: Tensor, device="cpu"
):
    """Same value and gradient, also when the term is scaled as in Eq. 5 and 13.

    Gradients are compared times the norm of their feature (the terms depend on directions), relative to the largest,
    or to a tenth of the sum of terms without their signs where all but rounding cancels.
    """
    for dtype in (torch.float64, torch.float32):
        ours = features.to(device, dtype, copy=True).requires_grad_()
        theirs = features.to(dtype).to(torch.float64, copy=True).requires_grad_()
        value, expected = actual(ours), literal(theirs)
        assert value.dtype == dtype
        assert float(value.detach()) == pytest.approx(float(expected.detach()), abs=VALUE_TOLERANCE)
        (gradient,) = torch.autograd.grad(0.3 * value, ours)
        (expected_gradient,) = torch.autograd.grad(0.3 * expected, theirs)
        norms = theirs.detach().norm(dim=-1, keepdim=True)
        scale = max(float((expected_gradient * norms).abs().max()), 0.03 / len(features))
        worst = float(((gradient.cpu().double() - expected_gradient) * norms).abs().max()) / scale
        assert worst <= GRADIENT_TOLERANCE, f"gradient off by {worst:.1e} of its largest entry"


# ---------------------------------------------------------------- Eq. 3 and 4


def _matrix_3(F: Tensor, M: Tensor) -> Tensor:
    S = normalize(F, dim=-1) @ normalize(F, dim=-1).T
    return -(S * (M[:, None] == M[None, :])).sum() / len(F) ** 2


def _matrix_4(F: Tensor, M: Tensor, tau: float, num_coarse: int = 0) -> Tensor:
    F = torch.cat([F[:, :num_coarse].detach(), F[:, num_coarse:]], dim=1)
    S = normalize(F, dim=-1) @ normalize(F, dim=-1).T
    return (S * ((M[:, None] != M[None, :]) & (tau < S))).sum() / len(F) ** 2


LABELINGS = {
    "few segments": lambda num: torch.arange(num) * 7 % 5 + 1,
    "one segment": lambda num: torch.full((num,), 9),
    "all distinct": lambda num: torch.randperm(num, generator=_seeded(0)) + 1,
    "sizes 1, 2, 4, ...": lambda num: torch.log2(torch.arange(num) + 1.0).long(),
    "large IDs": lambda num: torch.where(torch.arange(num) % 3 == 0, 65535, 1),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("labeling", LABELINGS)
@pytest.mark.parametrize("seed", range(3))
def test_contrastive_terms_equal_the_double_sums(seed: int, labeling: str, device: str) -> None:
    labels = LABELINGS[labeling](19)
    features = _clustered(19, 24, 4, 0.15, seed)
    at = labels.to(device)
    _assert_same(lambda f: contrastive_positive(f, at), lambda f: paper.equation_3(f, labels), features, device)
    for level in granularity_levels():
        level_features = features[:, level.channels]
        tau, detached = _clear_of(level.margin, _self_similarities(level_features)), level.detached_stop
        _assert_same(
            lambda f, tau=tau, detached=detached: contrastive_negative(f, at, tau, detached),
            lambda f, tau=tau, detached=detached: paper.equation_4(f, labels, tau, detached),
            level_features,
            device,
        )


def test_matrix_forms_equal_the_double_sums() -> None:
    """What the large cases below are compared with."""
    features, labels = _clustered(14, 24, 3, 0.15, seed=5), LABELINGS["few segments"](14)
    for matrix, double_sum in (
        (_matrix_3(features, labels), paper.equation_3(features, labels)),
        (_matrix_4(features, labels, 0.75, 12), paper.equation_4(features, labels, 0.75, 12)),
    ):
        assert float(matrix) == pytest.approx(float(double_sum), abs=1e-14)


@examples
@given(
    sizes=st.lists(st.integers(1, 150), min_size=1, max_size=6),
    dim=st.sampled_from([8, 12, 24]),
    tau=st.floats(0.05, 0.95),
    spread=st.sampled_from([0.0, 0.02, 0.1, 0.5]),
    seed=st.integers(0, 999),
)
def test_contrastive_terms_at_any_size(sizes: list[int], dim: int, tau: float, spread: float, seed: int) -> None:
    """Segments shorter and longer than the kernel's blocks of 32, in any order; spread 0 makes exact duplicates."""
    labels = torch.repeat_interleave(torch.arange(len(sizes)) * 3 + 1, torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=_seeded(seed))]
    features = _clustered(len(labels), dim, 5, spread, seed)
    tau = _clear_of(tau, _self_similarities(features))
    detached = dim // 2
    _assert_same(lambda f: contrastive_positive(f, labels), lambda f: _matrix_3(f, labels), features)
    _assert_same(
        lambda f: contrastive_negative(f, labels, tau, detached),
        lambda f: _matrix_4(f, labels, tau, detached),
        features,
    )


@pytest.mark.parametrize("num", [1, 31, 32, 33, 63, 64, 65, 96, 130])
def test_negative_term_at_the_edges_of_blocks(num: int) -> None:
    """One segment of exactly `num` pixels among single ones, and two of that size: blocks are of 32."""
    for sizes in ([num, *[1] * 7], [num, num]):
        labels = torch.repeat_interleave(torch.arange(len(sizes)) + 1, torch.tensor(sizes))
        features = _clustered(len(labels), 24, 2, 0.1, seed=num)
        tau = _clear_of(0.5, _self_similarities(features))
        _assert_same(
            lambda f, t=tau, of=labels: contrastive_negative(f, of, t),
            lambda f, t=tau, of=labels: _matrix_4(f, of, t),
            features,
        )


def test_separated_blocks_are_skipped_without_a_trace() -> None:
    """Tight segments in far directions, and two whose directions differ by just less and just more than the margin."""
    angle = math.acos(0.75)
    angles = torch.tensor([0.0, angle - 0.004, 2.0, 2.0 + angle + 0.004, 4.0])
    unit = torch.stack([angles.cos(), angles.sin()], dim=1)
    jitter = 0.001 * torch.randn(500, generator=_seeded(3)).clamp(-2, 2).double()
    which = torch.arange(500) % 5
    around = angles[which].double() + jitter
    features = torch.cat([torch.stack([around.cos(), around.sin()], 1), torch.zeros(500, 10)], dim=1).double()
    tau = _clear_of(0.75, _self_similarities(features))
    literal = float(_matrix_4(features, which, tau))
    assert literal > 0 and float(unit[0] @ unit[1]) > 0.75 > float(unit[2] @ unit[3])
    _assert_same(lambda f: contrastive_negative(f, which, tau), lambda f: _matrix_4(f, which, tau), features)


def test_stop_gradient_reaches_the_coarse_channels_only() -> None:
    """In the fine negative term F^c moves the value but gets exactly no gradient."""
    coarse, fine = granularity_levels()
    features = _clustered(40, 24, 3, 0.2, seed=1).requires_grad_()
    labels = torch.arange(40) % 4 + 1
    contrastive_negative(features, labels, fine.margin, fine.detached_stop).backward()
    assert features.grad is not None
    assert (features.grad[:, :12] == 0).all()
    assert (features.grad[:, 12:] != 0).any()
    moved = features.detach().clone()
    moved[:, :12] = moved[:, :12].roll(1, 0)
    value, other = (contrastive_negative(f, labels, fine.margin, 12) for f in (features, moved))
    assert float(value.detach()) != pytest.approx(float(other), abs=1e-3)
    assert coarse.detached_stop - coarse.start == 0


def test_zero_features_have_no_similarity_and_no_gradient() -> None:
    """A pixel on which nothing is blended renders to exactly 0."""
    features = _clustered(12, 24, 2, 0.1, seed=2)
    features[[0, 3, 7]] = 0.0
    labels = torch.arange(12) % 3 + 1
    tau, centers = _clear_of(0.75, _self_similarities(features)), normalize(features[[1, 2]], dim=-1)
    terms: list[tuple[Callable[[Tensor], Tensor], Tensor]] = [
        (lambda f: contrastive_positive(f, labels), paper.equation_3(features, labels)),
        (lambda f: contrastive_negative(f, labels, tau), paper.equation_4(features, labels, tau)),
        (lambda f: norm_2d(f, 2**0.5), paper.equation_11(features, "fine")),
        (lambda f: guidance.global_feature_guidance(f, centers, 0.9, 0.5)[0], None),
        (lambda f: guidance.global_feature_guidance(f, centers, 0.9, 0.5, torch.arange(12) % 2)[0], None),
    ]
    neighbors = nearest_neighbors(torch.randn(12, 3, generator=_seeded(0)), 5)
    terms.append((lambda f: spatial(f, neighbors, torch.ones(12, dtype=torch.bool)), None))
    for term, expected in terms:
        parameter = features.clone().requires_grad_()
        value = term(parameter)
        (gradient,) = torch.autograd.grad(value, parameter)
        assert (gradient[[0, 3, 7]] == 0).all()
        assert torch.isfinite(gradient).all()
        assert (gradient != 0).any()
        if expected is not None:
            assert float(value.detach()) == pytest.approx(float(expected), abs=VALUE_TOLERANCE)


def test_no_pixels_cost_nothing() -> None:
    features, labels = torch.zeros(0, 24, requires_grad=True), torch.zeros(0, dtype=torch.long)
    for term in (
        contrastive_positive(features, labels),
        contrastive_negative(features, labels, 0.5),
        norm_2d(features, 1.0),
    ):
        assert float(term.detach()) == 0.0
        assert torch.autograd.grad(term, features)[0].shape == (0, 24)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("balance", [0.5, 1.0])
@pytest.mark.parametrize("seed", range(2))
def test_balanced_terms_equal_the_weighted_sums(seed: int, balance: float, device: str) -> None:
    features = _clustered(60, 24, 4, 0.25, seed)
    labels = torch.tensor([1] * 30 + [4] * 15 + [2] * 10 + [9] * 5)[torch.randperm(60, generator=_seeded(seed))]
    tau = _clear_of(0.6, _self_similarities(features))
    weights = pixel_weights(labels, balance)
    sizes = torch.bincount(labels)[labels].double()
    same = labels[:, None] == labels[None, :]
    literal_weights = sizes ** (-balance / 2)
    pairs = literal_weights[:, None] * literal_weights[None, :]
    pairs = pairs * same.sum() / pairs[same].sum()
    torch.testing.assert_close(weights.double()[:, None] * weights.double()[None, :], pairs, rtol=1e-5, atol=0)

    def similarities(f: Tensor) -> Tensor:
        return normalize(f, dim=-1) @ normalize(f, dim=-1).T

    _assert_same(
        lambda f: contrastive_positive(f, labels.to(f.device), weights.to(f.device)),
        lambda f: -(similarities(f) * pairs * same).sum() / 60**2,
        features,
        device,
    )
    _assert_same(
        lambda f: contrastive_negative(f, labels.to(f.device), tau, 0, weights.to(f.device)),
        lambda f: (similarities(f) * pairs * (~same & (similarities(f) > tau))).sum() / 60**2,
        features,
        device,
    )


# ---------------------------------------------------------------- Eq. 7 to 9


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("num_clusters", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_global_feature_guidance_equals_the_sums(seed: int, num_clusters: int, device: str) -> None:
    for level in granularity_levels():
        dim = level.stop - level.start
        features = _clustered(15, dim, num_clusters, 0.12, seed)
        centers = normalize(features[:num_clusters] + 0.3 * features[num_clusters : 2 * num_clusters], dim=-1)
        similarities = normalize(features, dim=-1) @ centers.T
        tau_g, tau = _clear_of(0.9, similarities), _clear_of(level.margin, similarities)
        at = centers.to(device)

        def ours(f: Tensor, at: Tensor = at, tau_g: float = tau_g, tau: float = tau) -> Tensor:
            return guidance.global_feature_guidance(f, at.to(f.dtype), tau_g, tau)[0]

        def literal(f: Tensor, centers: Tensor = centers, tau_g: float = tau_g, tau: float = tau) -> Tensor:
            return paper.equation_7(f, centers, tau_g) + paper.equation_8(f, centers, tau)

        _assert_same(ours, literal, features, device)
        _, pull, push = guidance.global_feature_guidance(features.to(device), at, tau_g, tau)
        assert float(pull) == pytest.approx(float(paper.equation_7(features, centers, tau_g)), abs=VALUE_TOLERANCE)
        assert float(push) == pytest.approx(float(paper.equation_8(features, centers, tau)), abs=VALUE_TOLERANCE)
        assert not pull.requires_grad and not push.requires_grad
        if num_clusters == 1:
            assert float(push) == 0.0


def _matrix_7_to_9(f: Tensor, centers: Tensor, tau_g: float, tau: float) -> Tensor:
    S = normalize(f, dim=-1) @ centers.T
    best, c_i = S.max(dim=1)
    others = torch.arange(len(centers)) != c_i[:, None]
    return (-(best * (best > tau_g)) + (S * (others & (tau < S))).sum(1) / len(centers)).mean()


@examples
@given(
    num=st.integers(1, 300),
    num_clusters=st.integers(1, 70),
    dim=st.sampled_from([8, 12, 24]),
    tau_g=st.floats(0.3, 0.95),
    tau=st.floats(0.05, 0.9),
    seed=st.integers(0, 999),
)
def test_global_feature_guidance_at_any_size(
    num: int, num_clusters: int, dim: int, tau_g: float, tau: float, seed: int
) -> None:
    features = _clustered(num, dim, 6, 0.15, seed)
    centers = normalize(_clustered(num_clusters, dim, 6, 0.15, seed), dim=-1)
    similarities = normalize(features, dim=-1) @ centers.T
    tau_g, tau = _clear_of(tau_g, similarities), _clear_of(tau, similarities)
    top = similarities.topk(min(2, num_clusters), dim=1).values
    if num_clusters > 1:  # whose cluster is the most similar must not hang on rounding
        features, similarities = (x[(top[:, 0] - top[:, 1]) > 1e-5] for x in (features, similarities))
    if len(features) == 0:
        return
    _assert_same(
        lambda f: guidance.global_feature_guidance(f, centers.to(f.dtype), tau_g, tau)[0],
        lambda f: _matrix_7_to_9(f, centers, tau_g, tau),
        features,
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_gaussians_home_pulls_it_from_however_far_until_it_is_near(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guidance, "_ROWS_PER_BLOCK", 64)
    features = _clustered(90, 12, 5, 0.15, seed)
    centers = normalize(_clustered(9, 12, 5, 0.15, seed), dim=-1)
    similarities = normalize(features, dim=-1) @ centers.T
    tau, tau_g = _clear_of(0.5, similarities), _clear_of(0.95, similarities)
    best = similarities.argmax(dim=1)
    homes = torch.where(torch.arange(90) % 3 == 0, best, torch.where(torch.arange(90) % 3 == 1, (best + 1) % 9, -1))

    def literal(f: Tensor) -> Tensor:
        similarity = normalize(f, dim=-1) @ centers.T
        total = torch.zeros((), dtype=f.dtype)
        for i in range(90):
            own = int(homes[i] if homes[i] >= 0 else best[i])
            if homes[i] >= 0 and float(similarity[i, own]) < tau_g:
                total = total - similarity[i, own]
            others = [c for c in range(9) if c != own and float(similarity[i, c]) > tau]
            total = total + sum(similarity[i, c] for c in others) / 9
        return total / 90

    _assert_same(
        lambda f: guidance.global_feature_guidance(f, centers.to(f.dtype), tau_g, tau, homes)[0], literal, features
    )
    pull, push, gradient = guidance._guide(features, centers, tau_g, tau, homes)
    parameter = features.clone().requires_grad_()
    value = literal(parameter)
    assert float(push - pull) / 90 == pytest.approx(float(value.detach()), abs=1e-12)
    torch.testing.assert_close(gradient / 90, torch.autograd.grad(value, parameter)[0], rtol=0, atol=1e-12)


# ---------------------------------------------------------------- the CUDA forms, which need no GPU to be checked


@pytest.mark.parametrize("seed", range(3))
def test_dense_forms_for_cuda_equal_the_kernels(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contrastive, "_ROWS_PER_BLOCK", 32)
    unit = normalize(_clustered(90, 24, 5, 0.15, seed), dim=-1)
    labels = torch.arange(90) % 7 + 1
    tau = _clear_of(0.75, _self_similarities(unit))
    weights = pixel_weights(labels, 0.7)
    dense = contrastive._repel_pairs_dense(unit, labels, weights, tau)
    kernel = contrastive._repel_pairs_cpu(unit, labels, weights, tau)
    torch.testing.assert_close(dense, kernel, rtol=0, atol=2e-5)
    monkeypatch.setattr(guidance, "_ROWS_PER_BLOCK", 64)
    features, centers = 3.0 * unit, normalize(_clustered(9, 24, 5, 0.15, seed), dim=-1)
    tau_g, tau = (_clear_of(t, unit @ centers.T) for t in (0.9, 0.75))
    pull, push, gradient = guidance._guide(features, centers, tau_g, tau, None)
    parameter = features.clone().requires_grad_()
    literal = _matrix_7_to_9(parameter, centers, tau_g, tau)
    assert float(push - pull) / 90 == pytest.approx(float(literal.detach()), abs=1e-12)
    torch.testing.assert_close(gradient / 90, torch.autograd.grad(literal, parameter)[0], rtol=0, atol=1e-12)


# ---------------------------------------------------------------- Eq. 10 to 12


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(3))
def test_norm_terms_equal_the_sums(seed: int, device: str) -> None:
    levels = granularity_levels()
    features = _clustered(17, 24, 4, 0.3, seed)
    _assert_same(lambda f: norm_3d(f, channel_shares(levels)), lambda f: paper.equation_10(f, 12), features, device)
    for level in levels:
        _assert_same(
            lambda f, level=level: norm_2d(f, level.radius),
            lambda f, level=level: paper.equation_11(f, level.name),
            features[:, level.channels],
            device,
        )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("num", [2, 4, 6, 7, 40])
@pytest.mark.parametrize("seed", range(3))
def test_spatial_term_equals_the_sum(seed: int, num: int, device: str) -> None:
    """N <= K included: then there are only N - 1 neighbours."""
    means = torch.randn(num, 3, generator=_seeded(seed))
    features = _clustered(num, 24, 4, 0.5, seed)
    sampled = torch.rand(num, generator=_seeded(seed + 50)) < 0.6
    sampled[0] = True
    neighbors = nearest_neighbors(means, 5).to(device)
    _assert_same(
        lambda f: spatial(f, neighbors, sampled.to(device)),
        lambda f: paper.equation_12(f, means, sampled, 5),
        features,
        device,
    )


def test_spatial_term_of_many_equals_the_matrix_form() -> None:
    means, features = torch.randn(700, 3, generator=_seeded(4)), _clustered(700, 24, 6, 0.3, seed=4)
    sampled = torch.rand(700, generator=_seeded(5)) < 0.3
    distances = torch.cdist(means.double(), means.double()).fill_diagonal_(math.inf)
    nearest = distances.argsort(dim=1)[:, :5]

    def literal(f: Tensor) -> Tensor:
        unit = normalize(f, dim=-1)
        return -(unit[:, None] * unit[nearest]).sum(-1)[sampled].mean()

    _assert_same(lambda f: spatial(f, nearest_neighbors(means, 5), sampled), literal, features)


@pytest.mark.parametrize("num_sampled", [0, 1])
def test_spatial_term_with_nothing_to_compare_is_zero(num_sampled: int) -> None:
    features = torch.ones(1, 24, requires_grad=True)
    sampled = torch.arange(1) < num_sampled
    value = spatial(features, nearest_neighbors(torch.zeros(1, 3), 5), sampled)
    assert float(value.detach()) == 0.0
    assert (torch.autograd.grad(value, features)[0] == 0).all()
