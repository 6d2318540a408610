"""Edits, the scene they make, and lists of them on disk."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from click_scene import small_scene
from hypothesis import given, settings
from hypothesis import strategies as st
from splats_factory import assert_close, assert_identical

from click_gaussian_ns.edit.history import History
from click_gaussian_ns.edit.operations import Duplicate, Edit, Isolate, Recolor, Remove, Transform
from click_gaussian_ns.edit.record import read_edits, write_edits
from click_gaussian_ns.edit.scene import EditedScene, Timeline
from click_gaussian_ns.selection.packed import PackedMask
from click_gaussian_ns.splats.spherical_harmonics import eval_sh
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.splats.transforms import apply

QUARTER_TURN = (0.5**0.5, 0.0, 0.5**0.5, 0.0)


def some(num: int, seed: int = 0, share: float = 0.3) -> PackedMask:
    return PackedMask.pack(torch.rand(num, generator=torch.Generator().manual_seed(seed)) < share)


def assert_same_scene(actual: EditedScene, expected: EditedScene) -> None:
    assert_identical(actual.splats, expected.splats)
    for name in ("source_ids", "adjustment_ids", "alive"):
        assert torch.equal(getattr(actual, name), getattr(expected, name)), name


@given(st.lists(st.booleans(), max_size=40))
def test_a_packed_mask_gives_its_mask_back(values: list[bool]) -> None:
    mask = torch.tensor(values, dtype=torch.bool)
    packed = PackedMask.pack(mask)
    assert torch.equal(packed.unpack(), mask)
    assert packed.count == sum(values)
    assert PackedMask.from_json(json.loads(json.dumps(packed.to_json()))) == packed


@pytest.mark.parametrize(
    "change",
    [
        {"num": 11},
        {"num": -1},
        {"num": 10**9},
        {"num_selected": 0},
        {"zlib_bits": "?"},
        {"zlib_bits": "AAAA"},
        {"zlib_bits": None},
    ],
)
def test_a_damaged_mask_is_refused(change: dict) -> None:
    record = PackedMask.pack(torch.ones(20, dtype=torch.bool)).to_json() | change
    with pytest.raises(ValueError, match="set of Gaussians"):
        PackedMask.from_json(record)


def test_remove_and_isolate_are_complements() -> None:
    base, _, _ = small_scene()
    mask = some(base.num_gaussians)
    removed = Timeline(base).at([Remove(mask)]).final()
    isolated = Timeline(base).at([Isolate(mask)]).final()
    assert_identical(removed, select(base, ~mask.unpack()))
    assert_identical(isolated, select(base, mask.unpack()))


def test_a_transform_turns_about_its_pivot_and_leaves_the_rest() -> None:
    base, _, _ = small_scene()
    mask = some(base.num_gaussians)
    pivot = (0.3, -0.2, 1.0)
    edit = Transform(mask, (0.5, 0.0, -0.1), QUARTER_TURN, 2.0, pivot)
    scene = Timeline(base).at([edit])
    inside = mask.unpack()
    assert_identical(select(scene.splats, ~inside), select(base, ~inside))
    x = base.means[inside] - torch.tensor(pivot)
    turned = torch.stack([x[:, 2], x[:, 1], -x[:, 0]], dim=1)
    expected = 2 * turned + torch.tensor(pivot) + torch.tensor([0.5, 0.0, -0.1])
    torch.testing.assert_close(scene.splats.means[inside], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        scene.splats.log_scales[inside], base.log_scales[inside] + torch.tensor(2.0).log(), rtol=0, atol=1e-6
    )
    # colours turn with the object: seen from a turned direction they are what they were
    seen = torch.tensor([[0.0, 0.0, 1.0]]).expand(int(inside.sum()), 3)
    before, after = torch.tensor([[-1.0, 0.0, 0.0]]).expand_as(seen), seen
    torch.testing.assert_close(
        eval_sh(scene.splats.sh[inside], after), eval_sh(base.sh[inside], before), rtol=0, atol=1e-4
    )


def test_moves_add_up_without_losing_precision() -> None:
    base, _, _ = small_scene()
    mask = PackedMask.pack(torch.ones(base.num_gaussians, dtype=torch.bool))
    there = [Transform(mask, (0.1, 0.2, 0.3), QUARTER_TURN, 1.25, (0.1, 0.0, 0.0)) for _ in range(8)]
    scene = Timeline(base).at(there)
    once = there[0].similarity
    total = once
    for edit in there[1:]:
        total = total.then(edit.similarity)
    assert_close(scene.splats, apply(base, total), atol=1e-6)


def test_the_first_move_goes_first() -> None:
    """Turned about the origin and then moved is not moved and then turned."""
    base, _, _ = small_scene()
    everything = PackedMask.pack(torch.ones(base.num_gaussians, dtype=torch.bool))
    turn, move = Transform(everything, rotation=QUARTER_TURN), Transform(everything, (1.0, 0.0, 0.0))
    for edits in ([turn, move], [move, turn]):
        expected = apply(apply(base, edits[0].similarity), edits[1].similarity)
        assert_close(Timeline(base).at(edits).splats, expected, atol=1e-5)


def test_recolouring_mixes_the_picture_linearly() -> None:
    base, _, _ = small_scene()
    mask = some(base.num_gaussians)
    inside = mask.unpack()
    color = torch.tensor([0.9, 0.1, 0.4])
    scene = Timeline(base).at([Recolor(mask, (0.9, 0.1, 0.4), 0.25), Recolor(mask, (0.0, 0.0, 0.0), 0.5)])
    direction = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.8]]), dim=-1).expand(int(inside.sum()), 3)
    before = eval_sh(base.sh[inside], direction)
    expected = 0.5 * (0.75 * before + 0.25 * color)
    torch.testing.assert_close(eval_sh(scene.splats.sh[inside], direction), expected, rtol=0, atol=1e-5)
    assert torch.equal(scene.splats.sh[~inside], base.sh[~inside])


def test_a_copy_carries_nothing_that_is_not_in_the_scene() -> None:
    base, _, _ = small_scene()
    mask, gone = some(base.num_gaussians, 1, 0.5), some(base.num_gaussians, 2, 0.5)
    scene = Timeline(base).at([Remove(gone), Duplicate(mask, (0.0, 1.0, 0.0))])
    copied = mask.unpack() & ~gone.unpack()
    assert scene.num_gaussians == base.num_gaussians + int(copied.sum())
    copies = select(scene.splats, torch.arange(base.num_gaussians, scene.num_gaussians))
    expected = select(base, copied)
    expected = dataclasses.replace(expected, means=expected.means + torch.tensor([0.0, 1.0, 0.0]))
    assert_close(copies, expected, atol=1e-6)
    assert torch.equal(scene.source_ids[base.num_gaussians :].long(), copied.nonzero()[:, 0])


def random_edits(base_count: int, seed: int, length: int) -> list[Edit]:
    """Edits whose masks fit the scene that the ones before them make."""
    generator = torch.Generator().manual_seed(seed)
    base, _, _ = small_scene()
    timeline, edits = Timeline(base), []
    for _ in range(length):
        count = timeline.at(edits).num_gaussians
        mask = PackedMask.pack(torch.rand(count, generator=generator) < 0.2)
        numbers = torch.rand(6, generator=generator).tolist()
        kind = int(torch.randint(6, (1,), generator=generator))
        edits.append(
            [
                Remove(mask),
                Transform(mask, (numbers[0], numbers[1], 0.0)),
                Transform(mask, (0.0, 0.0, 0.0), (1.0, numbers[2], numbers[3], 0.0), 0.5 + numbers[4]),
                Duplicate(mask, (numbers[0], 0.0, 0.0)),
                Recolor(mask, (numbers[0], numbers[1], numbers[2]), numbers[3]),
                Isolate(PackedMask.pack(torch.rand(count, generator=generator) < 0.95)),
            ][kind]
        )
    return edits


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 6), min_size=1, max_size=4))
def test_every_way_to_an_edit_list_gives_the_same_scene(seed: int, stops: list[int]) -> None:
    base, _, _ = small_scene()
    edits = random_edits(base.num_gaussians, seed, 6)
    wandering = Timeline(base)
    for stop in stops:
        found, fresh = wandering.at(edits[:stop]), Timeline(base).at(edits[:stop])
        # torch rounds differently in the tail of a vector, so other batches of the same rows may differ in the last bit
        assert_close(found.splats, fresh.splats, atol=1e-5)
        for name in ("source_ids", "adjustment_ids", "alive"):
            assert torch.equal(getattr(found, name), getattr(fresh, name)), name
    assert_same_scene(wandering.at([]), EditedScene.unedited(base))


def test_edits_for_another_scene_are_refused() -> None:
    base, _, _ = small_scene()
    with pytest.raises(ValueError, match=r"edit 2 \(remove\) is for a scene of 7 Gaussians.*belongs to another run"):
        Timeline(base).at([Remove(some(base.num_gaussians)), Remove(some(7))])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda m: Transform(m, (float("nan"), 0.0, 0.0)), "translation must be finite"),
        (lambda m: Transform(m, (1e7, 0.0, 0.0)), "translation must be finite numbers up to"),
        (lambda m: Transform(m, scale=0.0), "scale must lie between"),
        (lambda m: Transform(m, scale=float("inf")), "scale must lie between"),
        (lambda m: Transform(m, rotation=(0.0, 0.0, 0.0, 0.0)), "no rotation"),
        (lambda m: Recolor(m, (2.0, 0.0, 0.0)), r"must lie in \[0, 1\]"),
        (lambda m: Duplicate(m, (0.0, float("inf"), 0.0)), "translation must be finite"),
    ],
)
def test_senseless_numbers_are_refused(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(some(10))


def test_an_edit_list_survives_its_file(tmp_path: Path) -> None:
    base, _, _ = small_scene()
    edits = random_edits(base.num_gaussians, 3, 8)
    path = tmp_path / "edits.json"
    write_edits(path, edits, base.num_gaussians)
    assert list(read_edits(path, base.num_gaussians)) == edits
    assert [p.name for p in tmp_path.iterdir()] == ["edits.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as an edit list"),
        ("[]", "not an edit list"),
        ('{"format": "click-gaussian edits", "version": 2, "edits": []}', "version 2"),
        ('{"format": "click-gaussian edits", "version": 1, "num_gaussians": 4, "edits": []}', "belongs to another run"),
        ('{"format": "click-gaussian edits", "version": 1, "num_gaussians": 5, "edits": [{}]}', "edit 1: unknown kind"),
        (
            '{"format": "click-gaussian edits", "version": 1, "num_gaussians": 5, "edits": [{"kind": "remove"}]}',
            "remove lacks 'gaussians'",
        ),
    ],
)
def test_a_file_that_is_no_edit_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "edits.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_edits(path, 5)
    assert str(path) in str(caught.value)


def test_numbers_of_a_damaged_edit_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "edits.json"
    write_edits(path, [Transform(some(5), scale=2.0)], 5)
    for wrong in ("3", "[1, 2]", '["a", 1, 2]', "[true, 1, 2]", "null"):
        record = json.loads(path.read_text())
        record["edits"][0]["translation"] = json.loads(wrong)
        other = tmp_path / "wrong.json"
        other.write_text(json.dumps(record))
        with pytest.raises(ValueError, match="edit 1: translation of transform must be 3 number"):
            read_edits(other, 5)


def test_history_goes_back_and_forth_and_forgets_what_was_undone() -> None:
    history = History(0).push(1).push(2)
    assert history.undo().present == 1
    assert history.undo().undo().undo().present == 0
    assert history.undo().redo() == history
    assert history.undo().push(3).redo().present == 3
    assert history.undo().push(3).undo().present == 1
