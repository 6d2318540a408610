"""Segment everything and view consistency, by hand and on a wall that is seen from two sides."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_scene import HEIGHT, WIDTH, scene

from click_gaussian_ns.evaluate.everything import ConsistencyScore, EverythingScore, same_surface
from click_gaussian_ns.evaluate.look import Look, look


def add(score: EverythingScore, truth: list[list[int]], clusters: list[list[int]]) -> None:
    score.add(np.array(truth, np.uint16), np.array(clusters, np.int32))


def test_objects_are_matched_over_all_views_together():
    score = EverythingScore(num_clusters=2, min_pixels=1)
    add(score, [[1, 1, 2, 2]], [[0, 0, 1, 1]])
    add(score, [[1, 1, 2, 2]], [[1, 1, 0, 0]])  # right in itself, but the other way round
    metrics = score.metrics()
    assert metrics["everything_view_miou"] == 1.0
    assert metrics["everything_miou"] == pytest.approx(2 / 6)
    assert metrics["everything_ari"] < 0


def test_background_and_uncovered_pixels():
    score = EverythingScore(num_clusters=2, min_pixels=1)
    add(score, [[0, 0, 1, 1, 1]], [[0, 1, 1, 1, -1]])
    # cluster 1 has 3 px, one of them on the background; the uncovered pixel is missing
    assert score.metrics()["everything_miou"] == 2 / 4
    assert score.pairs is not None and score.pairs.tolist() == [[1, 1, 0], [0, 2, 1]]


def test_views_may_hold_different_objects():
    score = EverythingScore(num_clusters=3, min_pixels=1)
    add(score, [[1, 1]], [[0, 0]])
    add(score, [[3, 3]], [[2, 2]])
    add(score, [[1, 0]], [[0, -1]])
    assert score.metrics() == {"everything_miou": 1.0, "everything_view_miou": 1.0, "everything_ari": 1.0}


def test_small_objects_are_left_out():
    score = EverythingScore(num_clusters=1, min_pixels=2)
    add(score, [[1, 1, 2]], [[0, 0, -1]])
    assert score.metrics()["everything_miou"] == 1.0
    assert EverythingScore(num_clusters=1, min_pixels=2).metrics() == {}


# --- consistency: the camera moves by 0.5 units, which is 6 px on the wall


@pytest.fixture(scope="module")
def looks() -> tuple[Look, Look]:
    made, _ = scene(shifts=(0.0, 0.5))
    return look(made, 0, ("coarse", "fine")), look(made, 1, ("coarse", "fine"))


def test_the_same_point_is_found_in_another_view(looks: tuple[Look, Look]):
    at_a, at_b = same_surface(*looks, depth_tolerance=0.02)
    assert at_a.size > 0.7 * (looks[0].depth > 0).sum()
    assert (at_a // WIDTH == at_b // WIDTH).all()
    assert set((at_a % WIDTH - at_b % WIDTH).tolist()) == {6}
    at_b, at_a = same_surface(looks[1], looks[0], depth_tolerance=0.02)
    assert set((at_a % WIDTH - at_b % WIDTH).tolist()) == {6}


def test_a_hidden_point_is_not_the_same(looks: tuple[Look, Look]):
    hidden = replace(looks[1], depth=np.where(np.arange(WIDTH) < WIDTH // 2, looks[1].depth / 2, looks[1].depth))
    _, at_b = same_surface(looks[0], hidden, depth_tolerance=0.02)
    assert at_b.size > 0 and (at_b % WIDTH >= WIDTH // 2).all()


def test_consistency_is_the_share_of_points_with_one_cluster(looks: tuple[Look, Look]):
    first, second = looks
    score = ConsistencyScore(0.02)
    score.add(first, second)
    assert score.share("coarse") > 0.99 and score.share("fine") > 0.95
    swapped = replace(second, clusters={**second.clusters, "coarse": 1 - second.clusters["coarse"]})
    score = ConsistencyScore(0.02)
    score.add(first, swapped)
    assert score.share("coarse") < 0.01 and score.share("fine") > 0.95


def test_half_a_wall_renamed_halves_the_consistency(looks: tuple[Look, Look]):
    first, second = looks
    upper = np.arange(HEIGHT)[:, None] < HEIGHT // 2
    renamed = {name: np.where(upper, 9, clusters).astype(np.int32) for name, clusters in second.clusters.items()}
    score = ConsistencyScore(0.02)
    score.add(first, replace(second, clusters=renamed))
    assert score.share("coarse") == pytest.approx(0.5, abs=0.02)


def test_views_without_common_surface_have_no_consistency(looks: tuple[Look, Look]):
    nothing = replace(looks[1], depth=np.zeros_like(looks[1].depth))
    score = ConsistencyScore(0.02)
    score.add(looks[0], nothing)
    assert score.share("coarse") is None
