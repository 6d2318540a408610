"""The viewer by pointer and keys alone, as a person uses it."""

from __future__ import annotations

import numpy as np
import torch
from playwright.sync_api import expect
from viewer_page import EYE, ViewerPage, wait_until

from click_gaussian_ns.viewer.book import OBJECTS_FILE


def expect_title(page: ViewerPage, title: str) -> None:
    """What the picture's bar says is selected."""
    expect(page.page.get_by_label("Selected")).to_have_text(title)


def test_a_drag_orbits_and_is_no_click(page: ViewerPage) -> None:
    (cluster, x, y), *_ = page.clickable(1)
    page.click_pixel(x, y)
    assert page.session.work.cluster_ids == (cluster,)
    told, before = page.told_of, page.view.viewmat.clone()
    mouse, (left, top) = page.page.mouse, (page.area["x"] + 60, page.area["y"] + 60)
    for button in ("left", "right"):
        mouse.move(left, top)
        mouse.down(button=button)
        mouse.move(left + 70, top + 25, steps=5)
        mouse.up(button=button)
        wait_until(lambda before=before: not torch.equal(page.view.viewmat, before), "the camera to move")
        before = page.view.viewmat.clone()
    page.look_from(EYE)
    assert page.told_of == told and page.session.work.cluster_ids == (cluster,)


def test_keys_held_with_a_click_add_take_away_and_undo(page: ViewerPage) -> None:
    (first, x, y), (second, x2, y2) = page.clickable(2)
    page.click_pixel(x, y)
    page.click_pixel(x2, y2, "Shift")
    assert set(page.session.work.cluster_ids) == {first, second}
    page.click_pixel(x, y, "Control")
    assert page.session.work.cluster_ids == (second,)
    page.key("Control+z")
    assert set(page.session.work.cluster_ids) == {first, second}
    page.key("Control+Shift+Z")
    assert page.session.work.cluster_ids == (second,)
    expect_title(page, f"Object {second}")
    page.key("Escape")
    expect_title(page, "Nothing selected")
    assert not page.session.selected().any()


def test_double_click_takes_the_whole_object_and_brackets_walk(page: ViewerPage) -> None:
    (cluster, x, y), *_ = page.clickable(1)
    page.choose("Level", "fine")
    told = page.told_of
    on_x, on_y = page.on_screen(x, y)
    page.page.mouse.dblclick(page.area["x"] + on_x, page.area["y"] + on_y)
    wait_until(lambda: page.told_of >= told + 2, "both clicks to be answered")
    assert (page.session.work.level, page.session.work.cluster_ids) == ("coarse", (cluster,))
    whole = page.session.outcome().num_selected
    page.key("[")
    assert page.session.work.level == "fine" and page.session.outcome().num_selected < whole
    page.key("]")
    assert page.session.outcome().num_selected == whole


def test_a_gizmo_drag_over_another_object_moves_and_selects_nothing_else(page: ViewerPage) -> None:
    """It selected what was under the pointer at its end, and threw the move away."""
    (cluster, x, y), *_ = page.clickable(1)
    page.click_pixel(x, y)
    start, _ = handle_of_gizmo(page)
    before = page.color_in_window(start)
    page.key("1")
    for tool in ("v", "r"):  # a rectangle was drawn meanwhile, too
        page.page.keyboard.press(tool)
        wait_until(lambda at=start: np.abs(page.color_in_window(at) - before).max() > 40, "the gizmo over the object")
        start, end = handle_of_gizmo(page)
        told = page.told_of
        page.pull(start, end)
        wait_until(lambda: page.session.is_previewing, "the gizmo to move the object")
        assert page.told_of == told and page.session.work.cluster_ids == (cluster,)
        page.key("Control+z")
        assert not page.session.work.edits and page.session.work.cluster_ids == (cluster,)
        page.key("Control+Shift+Z")
        assert [edit.kind for edit in page.session.work.edits] == ["transform"]
        page.key("Control+z")
    page.key("1")


def handle_of_gizmo(page: ViewerPage) -> tuple[tuple[float, float], tuple[float, float]]:
    """A place on the gizmo's arrow along x, and one farther out, in the window."""
    session = page.session
    center, size = np.array(session.center()), 1.3 * session.radius()
    view = page.view
    places = []
    for reach in (0.7, 1.6):
        camera = view.viewmat.numpy() @ np.array([*(center + np.array([reach * size, 0, 0])), 1.0])
        u, v, w = view.K.numpy() @ camera[:3]
        on_x, on_y = page.on_screen(u / w, v / w)
        places.append((page.area["x"] + on_x, page.area["y"] + on_y))
    return places[0], places[1]


def test_what_is_typed_is_what_is_exported_and_undone(page: ViewerPage) -> None:
    """A move that was typed and not applied was neither exported nor one step of undo."""
    (cluster, x, y), *_ = page.clickable(1)
    page.click_pixel(x, y)
    page.field("Translation").fill("0.25")
    page.field("Translation").press("Enter")
    wait_until(lambda: page.session.is_previewing, "the preview")
    page.page.locator("canvas[data-engine]").focus()
    page.page.evaluate("document.activeElement.blur()")
    page.key("Control+z")
    assert page.session.work.cluster_ids == (cluster,) and not page.session.is_previewing
    page.key("Control+Shift+Z")
    assert page.session.work.edits[0].translation[0] == 0.25  # pyright: ignore


def test_the_first_view_shows_the_scene_and_photos_can_be_walked(page: ViewerPage) -> None:
    page.key("Home")
    page.settled()
    assert (page.prepared().view.height > 0) and len(page.covered(50, np.random.default_rng(0))) > 30
    first = page.view.viewmat.clone()
    photos = [view.viewmat for view in page.control.photos]
    assert any(torch.allclose(first.double(), photo.double(), atol=1e-3) for photo in photos)
    page.key(".")
    page.settled()
    assert not torch.allclose(page.view.viewmat, first, atol=1e-3)
    page.key(",")
    wait_until(lambda: torch.allclose(page.view.viewmat, first, atol=1e-3), "the first photo's view")
    (_, x, y), *_ = page.clickable(1)
    page.click_pixel(x, y)
    page.key("f")
    page.settled()
    center = page.view.viewmat.float() @ torch.tensor([*page.session.center(), 1.0])
    assert abs(float(center[0] / center[2])) < 0.1, "the selection is in the middle"
    page.look_from(EYE)


def test_objects_are_renamed_hidden_and_locked_in_their_list(page: ViewerPage) -> None:
    """Hidden objects came back when the level changed, and had no names."""
    (cluster, *_), *_ = page.clickable(1)
    page.hit(page.bar.get_by_role("button", name="Objects"))
    rows = page.page.get_by_role("region", name="Objects")
    page.hit(rows.get_by_role("button", name=f"Rename Object {cluster}", exact=True))
    field = rows.get_by_label(f"New name of Object {cluster}")
    before = page.view.viewmat.clone()
    told = page.told_of
    field.fill("杯子 <b>mug</b>")
    field.press("w")  # viser moves the camera by it elsewhere
    field.fill("杯子 <b>mug</b>")
    field.press("Enter")
    wait_until(lambda: page.told_of != told, "the new name")
    assert torch.equal(page.view.viewmat, before), "typing moves nothing"
    expect(rows.get_by_role("button", name="杯子 <b>mug</b>", exact=True)).to_be_attached()
    page.press("杯子 <b>mug</b>")
    expect_title(page, "杯子 <b>mug</b>")
    page.press("Lock 杯子 <b>mug</b>")
    page.key("Escape")
    page.press("杯子 <b>mug</b>")
    assert "locked" in page.message and not page.session.selected().any()
    page.press("Unlock 杯子 <b>mug</b>")
    page.press("Hide 杯子 <b>mug</b>")
    page.choose("Level", "fine")
    page.choose("Level", "coarse")
    assert ("coarse", cluster) in page.session.settings.book.hidden
    assert "杯子" in (page.control.run_dir / OBJECTS_FILE).read_text(encoding="utf8")
    page.press("Show all")
    assert not page.session.settings.book.hidden
    page.hit(page.bar.get_by_role("button", name="Objects"))


def test_cameras_are_out_of_the_way_and_their_button_says_so(page: ViewerPage) -> None:
    show = page.page.get_by_role("button", name="Show Train Cams")
    expect(show).to_be_visible()
    assert not any(handle.visible for handle in page.control.viewer.camera_handles.values())
