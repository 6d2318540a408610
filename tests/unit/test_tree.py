"""The tree from parts through objects to groups: how it is built, walked, and what a click makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click_scene import OBJECTS, SmallHost, front_view, pixel_of
from test_clusters import pooling_of

from click_gaussian_ns.clusters.pooling import Pooling
from click_gaussian_ns.clusters.tree import build_tree, holders, joins
from click_gaussian_ns.features.levels import granularity_levels
from click_gaussian_ns.selection.pick import pick
from click_gaussian_ns.selection.tree import (
    Node,
    TreeWalk,
    Width,
    asked_width,
    path_of,
    pick_nodes,
    place_at,
    place_of_level,
)
from click_gaussian_ns.types import NO_CLUSTER, Click, ClusterTree, GlobalClusters

LEVELS = granularity_levels()
VIEW = front_view()
LEFT, RIGHT = pixel_of(VIEW, OBJECTS[0]), pixel_of(VIEW, OBJECTS[1])


def clusters_of(level: str, labels: list[int]) -> GlobalClusters:
    num = max(labels) + 1
    return GlobalClusters(level, torch.eye(num, 24), torch.tensor(labels, dtype=torch.int32), torch.ones(len(labels)))


def in_views(sets: list[list[set[int]]], num: int) -> Pooling:
    """Segments of every view, as the Gaussians that each covers."""
    rows = [{i: 1.0 / len(s) for i in s} for view in sets for s in view]
    sizes = [100 * len(s) for view in sets for s in view]
    views = [place for place, view in enumerate(sets) for _ in view]
    return pooling_of(rows, sizes, num, views)


def test_what_shares_segments_more_often_joins_first() -> None:
    """Six parts: 0, 1 are together in half the views, with 2 in a quarter; 3 is their object's. 4, 5 are another's."""
    fine = [[{0}, {1}, {2}, {3}, {4}, {5}]] * 4 + [[{0, 1}, {2}, {3}, {4}, {5}]] * 2 + [[{0, 1, 2}, {3}, {4}, {5}]] * 2
    coarse = [[{0, 1, 2, 3}, {4, 5}]] * 7 + [[{0, 1, 2, 3, 4, 5}]]
    levels = {"fine": in_views(fine, 6).levels["coarse"], "coarse": in_views(coarse, 6).levels["coarse"]}
    pooling = Pooling(levels, torch.ones(6))
    made = (clusters_of("coarse", [0, 0, 0, 0, 1, 1]), clusters_of("fine", [0, 1, 2, 3, 4, 5]))
    tree = build_tree(pooling, LEVELS, made)
    assert (tree.levels, tree.counts) == (("fine", "coarse"), (6, 2))
    walk = TreeWalk(tree)
    path = walk.path("fine", 1)
    assert [(node.level, node.cluster_ids) for node in path] == [
        ("fine", (1,)),
        ("fine", (0, 1)),
        ("fine", (0, 1, 2)),
        ("coarse", (0,)),
        ("coarse", (0, 1)),
    ]
    assert path[0].granularity == 0.0 and path[3].granularity == 0.5
    assert path[1].granularity == pytest.approx(0.5 * (1 - 4 / 8), abs=1e-3)
    assert path[1].granularity < path[2].granularity < 0.5 and path[4].granularity == 1.0
    assert [node.cluster_ids for node in walk.path("fine", 3)][:2] == [(3,), (0,)], "no view joins it to another part"
    assert [node.cluster_ids for node in walk.path("coarse", 1)] == [(1,), (0, 1)]


def test_objects_that_no_segment_joins_are_one_at_last() -> None:
    seen = [[{0}, {1}, {2}]] * 5
    levels = {"fine": in_views(seen, 3).levels["coarse"], "coarse": in_views(seen, 3).levels["coarse"]}
    made = (clusters_of("coarse", [0, 1, 2]), clusters_of("fine", [0, 1, 2]))
    tree = build_tree(Pooling(levels, torch.ones(3)), LEVELS, made)
    assert tree.parents.tolist() == [3, 4, 5, 6, 6, 6, -1]
    assert tree.granularity.tolist() == [0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 1.0]


def test_without_clusters_there_is_no_node() -> None:
    empty = tuple(
        GlobalClusters(name, torch.zeros(0, 24), torch.full((3,), NO_CLUSTER, dtype=torch.int32), torch.zeros(3))
        for name in ("coarse", "fine")
    )
    levels = {name: in_views([[{0}, {1}]], 3).levels["coarse"] for name in ("coarse", "fine")}
    tree = build_tree(Pooling(levels, torch.ones(3)), LEVELS, empty)
    assert tree.parents.shape == (0,) and TreeWalk(tree).cut(1.0) == ()


def test_joins_are_average_linkage() -> None:
    shared = np.array([[1.0, 0.8, 0.2, 0.0], [0.8, 1.0, 0.4, 0.0], [0.2, 0.4, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    (first, second) = joins(shared)
    assert first == (0, 1, pytest.approx(0.2)) and second == (2, 4, pytest.approx(0.7))
    assert joins(np.ones((1, 1))) == [] == joins(np.ones((0, 0)))


def test_a_part_belongs_to_the_object_that_holds_most_of_it() -> None:
    fine, coarse = clusters_of("fine", [0, 0, 0, 1, 1]), clusters_of("coarse", [0, 0, 1, 1, 1])
    assert holders(fine, coarse).tolist() == [0, 1]


def small_walk(host: SmallHost) -> TreeWalk:
    assert host.tree is not None
    return TreeWalk(host.tree)


@pytest.mark.parametrize("granularity", [0.0, 0.3, 0.5, 0.79, 0.8, 1.0])
def test_a_cut_holds_every_gaussian_once(granularity: float, tmp_path: Path) -> None:
    host = SmallHost(tmp_path)
    masks = torch.stack([node.mask(host.clusters) for node in small_walk(host).cut(granularity)])
    assert bool((masks.sum(dim=0) == 1).all())
    assert len(masks) == {0.0: 6, 0.3: 6, 0.5: 3, 0.79: 3, 0.8: 2, 1.0: 1}[granularity]
    labels, num = small_walk(host).cut_labels(granularity, host.clusters)
    assert num == len(masks) and torch.equal(labels.long(), masks.int().argmax(dim=0))


def test_a_path_goes_through_the_clusters_that_were_hit(tmp_path: Path) -> None:
    """Even where the features say another object than the tree: the part of the one, the object of the other."""
    host = SmallHost(tmp_path)
    feature = torch.cat([host.features[0, :12], host.features[0, 12:]])
    path = path_of(feature, LEVELS, host.clusters, small_walk(host))
    assert [(node.level, node.cluster_ids) for node in path] == [
        ("fine", (0,)),
        ("coarse", (0,)),
        ("coarse", (0, 1)),
        ("coarse", (0, 1, 2)),
    ]
    assert [place_at(path, g) for g in (0.0, 0.49, 0.5, 0.9, 1.0)] == [0, 0, 1, 2, 3]
    assert (place_of_level(path, "fine"), place_of_level(path, "coarse")) == (0, 1)


def test_a_join_that_leads_elsewhere_is_left_out() -> None:
    tree = ClusterTree(
        ("fine", "coarse"),
        (3, 2),
        torch.tensor([5, 5, 4, 6, 6, 3, -1], dtype=torch.int32),  # parts 0 and 1 join, to object 0
        torch.tensor([0.0, 0.0, 0.0, 0.5, 0.5, 0.2, 1.0]),
    )
    eye = torch.eye(24)
    found = {
        "coarse": GlobalClusters("coarse", eye[:2, :12], torch.zeros(1, dtype=torch.int32), torch.ones(1)),
        "fine": GlobalClusters("fine", eye[12:15], torch.zeros(1, dtype=torch.int32), torch.ones(1)),
    }
    walk = TreeWalk(tree)
    of_object = [path_of(eye[12] + 0.1 * eye[place], LEVELS, found, walk) for place in (0, 1)]
    assert [[node.cluster_ids for node in path] for path in of_object] == [
        [(0,), (0, 1), (0,), (0, 1)],
        [(0,), (1,), (0, 1)],
    ]


@pytest.mark.parametrize(("steps", "objects"), [(-9, 0.5), (-1, 0.5), (0, 1), (1, 2), (2, 3), (9, 3)])
def test_wider_and_narrower_are_steps_from_the_levels_cluster(steps: int, objects: float, tmp_path: Path) -> None:
    host = SmallHost(tmp_path)
    assert host.tree is not None
    prepared = host.prepared(VIEW)
    arguments = (prepared, host.features, host.levels, host.clusters)
    width = Width(steps=steps)
    found = pick_nodes(*arguments, host.tree, [Click(*LEFT)], lambda path: width.place(path, "coarse"))
    assert found.num_selected == 300 * objects
    if steps == 0:
        assert torch.equal(found.mask, pick(prepared, host.features, LEVELS[0], host.clusters, [Click(*LEFT)]).mask)
    assert found.level == ("fine" if objects < 1 else "coarse")


def test_several_clicks_take_a_node_each_and_negative_ones_take_away(tmp_path: Path) -> None:
    host = SmallHost(tmp_path)
    assert host.tree is not None
    arguments = (host.prepared(VIEW), host.features, host.levels, host.clusters, host.tree)
    both = pick_nodes(*arguments, [Click(*LEFT), Click(*RIGHT)], lambda path: place_at(path, 0.5))
    assert both.cluster_ids == (0, 1) and both.num_selected == 600
    top = pixel_of(VIEW, (OBJECTS[0][0], 0.2, 0.0))
    bottom = pixel_of(VIEW, (OBJECTS[0][0], -0.2, 0.0))
    less = pick_nodes(*arguments, [Click(*top), Click(*bottom, negative=True)], lambda path: place_at(path, 0.5))
    assert less.num_selected == 150
    with pytest.raises(ValueError, match="at least one positive"):
        pick_nodes(*arguments, [Click(*top, negative=True)], lambda path: 0)


def test_flags_that_contradict_each_other_are_refused() -> None:
    assert asked_width(None, 0, 0) is None
    assert asked_width(0.3, 0, 0) == Width(0.3) and asked_width(None, 2, 0) == Width(steps=2)
    assert asked_width(None, 0, 3) == Width(steps=-3)
    with pytest.raises(ValueError, match="only one of"):
        asked_width(0.3, 1, 0)
    with pytest.raises(ValueError, match="only one of"):
        asked_width(None, 1, 1)
    with pytest.raises(ValueError, match=r"--granularity 1\.5: expected a number from 0"):
        asked_width(1.5, 0, 0)
    with pytest.raises(ValueError, match="expected numbers of steps"):
        asked_width(None, -1, 0)


def test_a_node_is_its_clusters() -> None:
    clusters = {"fine": clusters_of("fine", [0, 1, 2, 1])}
    assert Node("fine", (0, 1), 0.2).mask(clusters).tolist() == [True, True, False, True]
