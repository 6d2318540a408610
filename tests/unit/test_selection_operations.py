"""Set algebra, growing and shrinking, stray pieces, and what a camera sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from click_scene import HEIGHT, OBJECTS, WIDTH, front_view, pixel_of, small_scene
from hypothesis import given
from hypothesis import strategies as st

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.selection import operations
from click_gaussian_ns.selection.pick import members
from click_gaussian_ns.selection.visibility import centers_inside, front_surface


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_combine_is_set_algebra(pairs: list[tuple[bool, bool]]) -> None:
    current, picked = (torch.tensor(side) for side in zip(*pairs))
    a, b = ({i for i, x in enumerate(side.tolist()) if x} for side in (current, picked))
    expected = {"set": b, "add": a | b, "remove": a - b, "intersect": a & b}
    for mode, result in expected.items():
        assert {i for i, x in enumerate(operations.combine(mode, current, picked).tolist()) if x} == result


def test_growing_adds_neighbours_and_shrinking_drops_the_border() -> None:
    grid = torch.stack(torch.meshgrid(*[torch.arange(9.0)] * 2, torch.zeros(1), indexing="ij"), -1).reshape(-1, 3)
    space = operations.Space.of(grid, torch.ones(81, dtype=torch.bool))
    inner = (grid[:, :2] - 4).abs().amax(dim=1) <= 1
    grown = operations.grow(space, inner)
    # eight neighbours in a grid: the square one wider
    assert torch.equal(grown, (grid[:, :2] - 4).abs().amax(dim=1) <= 2)
    assert torch.equal(operations.shrink(space, grown), inner)


def test_neighbours_are_sought_among_the_given_gaussians_only() -> None:
    line = torch.stack([torch.arange(40.0), torch.zeros(40), torch.zeros(40)], dim=1)
    there = torch.ones(40, dtype=torch.bool)
    there[5:30] = False
    space = operations.Space.of(line, there)
    mask = torch.zeros(40, dtype=torch.bool)
    mask[2] = True
    grown = operations.grow(space, mask)
    assert not bool(grown[5:30].any())
    assert int(grown.sum()) == 9


def test_the_empty_selection_stays_empty() -> None:
    splats, _, _ = small_scene()
    num = splats.num_gaussians
    none, features = torch.zeros(num, dtype=torch.bool), torch.randn(num, 12)
    space = operations.Space.of(splats.means, torch.ones(num, dtype=torch.bool))
    assert not operations.grow(space, none).any()
    assert not operations.shrink(space, none).any()
    assert not operations.largest_component(space, none).any()
    assert not operations.grow_similar(features, none, -1.0).any()
    assert not operations.shrink_similar(features, none, -1.0).any()


def test_the_largest_piece_is_kept_and_floaters_go() -> None:
    splats, objects, _ = small_scene()
    space = operations.Space.of(splats.means, torch.ones(splats.num_gaussians, dtype=torch.bool))
    mask = (objects == 0) | (objects == 1)
    mask &= ~((objects == 1) & (torch.arange(len(objects)) % 3 == 0))
    assert torch.equal(operations.largest_component(space, mask), objects == 0)


def test_similarity_grows_to_the_object_and_shrinks_to_it() -> None:
    _, objects, _ = small_scene()
    features = torch.nn.functional.one_hot(objects, 12).float()
    seed = torch.zeros(len(objects), dtype=torch.bool)
    seed[0] = True
    assert torch.equal(operations.grow_similar(features, seed, 0.9), objects == 0)
    mixed = (objects == 0) | (torch.arange(len(objects)) == len(objects) - 1)
    assert torch.equal(operations.shrink_similar(features, mixed, 0.9), objects == 0)


def test_members_of_clusters() -> None:
    labels = torch.tensor([0, 1, 2, -1, 1], dtype=torch.int32)
    assert members(labels, [1, 2]).tolist() == [False, True, True, False, True]
    assert not members(labels, []).any()


def test_seen_weight_sums_the_picture() -> None:
    splats, _, _ = small_scene()
    prepared = rasterize.prepare(splats, front_view())
    where = np.ones((HEIGHT, WIDTH), bool)
    alpha = rasterize.render(prepared).alpha
    assert float(rasterize.seen_weight(prepared, where).sum()) == pytest.approx(float(alpha.sum()), rel=1e-4)
    half = where.copy()
    half[:, WIDTH // 2 :] = False
    expected = float(alpha[:, : WIDTH // 2].sum())
    assert float(rasterize.seen_weight(prepared, half).sum()) == pytest.approx(expected, rel=1e-4)
    assert float(rasterize.seen_weight(prepared, ~where).sum()) == 0.0


def test_the_front_surface_leaves_out_what_is_hidden() -> None:
    splats, objects, _ = small_scene()
    wall = torch.where(objects == 0, 8.0, splats.opacity_logits)
    copy = splats.means + torch.tensor([0.0, 0.0, 1.0])
    doubled = type(splats)(
        means=torch.cat([splats.means, copy]),
        quats=splats.quats.repeat(2, 1),
        log_scales=splats.log_scales.repeat(2, 1) + 0.7,
        opacity_logits=wall.repeat(2),
        sh=splats.sh.repeat(2, 1, 1),
    )
    seen = front_surface(rasterize.prepare(doubled, front_view()))
    front, behind = seen[: len(objects)][objects == 0], seen[len(objects) :][objects == 0]
    assert float(front.float().mean()) > 0.4
    assert float(behind.float().mean()) < 0.5 * float(front.float().mean())


def test_rectangles_go_through_the_scene() -> None:
    splats, objects, _ = small_scene()
    view = front_view()
    x, y = pixel_of(view, OBJECTS[0])
    inside = centers_inside(splats, view, (x - 18, y - 18), (x + 18, y + 18))
    assert torch.equal(inside, objects == 0)
    assert not centers_inside(splats, view, (x, y), (x - 1, y - 1)).any()
