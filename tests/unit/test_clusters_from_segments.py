"""Clusters of 2D segments without a training step: overlaps, linkage, and groups that few views bear out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_array
from scipy.spatial.distance import squareform
from test_clusters import pooling_of

from click_gaussian_ns.clusters.from_segments import borne_out, clusters_from_segments, without_gaps
from click_gaussian_ns.clusters.global_clusters import from_homes, make_clusters
from click_gaussian_ns.clusters.linkage import linked_groups
from click_gaussian_ns.clusters.overlap import segment_overlaps
from click_gaussian_ns.clusters.pooling import Pooling
from click_gaussian_ns.features.codes import initial_codes, spread_directions
from click_gaussian_ns.features.levels import granularity_levels
from click_gaussian_ns.types import NO_CLUSTER


def random_pooling(seed: int, num_gaussians: int = 60, num_views: int = 9) -> Pooling:
    """Every view's Gaussians spread over a few segments, two of them often in both of two."""
    rng = np.random.default_rng(seed)
    rows, sizes, views = [], [], []
    for view in range(num_views):
        seen = rng.permutation(num_gaussians)[: rng.integers(20, num_gaussians)]
        owner = rng.integers(0, 5, len(seen))
        for segment in range(5):
            own = {int(i): float(rng.uniform(0.01, 1)) for i in seen[owner == segment]}
            own |= {int(i): float(rng.uniform(0.01, 0.3)) for i in seen[rng.random(len(seen)) < 0.2]}
            if own:
                rows.append(dict(sorted(own.items())))
                sizes.append(int(rng.integers(5, 60)))
                views.append(view)
    return pooling_of(rows, sizes, num_gaussians, views)


@pytest.mark.parametrize("seed", range(4))
def test_overlaps_are_what_the_definition_says(seed: int) -> None:
    """By loops over pairs of segments, in float64."""
    matrix = random_pooling(seed).levels["coarse"]
    shape = (matrix.num_segments, matrix.num_gaussians)
    means = csr_array((matrix.weights.numpy(), matrix.gaussian_ids.numpy(), matrix.row_offsets.numpy()), shape)
    m = means.toarray().astype(np.float64) * matrix.num_pixels.numpy()[:, None]
    view = matrix.view_ids.numpy()
    in_view = np.stack([m[view == v].sum(axis=0) for v in range(view.max() + 1)])
    p = np.divide(m, in_view[view], out=np.zeros_like(m), where=in_view[view] > 0.02)
    core = m * p

    def told(t: int, s: int) -> float:
        seen = (core[s] * p[view == view[t]].sum(axis=0)).sum()
        return (
            float((core[s] * p[t]).sum() / seen)
            if seen > 0.2 * (core[s] * p[view == view[s]].sum(axis=0)).sum()
            else 0.0
        )

    found = segment_overlaps(matrix)
    dense = csr_array((found.values, found.columns, found.row_offsets), (shape[0], shape[0])).toarray()
    for s in range(shape[0]):
        for t in range(shape[0]):
            both = told(t, s), told(s, t)
            expected = np.sqrt(both[0] * both[1]) if view[s] != view[t] and min(both) >= 0.01 else 0.0
            assert dense[s, t] == pytest.approx(expected, abs=2e-5), (s, t)
    assert (found.values > 0.2).any() and (found.num_views > 1).any()


@pytest.mark.parametrize("least", [0.15, 0.3, 0.5])
@pytest.mark.parametrize("seed", range(5))
def test_groups_are_those_of_average_linkage(seed: int, least: float) -> None:
    rng = np.random.default_rng(seed)
    num = 90
    similarity = np.triu(rng.uniform(0, 1, (num, num)) * (rng.random((num, num)) < 0.3), 1).astype(np.float32)
    kind = rng.integers(0, 7, num)
    similarity[np.triu(kind[:, None] == kind[None], 1)] **= np.float32(0.3)
    similarity += similarity.T
    sparse = csr_array(similarity)
    sparse.sort_indices()
    groups = linked_groups(sparse.indptr.astype(np.int64), sparse.indices.astype(np.int32), sparse.data, least)
    distances = 1.0 - similarity.astype(np.float64)
    np.fill_diagonal(distances, 0.0)
    expected = fcluster(linkage(squareform(distances), "average"), 1.0 - least, "distance")
    assert len(np.unique(groups)) == len(np.unique(expected)) > 1
    pairs = {(int(a), int(b)) for a, b in zip(groups, expected)}
    assert len(pairs) == len(np.unique(groups)), "the same partition"


def test_no_rows_and_no_neighbours() -> None:
    none = np.zeros(0, np.int32)
    assert linked_groups(np.zeros(1, np.int64), none, none.astype(np.float32), 0.5).tolist() == []
    assert linked_groups(np.zeros(4, np.int64), none, none.astype(np.float32), 0.5).tolist() == [0, 1, 2]


def test_few_views_do_not_bear_a_group_out() -> None:
    """Group 0 has a segment in 6 of the 10 views that see it; 1 in 2 of 12; 2 in a single view."""
    groups = np.array([0] * 7 + [1] * 2 + [2], np.int32)
    views = np.array([0, 0, 1, 2, 3, 4, 5, 6, 7, 8], np.int32)
    seen = np.array([10] * 7 + [12] * 2 + [2], np.int32)
    assert borne_out(groups, views, seen).tolist() == [True, False, False]


def two_parts(num_merged: int) -> Pooling:
    """Gaussians 0-3 and 4-7 are two parts; 6 views part them, in `num_merged` more one segment covers both."""
    one, other = {i: 0.25 for i in range(4)}, {i: 0.25 for i in range(4, 8)}
    both = {i: 0.125 for i in range(8)}
    views = [*(v for v in range(6) for _ in range(2)), *range(6, 6 + num_merged)]
    return pooling_of([one, other] * 6 + [both] * num_merged, [100] * len(views), 9, views)


@pytest.mark.parametrize("num_merged", [0, 1, 3])
def test_parts_that_some_masks_merge_stay_apart(num_merged: int) -> None:
    homes, num_clusters = clusters_from_segments(two_parts(num_merged), "coarse")
    assert num_clusters == 2
    labels = homes.labels.tolist()
    assert labels[:4] == [labels[0]] * 4 and labels[4:8] == [labels[4]] * 4 and labels[0] != labels[4]
    assert labels[8] == NO_CLUSTER and float(homes.margin[8]) == 0.0, "in no segment"
    level, features = granularity_levels()[0], torch.eye(12)[torch.tensor([0] * 4 + [1] * 4 + [2])]
    pooling = two_parts(num_merged)
    made = make_clusters(features, from_homes(pooling, features, level, homes, 2), pooling.visibility, level)
    assert made.labels[:8].tolist() == labels[:8]
    assert float((made.centers @ made.centers.T)[0, 1]) == pytest.approx(0.0, abs=1e-6)


def test_objects_keep_their_numbers_whatever_features_become() -> None:
    pooling, level = two_parts(1), granularity_levels()[0]
    homes, num = clusters_from_segments(pooling, "coarse")
    made = []
    for seed in range(3):
        features = torch.randn(9, 12, generator=torch.Generator().manual_seed(seed))
        made.append(
            make_clusters(features, from_homes(pooling, features, level, homes, num), pooling.visibility, level)
        )
    for later in made[1:]:
        assert torch.equal(later.labels[:8], made[0].labels[:8])
        assert not torch.equal(later.centers, made[0].centers)


def test_segments_of_one_view_alone_make_no_cluster() -> None:
    pooling = pooling_of([{0: 1.0}, {1: 1.0}], [50, 50], 2, [0, 0])
    homes, num_clusters = clusters_from_segments(pooling, "coarse")
    assert num_clusters == 0 and homes.labels.tolist() == [NO_CLUSTER, NO_CLUSTER]


def test_labels_without_gaps() -> None:
    labels, num = without_gaps(torch.tensor([5, NO_CLUSTER, 2, 5], dtype=torch.int32))
    assert labels.tolist() == [1, NO_CLUSTER, 0, 1] and labels.dtype == torch.int32 and num == 2
    assert without_gaps(torch.full((3,), NO_CLUSTER, dtype=torch.int32))[1] == 0


@pytest.mark.parametrize(("num", "highest"), [(3, 0.0), (12, 0.0), (40, 0.6)])
def test_directions_are_far_apart(num: int, highest: float) -> None:
    found = spread_directions(num, 12)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(num))
    assert float((found @ found.T).fill_diagonal_(-1.0).max()) <= highest + 1e-6
    assert torch.equal(found, spread_directions(num, 12))


def test_parts_of_an_object_share_the_coarse_half() -> None:
    coarse = torch.tensor([0, 0, 0, 1, 1, NO_CLUSTER], dtype=torch.int32)
    fine = torch.tensor([0, 1, 1, 2, 3, NO_CLUSTER], dtype=torch.int32)
    start = torch.randn(6, 24, generator=torch.Generator().manual_seed(0))
    codes = initial_codes(start, granularity_levels(), [coarse, fine])
    assert torch.equal(codes[5], start[5]), "what has no cluster keeps its features"
    unit = torch.nn.functional.normalize(codes[:5], dim=1)
    of_coarse = torch.nn.functional.normalize(codes[:5, :12], dim=1)
    assert torch.equal((of_coarse @ of_coarse.T > 0.9), coarse[:5, None] == coarse[None, :5])
    margins = [level.margin for level in granularity_levels()]
    apart = fine[:5, None] != fine[None, :5]
    assert float((of_coarse @ of_coarse.T)[coarse[:5, None] != coarse[None, :5]].max()) < margins[0]
    assert float((unit @ unit.T)[apart].max()) < margins[1], "no repulsion between parts at the start"
