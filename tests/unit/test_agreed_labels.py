"""Pixels labelled by clusters: views that merge or split things say the same as the others."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from test_clusters import pooling_of

from click_gaussian_ns.clusters.agreed_labels import AgreedLabels
from click_gaussian_ns.clusters.homes import Homes
from click_gaussian_ns.features.levels import granularity_levels
from click_gaussian_ns.types import NO_CLUSTER, BlendWeights

COARSE = granularity_levels()[0]
HOMES = Homes(torch.tensor([0] * 4 + [1] * 4 + [NO_CLUSTER], dtype=torch.int32), torch.ones(9))
"""Gaussians 0-3 are one thing and 4-7 another; 8 is nowhere at home."""
ROWS = BlendWeights(torch.arange(10), torch.arange(9, dtype=torch.int32), torch.ones(9), 9)
"""Pixel p shows Gaussian p."""


@pytest.fixture
def agreed() -> AgreedLabels:
    """View 0 parts the things, 1 merges them, 2 splits the first and has a segment on the homeless alone."""
    one, other = dict.fromkeys(range(4), 0.25), dict.fromkeys(range(4, 8), 0.25)
    rows = [one, other, {**one, **other}, {0: 0.5, 1: 0.5}, {2: 0.5, 3: 0.5}, {8: 1.0}]
    pooling = pooling_of(rows, [100] * 6, 9, [0, 0, 1, 2, 2, 2])
    matrix = dataclasses.replace(pooling.levels["coarse"], segment_ids=torch.tensor([3, 9, 1, 2, 5, 7]))
    return AgreedLabels(dataclasses.replace(pooling, levels={"coarse": matrix}), [COARSE], {"coarse": (HOMES, 2)})


@pytest.mark.parametrize(
    ("view", "segments", "expected"),
    [
        (0, [3, 3, 3, 9, 9, 9, 9, 9, 0], [1, 1, 1, 2, 2, 2, 2, 2, 0]),  # the border is the segment's: pixel 3
        (1, [1] * 9, [1, 1, 1, 1, 2, 2, 2, 2, 1]),  # a merged segment is told by the Gaussians
        (2, [2, 2, 5, 5, 0, 0, 0, 0, 7], [1, 1, 1, 1, 0, 0, 0, 0, 0]),  # a split one is whole; 7 is nothing
        (2, [4] * 9, [0] * 9),  # no such segment
        (3, [1] * 9, [0] * 9),  # no such view
    ],
)
def test_labels_are_clusters(agreed: AgreedLabels, view: int, segments: list[int], expected: list[int]) -> None:
    assert agreed.of(view, torch.tensor([segments]), ROWS).tolist() == [expected]


def test_without_clusters_nothing_is_labelled() -> None:
    nowhere = Homes(torch.full((9,), NO_CLUSTER, dtype=torch.int32), torch.zeros(9))
    pooling = pooling_of([{0: 1.0}], [100], 9)
    agreed = AgreedLabels(pooling, [COARSE], {"coarse": (nowhere, 0)})
    assert agreed.of(0, torch.ones(1, 9, dtype=torch.int64), ROWS).tolist() == [[0] * 9]
