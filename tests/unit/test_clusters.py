"""Merging and homes of clusters, on a pooling matrix made by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from click_scene import HEIGHT, WIDTH, front_view, small_scene
from scipy.sparse import csr_array

from click_gaussian_ns.clusters.global_clusters import home_centers
from click_gaussian_ns.clusters.homes import Affinities, Homes, find_homes, merge_together, view_shares
from click_gaussian_ns.clusters.pooling import Pooling, build_pooling
from click_gaussian_ns.raster import matrices, rasterize
from click_gaussian_ns.types import NO_CLUSTER, LevelMaps, SegmentWeights


def pooling_of(
    rows: list[dict[int, float]], num_pixels: list[int], num_gaussians: int, view_ids: list[int] | None = None
) -> Pooling:
    """Segments given as {Gaussian: mean weight}, each in a view of its own by default."""
    num = torch.tensor(num_pixels)
    matrix = SegmentWeights(
        row_offsets=torch.tensor([0, *np.cumsum([len(row) for row in rows])]),
        gaussian_ids=torch.tensor([i for row in rows for i in row], dtype=torch.int32),
        weights=torch.tensor([w for row in rows for w in row.values()], dtype=torch.float32),
        num_gaussians=num_gaussians,
        view_ids=torch.arange(len(rows)) if view_ids is None else torch.tensor(view_ids),
        segment_ids=torch.ones(len(rows), dtype=torch.int64),
        num_pixels=num,
    )
    weighed = torch.zeros(num_gaussians)
    for row, pixels in zip(rows, num_pixels):
        for i, w in row.items():
            weighed[i] += pixels * w
    return Pooling({"coarse": matrix}, weighed)


def test_sight_is_for_what_several_views_bear_out() -> None:
    """Gaussian 0 is seen by one view, 1 and 3 by several, 2 by two of which one sees a tenth, 4 hardly at all."""
    rows = [{0: 0.5}, {0: 0.5, 1: 0.2, 3: 0.1}, {1: 0.1, 3: 0.1}, {1: 0.1, 2: 0.1, 3: 0.2, 4: 1e-4}]
    rows.append({2: 0.01, 3: 0.2, 4: 1e-4})
    pooling = pooling_of(rows, [100, 100, 200, 100, 100], 5, [0, 0, 1, 2, 3])
    sight = pooling.sight()
    seen = pooling.visibility / (1 + pooling.visibility)
    effective = torch.tensor([1.0, 50**2 / (20**2 + 20**2 + 10**2), 1.1**2 / (1 + 0.01), 70**2 / (100 + 3 * 400), 2.0])
    assert torch.allclose(sight, seen * (1 - 1 / effective), atol=1e-5)
    assert float(sight[0]) == 0 and float(sight[4]) < 0.02


def parted(num_parted: int, num_merged: int, small: float = 0.02) -> Pooling:
    """Gaussians 0-3 are a large thing, 4 and 5 a small one on it; some views part them, in others one segment has both.

    Where they are parted, the border lies within the large thing: its Gaussian 3 is a tenth in the small segment.
    """
    large = {0: 0.3, 1: 0.3, 2: 0.3, 3: 0.09}
    rows: list[dict[int, float]] = []
    sizes, views = [], []
    for view in range(num_parted):
        rows += [large, {3: 0.2, 4: 0.4, 5: 0.4}]
        sizes, views = [*sizes, 1000, round(1000 * small)], [*views, view, view]
    for view in range(num_parted, num_parted + num_merged):
        rows.append({**large, 4: small, 5: small})
        sizes, views = [*sizes, 1000], [*views, view]
    return pooling_of(rows, sizes, 6, views)


def test_shares_are_of_the_view() -> None:
    masses = torch.tensor([[30.0, 0.0], [10.0, 3.0], [5.0, 7.0]])
    shares = view_shares(masses, torch.tensor([0, 0, 1]))
    torch.testing.assert_close(shares, torch.tensor([[0.75, 0.0], [0.25, 0.0], [1.0, 1.0]]))  # 3 px are not seen


def test_masses_in_blocks_are_those_of_the_segments() -> None:
    num = 37
    pooling = pooling_of([{i: 1.0, (i + 1) % num: 0.25} for i in range(num)], [4] * num, num)
    labels = torch.arange(num, dtype=torch.int32)
    masses = pooling.masses(labels, num, "coarse")
    torch.testing.assert_close(masses, 4 * torch.eye(num) + torch.eye(num).roll(1, dims=1))
    homes = find_homes(pooling, "coarse", labels, num)
    assert homes.labels.tolist() == list(range(num))
    np.testing.assert_allclose(homes.margin, 0.75, rtol=1e-5)  # 4 px against 1, where all share 4


def test_views_count_alike_however_large_a_thing_is_there() -> None:
    pooling = parted(num_parted=2, num_merged=1)
    first_guess = torch.tensor([0, 0, 0, 1, 1, 1], dtype=torch.int32)
    homes = find_homes(pooling, "coarse", first_guess, 2)
    assert homes.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert bool((homes.margin > 0.3).all())
    masses = pooling.masses(homes.labels, 2, "coarse")
    view_ids, _ = pooling.segments("coarse")
    between = Affinities(masses, view_ids).between()
    torch.testing.assert_close(between.diagonal(), torch.ones(2))
    assert 0.33 < between[0, 1] < 0.4 and between[0, 1] == between[1, 0]


def test_a_border_is_not_all_the_large_ones() -> None:
    """The small cluster has two fifths of its weight in the large one's segment, as small things have."""
    pooling = pooling_of([{0: 0.9, 1: 0.02, 2: 0.025}, {1: 0.6, 2: 0.4}], [1000, 50], 3, [0, 0])
    homes = find_homes(pooling, "coarse", torch.tensor([0, 1, NO_CLUSTER]), 2, rounds=1)
    assert homes.labels.tolist() == [0, 1, 1]
    shares = view_shares(pooling.masses(torch.tensor([0, 1, NO_CLUSTER]), 2, "coarse"), torch.tensor([0, 0]))
    of_large, of_small = torch.tensor([25.0, 20.0]) @ shares
    assert of_large > of_small  # by what it shares alone it would be the large one's
    cosines = torch.nn.functional.normalize(shares, dim=0).T @ torch.tensor([25.0, 20.0])
    assert cosines[1] > cosines[0]


def test_one_view_alone_does_not_make_two_clusters_one() -> None:
    view_ids = torch.arange(8)
    shares = torch.tensor([[50.0, 0.0]] * 3 + [[50.0, 50.0]] * 2 + [[0.0, 50.0]] * 3)
    assert Affinities(shares, view_ids).between()[0, 1] == 0
    shares[0, 1] = 50.0
    assert Affinities(shares, view_ids).between()[0, 1] == pytest.approx(1.0)


def test_a_gaussian_in_no_segment_has_no_home() -> None:
    homes = find_homes(pooling_of([{0: 1.0}, {1: 1.0}], [9, 9], 3), "coarse", torch.tensor([0, 1, 1]), 2)
    assert homes.labels.tolist() == [0, 1, NO_CLUSTER]
    assert homes.margin.tolist() == [1.0, 1.0, 0.0]
    nothing = find_homes(pooling_of([{0: 1.0}], [9], 1), "coarse", torch.tensor([NO_CLUSTER]), 0)
    assert nothing.labels.tolist() == [NO_CLUSTER] and nothing.margin.tolist() == [0.0]


def test_a_part_without_a_cluster_is_not_at_home_for_sure() -> None:
    pooling = parted(num_parted=3, num_merged=1)
    homes = find_homes(pooling, "coarse", torch.tensor([0, 0, 0, 0, NO_CLUSTER, NO_CLUSTER]), 1)
    assert homes.labels.tolist() == [0] * 6
    assert bool((homes.margin[:3] > 0.9).all()) and bool((homes.margin[4:] < 0.5).all())


def test_what_views_do_not_part_is_one_cluster() -> None:
    view_ids = torch.arange(8)
    halves = torch.tensor([[50.0, 50.0, 0.0]] * 5 + [[0.0, 50.0, 50.0]] * 3)
    assert merge_together(halves, view_ids, 0.75, 0.8).tolist() == [
        0,
        0,
        0,
    ]  # three views show two of the ends, none parts
    apart = torch.tensor([[50.0, 0.0], [0.0, 50.0]])
    assert merge_together(apart, torch.tensor([0, 0]), 0.75, 0.8).tolist() == [0, 1]
    assert merge_together(apart, torch.tensor([0, 1]), 0.75, 0.8).tolist() == [0, 1]  # no view shows both
    assert merge_together(torch.zeros(3, 0), torch.tensor([0, 1, 2]), 0.75, 0.8).tolist() == []


def test_what_is_seen_through_an_edge_does_not_part_two_sides() -> None:
    """Three views show both sides, in one segment. Six show one, and a few pixels of the other in its neighbour's."""
    both = [[50.0, 50.0, 0.0]] * 3
    leaks = [[0.0, 60.0, 0.0], [6.0, 0.0, 60.0]] * 3 + [[60.0, 0.0, 0.0], [0.0, 6.0, 60.0]] * 3
    view_ids = torch.tensor([0, 1, 2, *(3 + i // 2 for i in range(12))])
    masses = torch.tensor([*both, *leaks])
    assert Affinities(masses, view_ids).between()[0, 1] < 0.5
    assert Affinities(masses, view_ids, 0.15).between()[0, 1] == pytest.approx(1.0)
    assert merge_together(masses, view_ids, 0.75, 0.8).tolist() == [0, 0, 2]


def test_random_splits_do_not_part_a_thing() -> None:
    generator = np.random.default_rng(0)
    rows, views = [], []
    for view in range(60):
        border = generator.permutation(20)[: generator.integers(4, 17)] if view % 2 else np.arange(0)
        sides = [set(border.tolist()), set(range(20)) - set(border.tolist())]
        for side in sides:
            if side:
                rows.append({i: 1.0 / len(side) for i in side})
                views.append(view)
    pooling = pooling_of(rows, [100 * len(row) for row in rows], 20, views)
    labels = torch.tensor([0] * 10 + [1] * 10)
    found = Affinities(pooling.masses(labels, 2, "coarse"), torch.tensor(views)).between()
    assert found[0, 1] > 0.9


def test_centers_at_home_leave_borders_out() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 5.0], [1.0, 1.0]])
    homes = Homes(torch.tensor([0, 0, 0], dtype=torch.int32), torch.tensor([1.0, 0.0, 0.0]))
    found = home_centers(features, homes, torch.ones(3), 1)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.0]]), rtol=0, atol=5e-3)


class Stripes:
    """Label maps of two views: stripes, the first of them unassigned at the fine level."""

    names = ("coarse", "fine")

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> LevelMaps:
        rows = np.arange(HEIGHT, dtype=np.uint16)[:, None].repeat(WIDTH, axis=1)
        return LevelMaps(self.names, np.stack([rows // 40 + 1 + index, rows // 15]).astype(np.uint16))


def test_pooling_is_what_a_dense_matrix_says() -> None:
    """Of every view's blending weights in full, [H W, N]."""
    splats, _, _ = small_scene()
    views, maps = [front_view()] * 2, Stripes()
    pooling, num = build_pooling(splats, views, maps), splats.num_gaussians
    everywhere = torch.arange(HEIGHT * WIDTH)
    features = torch.rand(num, 3, generator=torch.Generator().manual_seed(1))
    owners = (torch.arange(num) % 3 - 1).to(torch.int32)
    rows = matrices.blend_weights(rasterize.prepare(splats, views[0]), everywhere)
    weights = torch.from_numpy(
        csr_array((rows.weights, rows.gaussian_ids, rows.row_offsets), (HEIGHT * WIDTH, num)).toarray()
    )
    for name in maps.names:
        segments, sizes, of_views = [], [], []
        for index in range(2):
            labels = torch.from_numpy(maps[index].level(name).astype(np.int64)).reshape(-1)
            for label in torch.unique(labels[labels > 0]):
                segments.append(weights[labels == label].sum(dim=0))
                sizes.append(int((labels == label).sum()))
                of_views.append(index)
        px = torch.stack(segments)
        found_views, found_sizes = pooling.segments(name)
        assert found_views.tolist() == of_views and found_sizes.tolist() == sizes
        close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-4)
        if name == maps.names[0]:
            close(pooling.visibility, px.sum(dim=0))
        close(pooling.segment_means(features, name), px @ features / torch.tensor(sizes)[:, None])
        values = torch.rand(len(sizes), 4, generator=torch.Generator().manual_seed(0))
        close(pooling.spread(values, name), px.T @ values)
        close(pooling.masses(owners, 2, name), torch.stack([px[:, owners == i].sum(dim=1) for i in range(2)], dim=1))
        place, most = pooling.two_largest(values, name)
        close(most, (px.T @ values).topk(2, dim=1).values)
        assert torch.equal(place.long()[most[:, 0] > 0], (px.T @ values).argmax(dim=1)[most[:, 0] > 0])
