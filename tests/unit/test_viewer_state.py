"""The click tool without a browser: clicks, modes, edits, history (a soak is in tests/e2e)."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path

import pytest
import torch
from click_scene import OBJECTS, PER_PART, SmallHost, front_view, pixel_of
from splats_factory import assert_identical

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.selection.pick import pick
from click_gaussian_ns.types import Click
from click_gaussian_ns.viewer.book import ObjectBook
from click_gaussian_ns.viewer.session import Session

VIEW = front_view()
LEFT, RIGHT, BEHIND = (pixel_of(VIEW, center) for center in OBJECTS)
LEFT_LOWER = pixel_of(VIEW, (OBJECTS[0][0], 0.15, 0.0))
LEFT_UPPER = pixel_of(VIEW, (OBJECTS[0][0], -0.15, 0.0))
PER_OBJECT = 2 * PER_PART


@pytest.fixture
def host(tmp_path: Path) -> SmallHost:
    return SmallHost(tmp_path)


@pytest.fixture
def session(host: SmallHost) -> Session:
    return Session(host)


def selected_objects(session: Session) -> dict[int, int]:
    """How many Gaussians of each object are selected."""
    rows = session.selected().nonzero()[:, 0]
    objects = session.host.clusters["coarse"].labels[session.scene.source_ids[rows].long()]
    return {int(i): int((objects == i).sum()) for i in objects.unique()}


def test_a_click_equals_the_headless_pick(session: Session, host: SmallHost) -> None:
    prepared = rasterize.prepare(host.splats, VIEW)
    for level in host.levels:
        session.change(level=level.name)
        for pixel in (LEFT_LOWER, LEFT_UPPER, RIGHT, BEHIND):
            outcome = session.click(VIEW, *pixel)
            expected = pick(prepared, host.features, level, host.clusters, [Click(*pixel)])
            assert torch.equal(session.selected(), expected.mask)
            assert outcome.cluster_ids == expected.cluster_ids
            assert outcome.num_selected == expected.num_selected == (PER_OBJECT if level.name == "coarse" else PER_PART)


def test_modes_combine_and_track_their_clusters(session: Session) -> None:
    session.click(VIEW, *LEFT)
    assert session.click(VIEW, *RIGHT, mode="add").cluster_ids == (0, 1)
    assert selected_objects(session) == {0: PER_OBJECT, 1: PER_OBJECT}
    assert session.click(VIEW, *LEFT, mode="remove").cluster_ids == (1,)
    assert selected_objects(session) == {1: PER_OBJECT}
    session.click(VIEW, *BEHIND, mode="add")
    assert session.click(VIEW, *BEHIND, mode="intersect").cluster_ids == (2,)
    assert selected_objects(session) == {2: PER_OBJECT}
    assert session.click(VIEW, *LEFT).cluster_ids == (0,)


def test_not_this_dominates_also_what_is_added_later(session: Session) -> None:
    session.click(VIEW, *LEFT_LOWER)
    outcome = session.click(VIEW, *LEFT_UPPER, mode="not this")
    assert outcome.num_selected == PER_PART
    session.click(VIEW, *RIGHT, mode="add")
    session.click(VIEW, *LEFT_LOWER, mode="add")
    assert selected_objects(session) == {0: PER_PART, 1: PER_OBJECT}
    assert session.click(VIEW, *LEFT_LOWER).num_selected == PER_OBJECT


def test_not_this_without_a_selection_is_refused(session: Session) -> None:
    with pytest.raises(ValueError, match="select something first"):
        session.click(VIEW, *LEFT, mode="not this")


def test_a_click_on_nothing_changes_nothing(session: Session) -> None:
    session.click(VIEW, *LEFT)
    with pytest.raises(ValueError, match="Nothing here"):
        session.click(VIEW, 1.0, 1.0)
    assert selected_objects(session) == {0: PER_OBJECT}
    assert session.can_undo == 1


def test_before_clusters_exist_a_click_says_so(tmp_path: Path) -> None:
    session = Session(SmallHost(tmp_path, with_clusters=False))
    assert not session.has_clusters
    assert session.objects() == []
    with pytest.raises(ValueError, match="no objects to click yet"):
        session.click(VIEW, *LEFT)
    session.host.compute_clusters()
    assert session.click(VIEW, *LEFT).num_selected == PER_OBJECT


def test_rectangles_through_the_scene_or_on_its_surface(session: Session) -> None:
    low, high = (LEFT[0] - 18, LEFT[1] - 18), (LEFT[0] + 18, LEFT[1] + 18)
    assert session.region(VIEW, (low, high)).num_selected == PER_OBJECT
    session.change(front_only=True)
    seen = session.region(VIEW, (low, high))
    inside = selected_objects(session)
    assert 0 < inside[0] < PER_OBJECT
    assert seen.num_selected - inside[0] < 20  # what reaches in from its neighbours
    session.change(mode="remove")
    session.region(VIEW, (low, high))
    assert session.outcome().num_selected == 0


def test_front_only_clicks_leave_the_back_alone(session: Session) -> None:
    whole = session.click(VIEW, *LEFT).num_selected
    session.change(front_only=True)
    front = session.click(VIEW, *LEFT).num_selected
    assert 0 < front < whole


def test_confidence_filters_without_forgetting(session: Session, host: SmallHost) -> None:
    host.confidence[: PER_OBJECT // 3] = 0.1
    session.click(VIEW, *LEFT)
    assert session.change(min_confidence=0.5).num_selected == PER_OBJECT - PER_OBJECT // 3
    assert session.change(min_confidence=0.0).num_selected == PER_OBJECT


def test_refinements(session: Session) -> None:
    session.change(level="fine")
    session.click(VIEW, *LEFT_LOWER)
    session.change(level="coarse", similarity=0.95)
    shrunk = session.shrink().num_selected
    assert 0 < shrunk < PER_PART
    assert session.grow().num_selected > shrunk
    assert session.grow_similar().num_selected == PER_OBJECT
    session.click(VIEW, *LEFT)
    assert session.invert().num_selected == 2 * PER_OBJECT
    session.change(mode="remove")
    session.select_object(1)
    assert selected_objects(session) == {2: PER_OBJECT}
    assert session.select_all().num_selected == 3 * PER_OBJECT
    assert session.keep_largest().num_selected == PER_OBJECT
    assert session.clear().num_selected == 0


def test_hidden_objects_are_neither_drawn_nor_edited(session: Session, host: SmallHost) -> None:
    session.change(book=ObjectBook(hidden=frozenset({("coarse", 0)})))
    assert float(rasterize.render(host.prepared(VIEW)).alpha[int(LEFT[1]), int(LEFT[0])]) < 0.1
    session.select_all()
    assert selected_objects(session) == {1: PER_OBJECT, 2: PER_OBJECT}
    session.duplicate((0.0, 5.0, 0.0))
    assert session.scene.num_gaussians == 5 * PER_OBJECT


def test_an_outcome_names_a_time_only_where_one_was_taken(session: Session) -> None:
    assert str(session.select_object(0)).endswith(" ms)")
    assert str(session.change(mode="add")) == f"{PER_OBJECT} Gaussians, coarse 0"


def test_objects_are_switched_one_by_one(session: Session) -> None:
    session.switch_object("coarse", 0, show=False)
    session.switch_object("fine", 2, show=False)
    assert session.settings.book.hidden == {("coarse", 0), ("fine", 2)}
    session.switch_object("coarse", 0, show=True)
    assert session.settings.book.hidden == {("fine", 2)}


def test_switches_that_overlap_are_not_lost(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    change = session.change

    def slow(**settings: object) -> object:
        time.sleep(0.05)  # between reading what is hidden and changing it
        return change(**settings)

    monkeypatch.setattr(session, "change", slow)
    switches = [threading.Thread(target=session.switch_object, args=("coarse", i, False)) for i in range(3)]
    for thread in switches:
        thread.start()
    for thread in switches:
        thread.join()
    assert session.settings.book.hidden == {("coarse", 0), ("coarse", 1), ("coarse", 2)}


@pytest.mark.parametrize("cluster", [-1, 3])
def test_an_object_of_an_older_list_is_refused(session: Session, cluster: int) -> None:
    with pytest.raises(ValueError, match=f"no object {cluster} at the coarse level, which has 3"):
        session.select_object(cluster)


def test_highlights(session: Session, host: SmallHost) -> None:
    def alpha(pixel: tuple[float, float]) -> float:
        return float(rasterize.render(host.prepared(VIEW)).alpha[int(pixel[1]), int(pixel[0])])

    session.click(VIEW, *LEFT)
    assert host.display is not None and host.display.splats is host.splats
    assert torch.equal(host.display.tint, session.selected())
    session.change(highlight="only")
    assert host.display.tint is None
    assert alpha(LEFT) > 0.9 and alpha(RIGHT) < 0.1
    session.change(highlight="hidden")
    assert alpha(LEFT) < 0.1 and alpha(RIGHT) > 0.9
    session.change(highlight="off")
    assert alpha(LEFT) > 0.9 and alpha(RIGHT) > 0.9 and host.display.tint is None
    session.change(highlight="only")
    session.clear()
    assert alpha(LEFT) > 0.9


def test_what_is_shown_is_handed_over_under_the_hosts_lock(
    session: Session, host: SmallHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []
    monkeypatch.setattr(host, "show", lambda display: held.append(host.lock.locked()))
    session.click(VIEW, *LEFT)
    session.change(highlight="only")
    session.region(VIEW, (LEFT, RIGHT))
    assert held == [True] * 3 and not host.lock.locked()


def test_a_click_keeps_the_prepared_view(session: Session, host: SmallHost) -> None:
    before = host.prepared(VIEW)
    session.click(VIEW, *LEFT)
    session.click(VIEW, *RIGHT, mode="add")
    assert host.prepared(VIEW) is before
    session.remove()
    assert host.prepared(VIEW) is not before


def test_an_edited_object_is_clicked_where_it_is_now(session: Session) -> None:
    session.click(VIEW, *LEFT)
    session.transform((0.0, 0.9, 0.0))
    moved = pixel_of(VIEW, (OBJECTS[0][0], 0.9, 0.0))
    with pytest.raises(ValueError, match="Nothing here"):
        session.click(VIEW, LEFT[0], LEFT[1])
    assert session.click(VIEW, *moved).cluster_ids == (0,)
    session.duplicate((1.2, 0.0, 0.0))
    assert session.outcome().num_selected == PER_OBJECT
    session.remove()
    assert session.select_all().num_selected == 3 * PER_OBJECT


def test_a_copy_is_of_its_cluster_too(session: Session) -> None:
    session.click(VIEW, *LEFT)
    session.duplicate((0.0, 0.9, 0.0))
    assert session.objects()[0] == (0, 2 * PER_OBJECT)
    copy = pixel_of(VIEW, (OBJECTS[0][0], 0.9, 0.0))
    session.change(level="fine")
    assert session.click(VIEW, *copy).num_selected in (2 * PER_PART,)
    assert session.click(VIEW, *LEFT_LOWER).num_selected == 2 * PER_PART


def test_undo_and_redo_restore_selection_and_scene(session: Session, host: SmallHost) -> None:
    session.click(VIEW, *LEFT)
    session.transform((0.1, 0.0, 0.0), (0.9, 0.1, 0.0, 0.0), 1.5)
    session.recolor((1.0, 0.0, 0.0), 0.5)
    session.duplicate((0.0, 0.5, 0.0))
    session.remove()
    after = session.scene
    for _ in range(5):
        session.undo()
    assert_identical(session.scene.splats, host.splats)
    assert session.outcome().num_selected == 0
    session.redo()
    assert selected_objects(session) == {0: PER_OBJECT}
    for _ in range(4):
        session.redo()
    assert_identical(session.scene.splats, after.splats)
    assert torch.equal(session.scene.alive, after.alive)
    assert not session.can_redo


def test_a_preview_is_drawn_but_not_made(session: Session, host: SmallHost) -> None:
    session.click(VIEW, *LEFT)
    session.preview((0.0, 0.9, 0.0), (1.0, 0.0, 0.0, 0.0), 1.0, (0.0, 0.0, 0.0))
    assert host.display is not None and host.display.splats is not host.splats
    assert session.work.edits == ()
    session.end_preview()
    assert_identical(host.display.splats, host.splats)


def test_edits_need_a_selection(session: Session) -> None:
    for operation in (session.remove, session.isolate, session.duplicate, lambda: session.transform((1.0, 0.0, 0.0))):
        with pytest.raises(ValueError, match="nothing is selected"):
            operation()
    assert session.can_undo == 0


def test_geometry_that_arrives_later_starts_anew(session: Session, host: SmallHost) -> None:
    session.click(VIEW, *LEFT)
    host.splats = dataclasses.replace(host.splats)
    host.display = None
    assert session.outcome().num_selected == 0
    assert not session.can_undo


def test_a_click_is_widened_and_narrowed(session: Session, host: SmallHost) -> None:
    session.change(level="fine")
    session.click(VIEW, *LEFT)
    counts = [session.outcome().num_selected]
    for _ in range(4):
        counts.append(session.wider().num_selected)
    assert counts == [150, 300, 600, 900, 900], "part, object, group, everything, and no further"
    assert [session.narrower().num_selected for _ in range(4)] == [600, 300, 150, 150]
    assert [session.to_granularity(g).num_selected for g in (1.0, 0.6, 0.2)] == [900, 300, 150]
    assert session.outcome().level == "fine"
    assert session.undo().num_selected == 300 and session.wider().num_selected == 600, "the history keeps the path"


def test_only_a_single_click_is_widened(session: Session, host: SmallHost) -> None:
    for not_a_click in (
        lambda: None,
        session.select_all,
        lambda: session.click(VIEW, *RIGHT, mode="add"),
        lambda: session.select_object(1),
    ):
        session.click(VIEW, *LEFT)
        assert session.wider().num_selected
        session.clear()
        not_a_click()
        with pytest.raises(ValueError, match="click one thing first"):
            session.wider()


def test_a_tree_that_was_made_anew_is_not_walked(session: Session, host: SmallHost) -> None:
    session.click(VIEW, *LEFT)
    assert host.tree is not None
    host._tree = dataclasses.replace(host.tree, parents=host.tree.parents.clone())
    with pytest.raises(ValueError, match="made anew: click again"):
        session.wider()
    session.click(VIEW, *LEFT)
    assert session.wider().num_selected == 600


def test_a_widened_click_leaves_out_what_is_hidden(session: Session) -> None:
    session.switch_object("coarse", 1, show=False)
    session.click(VIEW, *LEFT)
    assert session.wider().num_selected == 300


def test_a_move_that_is_shown_is_one_step(session: Session) -> None:
    """It was dropped by undo, together with the selection, and redo brought back the selection alone."""
    session.click(VIEW, *LEFT)
    session.preview((0.0, 0.9, 0.0), (1.0, 0.0, 0.0, 0.0), 1.0, (0.0, 0.0, 0.0))
    assert session.undo().cluster_ids == (0,) and not session.work.edits and not session.is_previewing
    assert session.redo().cluster_ids == (0,) and len(session.work.edits) == 1
    session.preview((0.0, 0.1, 0.0), (1.0, 0.0, 0.0, 0.0), 1.0, (0.0, 0.0, 0.0))
    session.click(VIEW, *RIGHT)
    assert len(session.work.edits) == 2 and session.work.cluster_ids == (1,)
    session.preview((0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), 1.0, (0.0, 0.0, 0.0))
    assert not session.is_previewing, "no move is none"


def test_new_clusters_take_numbers_and_keep_names(session: Session, host: SmallHost) -> None:
    session.clusters_changed()
    session.rename_object("coarse", 0, "mug")
    session.lock_object("coarse", 2, lock=True)
    assert session.click(VIEW, *LEFT).title == "mug"
    chosen = session.selected()
    host._labels["coarse"] = (host._labels["coarse"] + 1) % 3
    assert session.clusters_changed() and not session.clusters_changed()
    outcome = session.outcome()
    assert outcome.cluster_ids == () and outcome.title == "A selection"
    assert torch.equal(session.selected(), chosen)
    assert session.settings.book.name("coarse", 1) == "mug" and session.settings.book.locked == {("coarse", 0)}
    with pytest.raises(ValueError, match="locked"):
        session.select_object(0)


def test_a_lasso_selects_what_is_inside(session: Session) -> None:
    x, y = LEFT
    around = [(x - 18, y - 18), (x + 18, y - 18), (x + 18, y + 18), (x - 18, y + 18)]
    assert session.region(VIEW, around).num_selected == PER_OBJECT
    assert (
        session.region(VIEW, [(x - 18, y - 18), (x - 17, y - 18), (x - 18, y - 17)], "add").num_selected == PER_OBJECT
    )
