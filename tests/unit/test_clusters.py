"""Merging, votes and election of clusters, on a pooling matrix made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from click_scene import HEIGHT, WIDTH, front_view, small_scene
from torch import Tensor
from torch.nn.functional import normalize

from click_gaussian_ns.clusters.global_clusters import (
    ClusterRule,
    cluster_centers,
    find_clusters,
    make_clusters,
    merge_similar,
)
from click_gaussian_ns.clusters.pooling import DensePooling, SparsePooling, build_pooling, plurality_by_spreading
from click_gaussian_ns.clusters.votes import count_votes
from click_gaussian_ns.features.levels import granularity_levels
from click_gaussian_ns.types import NO_CLUSTER, LevelMaps, SegmentWeights

COARSE = granularity_levels()[0]


def pooling_of(rows: list[dict[int, float]], num_pixels: list[int], num_gaussians: int) -> SparsePooling:
    """Segments given as {Gaussian: mean weight}."""
    num = torch.tensor(num_pixels)
    matrix = SegmentWeights(
        row_offsets=torch.tensor([0, *np.cumsum([len(row) for row in rows])]),
        gaussian_ids=torch.tensor([i for row in rows for i in row], dtype=torch.int32),
        weights=torch.tensor([w for row in rows for w in row.values()], dtype=torch.float32),
        num_gaussians=num_gaussians,
        view_ids=torch.arange(len(rows)),
        segment_ids=torch.ones(len(rows), dtype=torch.int64),
        num_pixels=num,
    )
    weighed = torch.zeros(num_gaussians)
    for row, pixels in zip(rows, num_pixels):
        for i, w in row.items():
            weighed[i] += pixels * w
    return SparsePooling({"coarse": matrix}, weighed)


def test_votes_are_the_weights_of_the_segments() -> None:
    pooling = pooling_of([{0: 0.5, 1: 0.5}, {1: 1.0}, {0: 0.25, 2: 0.75}, {1: 0.1}], [10, 20, 40, 100], 4)
    votes = count_votes(pooling, "coarse", torch.tensor([0, 1, 0, NO_CLUSTER]))
    assert votes.home.tolist() == [0, 1, 0, NO_CLUSTER]
    np.testing.assert_allclose(votes.share, [1.0, 20 / 35, 1.0, 0.0], rtol=1e-6)
    # cluster 0 holds 5 + 5 + 10 + 30 px, of which Gaussian 1's 5 are at home elsewhere
    np.testing.assert_allclose(votes.elected, [45 / 50, 1.0], rtol=1e-6)


def test_votes_for_more_clusters_than_are_counted_at_once() -> None:
    num = 37
    pooling = pooling_of([{i: 1.0, (i + 1) % num: 0.25} for i in range(num)], [4] * num, num)
    votes = count_votes(pooling, "coarse", torch.arange(num))
    assert votes.home.tolist() == list(range(num))
    np.testing.assert_allclose(votes.share, 0.8, rtol=1e-6)
    np.testing.assert_allclose(votes.elected, 0.8, rtol=1e-6)


class Stripes:
    """Label maps of two views: stripes, the first of them unassigned at the fine level."""

    names = ("coarse", "fine")

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> LevelMaps:
        rows = np.arange(HEIGHT, dtype=np.uint16)[:, None].repeat(WIDTH, axis=1)
        return LevelMaps(self.names, np.stack([rows // 40 + 1 + index, rows // 15]).astype(np.uint16))


def test_rendering_densely_spreads_the_same() -> None:
    """What CUDA does, here on CPU."""
    splats, _, _ = small_scene()
    views, maps = [front_view()] * 2, Stripes()
    sparse, dense = build_pooling(splats, views, maps), DensePooling(splats, views, maps, "classic")
    assert isinstance(sparse, SparsePooling)
    torch.testing.assert_close(dense.visibility, sparse.visibility, rtol=1e-4, atol=1e-4)
    for level in maps.names:
        num = sparse.levels[level].num_segments
        values = torch.rand(num, 3, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(dense.spread(values, level), sparse.spread(values, level), rtol=1e-4, atol=1e-4)
        labels = torch.arange(num) % 5 - 1
        for found, expected in zip(dense.plurality(labels, level), sparse.plurality(labels, level)):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_votes_in_one_pass_are_those_of_spreading_every_cluster() -> None:
    generator = np.random.default_rng(0)
    rows = [{int(i): float(w) for i, w in zip(generator.permutation(30)[:8], generator.random(8))} for _ in range(40)]
    pooling = pooling_of(rows, generator.integers(1, 50, 40).tolist(), 30)
    labels = torch.from_numpy(generator.integers(-1, 20, 40))
    home, most, total, mass = pooling.plurality(labels, "coarse")
    expected = plurality_by_spreading(pooling, labels, "coarse")
    assert torch.equal(home, expected[0])
    torch.testing.assert_close(most, expected[1], rtol=1e-5, atol=0)
    torch.testing.assert_close(total, expected[2], rtol=1e-5, atol=0)
    torch.testing.assert_close(mass, expected[3], rtol=1e-5, atol=0)


def test_no_clusters_no_votes() -> None:
    pooling = pooling_of([{0: 1.0}], [5], 2)
    votes = count_votes(pooling, "coarse", torch.tensor([NO_CLUSTER]))
    assert votes.home.tolist() == [NO_CLUSTER, NO_CLUSTER]
    assert votes.elected.shape == (0,)


def directions(*angles_deg: float) -> Tensor:
    angles = torch.deg2rad(torch.tensor(angles_deg))
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def test_alike_clusters_become_one() -> None:
    means = directions(0, 1, 10, 11, 60, 61, 30)
    labels = torch.tensor([2, 2, 0, 0, 1, 1, NO_CLUSTER])
    assert merge_similar(means, labels, 0.95).tolist() == [0, 0, 0, 0, 1, 1, NO_CLUSTER]
    assert torch.equal(merge_similar(means, labels, 1.0), labels)
    assert torch.equal(merge_similar(means, labels, 0.99), labels)


@pytest.fixture
def two_parts() -> tuple[SparsePooling, Tensor]:
    """Gaussians 0-3 and 4-7 are two parts, each seen in 6 views; in 3 more one segment covers both."""
    one, other = {i: 0.25 for i in range(4)}, {i: 0.25 for i in range(4, 8)}
    both = {i: 0.125 for i in range(8)}
    pooling = pooling_of([one] * 6 + [other] * 6 + [both] * 3, [100] * 15, 8)
    noise = torch.randn(8, 12, generator=torch.Generator().manual_seed(0)) * 1e-3
    features = torch.eye(12)[[0] * 4 + [1] * 4] + noise
    return pooling, features


def test_a_cluster_of_merged_segments_is_not_elected(two_parts: tuple[SparsePooling, Tensor]) -> None:
    pooling, features = two_parts
    assert find_clusters(pooling, features, COARSE, ClusterRule(3)).centers.shape[0] == 3
    found = find_clusters(pooling, features, COARSE, ClusterRule(3, 0.95, 0.05))
    assert found.centers.shape[0] == 2
    np.testing.assert_allclose(found.votes.share, 800 / 950, rtol=0.2)
    made = make_clusters(features, found, pooling.visibility, COARSE)
    assert torch.equal(made.labels, found.votes.home)
    assert len(set(made.labels[:4].tolist())) == 1
    assert made.labels[0] != made.labels[4]


def test_centers_are_normalised_means() -> None:
    means = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    centers = cluster_centers(means, torch.tensor([0, 0, NO_CLUSTER]))
    torch.testing.assert_close(centers, normalize(torch.tensor([[1.0, 1.0]]), dim=-1))
