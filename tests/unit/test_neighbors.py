"""The K nearest Gaussians against all distances, and the same relation read backwards."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from click_gaussian_ns.features.neighbors import Neighbors, curve_order, nearest_neighbors


def _assert_nearest(means: Tensor, k: int) -> Neighbors:
    num = means.shape[0]
    neighbors = nearest_neighbors(means, k)
    expected_k = min(k, max(num - 1, 0))
    assert neighbors.ids.shape == (num, expected_k)
    distances = (means[:, None].double() - means[None].double()).norm(dim=-1)
    found = distances.gather(1, neighbors.ids.long())
    off_diagonal = distances + torch.diag(torch.full((num,), float("inf"), dtype=torch.float64))
    # ties may be broken either way: the distances are what must be the same, nearest first
    torch.testing.assert_close(found, off_diagonal.sort(dim=1).values[:, :expected_k], rtol=0, atol=1e-12)
    for i, row in enumerate(neighbors.ids.tolist()):
        assert i not in row
        assert len(set(row)) == expected_k
    order = neighbors.order
    assert sorted(order.tolist()) == list(range(num))
    assert torch.equal(neighbors.ids[order.long()], order[neighbors.places.long()])
    pairs = {(i, j) for i, row in enumerate(neighbors.ids.tolist()) for j in row}
    offsets, ids = neighbors.reverse_offsets.tolist(), order[neighbors.reverse_places.long()].tolist()
    assert len(offsets) == num + 1 and offsets[0] == 0 and offsets[-1] == len(ids) == num * expected_k
    assert {(i, int(order[p])) for p in range(num) for i in ids[offsets[p] : offsets[p + 1]]} == pairs
    return neighbors


@settings(max_examples=30, deadline=None, derandomize=True)
@given(num=st.integers(1, 120), k=st.integers(1, 7), seed=st.integers(0, 99))
def test_random_centres(num: int, k: int, seed: int) -> None:
    _assert_nearest(torch.randn(num, 3, generator=torch.Generator().manual_seed(seed)), k)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(num=st.integers(1, 60), k=st.integers(1, 6), places=st.integers(1, 5), seed=st.integers(0, 99))
def test_coincident_centres(num: int, k: int, places: int, seed: int) -> None:
    """More Gaussians than K + 1 on one spot: a Gaussian may not even be among those found, yet is never its own."""
    generator = torch.Generator().manual_seed(seed)
    _assert_nearest(torch.randn(places, 3, generator=generator)[torch.randint(places, (num,), generator=generator)], k)


@pytest.mark.parametrize("num", [0, 1, 2, 5, 6])
def test_fewer_gaussians_than_neighbours(num: int) -> None:
    _assert_nearest(torch.arange(3.0 * num).reshape(num, 3) ** 1.5, k=5)


def test_grid_with_ties() -> None:
    axis = torch.arange(5.0)
    _assert_nearest(torch.cartesian_prod(axis, axis, axis), k=5)


def test_to_moves_everything() -> None:
    moved = _assert_nearest(torch.randn(9, 3), k=3).to("meta")
    assert all(getattr(moved, field.name).is_meta for field in fields(moved))


def test_the_order_goes_through_space_without_jumps() -> None:
    """Steps along it are as short as the spacing of the points, where those of a random order cross the scene."""
    points = torch.rand(4096, 3, generator=torch.Generator().manual_seed(0)).double().numpy()
    steps = np.linalg.norm(np.diff(points[curve_order(points)], axis=0), axis=1)
    assert np.median(steps) < 1.5 / 16
    assert sorted(curve_order(np.zeros((5, 3))).tolist()) == list(range(5))
    far = np.concatenate([points, [[1e6, -1e6, 0.0]]])
    assert len(set(curve_order(far).tolist())) == 4097
