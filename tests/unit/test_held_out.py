"""When training stops: agreement with label maps that no step sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from click_gaussian_ns.features.levels import granularity_levels
from click_gaussian_ns.method.datamanager import held_out_views
from click_gaussian_ns.method.held_out import HeldOutPixels, Patience, agreement, pixel_grid
from click_gaussian_ns.types import BlendWeights

LEVELS = granularity_levels()


def pixels_of(labels: list[list[int]]) -> HeldOutPixels:
    """A view whose pixel p shows Gaussian p alone."""
    num = len(labels[0])
    ids = torch.arange(num, dtype=torch.int32)
    rows = BlendWeights(torch.arange(num + 1), ids, torch.ones(num), num)
    return HeldOutPixels(rows, np.asarray(labels))


def features_of(coarse: list[int], fine: list[int]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """One direction per cluster and level, and the centres."""
    features = torch.zeros(len(coarse), 24)
    features[torch.arange(len(coarse)), torch.tensor(coarse)] = 1.0
    features[torch.arange(len(fine)), 12 + torch.tensor(fine)] = 1.0
    firsts = {"coarse": coarse, "fine": fine}
    centers = {}
    for level in LEVELS:
        ids = firsts[level.name]
        own = torch.stack([features[ids.index(i), level.channels] for i in sorted(set(ids))])
        centers[level.name] = torch.nn.functional.normalize(own, dim=-1)
    return features, centers


def test_views_are_held_out_evenly() -> None:
    assert held_out_views(50, 10) == [5, 15, 25, 35, 45]
    assert held_out_views(24, 10) == [5, 15] and held_out_views(10, 10) == [5]
    assert held_out_views(9, 10) == [] == held_out_views(50, 0)


def test_the_grid_covers_a_picture_evenly() -> None:
    for height, width in ((384, 512), (720, 960), (60, 90), (2000, 31)):
        pixels = pixel_grid(height, width)
        assert len(set(pixels.tolist())) == len(pixels) <= 20_000
        assert pixels.min() >= 0 and pixels.max() < height * width
        rows, columns = pixels // width, pixels % width
        assert abs(rows.mean() - height / 2) < height / 20 and abs(columns.mean() - width / 2) < width / 8


def test_agreement_is_one_where_every_segment_has_its_cluster() -> None:
    coarse, fine = [0] * 20 + [1] * 10, [0] * 10 + [1] * 10 + [2] * 10
    features, centers = features_of(coarse, fine)
    same = pixels_of([[7] * 20 + [3] * 10, [1] * 10 + [2] * 10 + [9] * 10])
    assert agreement([same], features, LEVELS, centers) == pytest.approx(1.0)


def test_agreement_is_the_mean_iou_of_matched_segments() -> None:
    coarse, fine = [0] * 20 + [1] * 10, [0] * 10 + [1] * 10 + [2] * 10
    features, centers = features_of(coarse, fine)
    # coarse as it is; at the fine level two parts are merged: one matches by half, unassigned pixels count against it
    merged = pixels_of([[1] * 20 + [2] * 10, [1] * 20 + [2] * 5 + [0] * 5])
    assert agreement([merged], features, LEVELS, centers) == pytest.approx((1.0 + (0.5 + 0.5) / 2) / 2)
    tiny = pixels_of([[1] * 20 + [2] * 10, [1] * 10 + [2] * 10 + [3] * 6 + [4] * 4])
    assert agreement([tiny], features, LEVELS, centers) == pytest.approx((1.0 + (1.0 + 1.0 + 0.6) / 3) / 2)
    assert agreement([merged, tiny], features, LEVELS, centers) == pytest.approx(
        (agreement([merged], features, LEVELS, centers) + agreement([tiny], features, LEVELS, centers)) / 2
    )
    assert agreement([], features, LEVELS, centers) == 0.0
    none = {level.name: torch.zeros(0, level.stop - level.start) for level in LEVELS}
    assert agreement([pixels_of([[0] * 30, [0] * 30])], features, LEVELS, none) == 0.0


def test_training_stops_when_two_looks_gained_nothing() -> None:
    none = torch.zeros(0, 24)
    patience = Patience(0.5, 0, none)
    looks = ((100, 0.6), (200, 0.6005), (300, 0.61), (400, 0.61))
    assert [patience.look(step, value, none) for step, value in looks] == [False] * 4
    assert patience.best == 0.61 and patience.latest == 0.61
    assert patience.look(500, 0.6105, none), "less than a thousandth is no gain"
    falling = Patience(0.5, 0, none)
    assert [falling.look(step, 0.4, none) for step in (100, 200)] == [False, True]


def test_features_that_agree_less_are_not_kept() -> None:
    features = torch.arange(5.0)[:, None].expand(5, 24).clone()
    patience = Patience(0.5, 0, features[:1])
    for step, value in ((100, 0.6), (200, 0.5995), (300, 0.4)):
        patience.look(step, value, features[step // 100][None])
    assert patience.kept_step == 200, "as good as the best, and trained for longer"
    assert torch.equal(patience.kept, features[2:3])
    falling = Patience(0.5, 0, features[:1])
    falling.look(100, 0.4, features[1:2])
    features[0] = 7.0
    assert falling.kept_step == 0 and torch.equal(falling.kept, torch.zeros(1, 24)), "a copy"
    idle = Patience(0.5, 0, features[:1])
    idle.look(100, 0.5009, features[1:2])
    assert idle.kept_step == 0, "nothing was gained"
