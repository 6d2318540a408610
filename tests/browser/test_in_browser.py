"""Click, correct, edit, save and export in the browser, on a trained demo scene."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from playwright.sync_api import Browser
from viewer_page import TIMEOUT_S, ViewerPage, same_mask, wait_until

from click_gaussian_ns.edit.record import edits_path, read_edits
from click_gaussian_ns.method.pipeline import ClickGaussianPipeline
from click_gaussian_ns.splats.ply import read_ply
from click_gaussian_ns.splats.subset import select


def test_click_highlights_and_history(page: ViewerPage) -> None:
    (first, x, y), (second, x2, y2) = page.clickable(2)
    before = page.color_at(x, y)
    page.click_pixel(x, y)
    assert same_mask(page.session, page.headless(x, y))
    assert page.session.work.cluster_ids == (first,)
    assert " ms)" in page.message
    wait_until(lambda: np.abs(page.color_at(x, y) - before).max() > 15, "the highlight in the picture")
    page.choose("Mode", "add")
    page.click_pixel(x2, y2)
    both = page.headless(x, y).mask | page.headless(x2, y2).mask
    assert torch.equal(page.session.selected(), both)
    page.choose("Mode", "remove")
    page.click_pixel(x, y)
    assert page.session.work.cluster_ids == (second,)
    page.press("Undo")
    assert torch.equal(page.session.selected(), both)
    page.press("Redo")
    assert page.session.work.cluster_ids == (second,)
    page.choose("Mode", "set")
    page.choose("Level", "fine")
    page.click_pixel(x, y)
    fine = page.headless(x, y)
    assert fine.level == "fine" and same_mask(page.session, fine)


def test_wider_and_narrower_walk_from_a_part_to_its_object(page: ViewerPage) -> None:
    fine = page.pipeline.model.levels[1]
    places = page.clickable(2)
    page.choose("Level", "fine")
    for _, x, y in places:
        page.click_pixel(x, y)
        part = page.session.selected()
        assert same_mask(page.session, page.headless(x, y, fine))
        page.press("Wider")
        wider = page.session.selected()
        assert int((part & wider).sum()) > 0.8 * int(part.sum()), "levels divide border Gaussians each for itself"
        assert not torch.equal(part, wider)
        page.press("Narrower")
        assert torch.equal(page.session.selected(), part)
        page.press("Undo")
        assert torch.equal(page.session.selected(), wider)
    # a slider's own input is hidden; the number beside it can be typed
    size = page.page.locator("xpath=//label[normalize-space()='Size']/following::input[not(@type='hidden')][1]")
    size.fill("1")
    size.press("Enter")
    wait_until(lambda: int(page.session.selected().sum()) > int(wider.sum()), "everything to be selected")


def test_not_this_takes_a_part_away(page: ViewerPage) -> None:
    coarse, fine = page.pipeline.model.levels
    places = page.covered(30, np.random.default_rng(3))
    hits = [(page.headless(*p, coarse).cluster_ids, page.headless(*p, fine).cluster_ids) for p in places]
    pairs = [
        (i, j) for i, (a, part) in enumerate(hits) for j, (b, other) in enumerate(hits) if a == b and part != other
    ]
    assert pairs, "no object shows two parts"
    (x, y), there = places[pairs[0][0]], places[pairs[0][1]]
    whole = page.headless(x, y, coarse)
    page.click_pixel(x, y)
    assert same_mask(page.session, whole)
    page.choose("Mode", "not this")
    page.click_pixel(*there)
    without = page.headless(x, y, coarse, negative=there)
    assert same_mask(page.session, without)
    assert 0 < without.num_selected < whole.num_selected


def test_a_rectangle_selects_what_is_in_it(page: ViewerPage) -> None:
    view, means = page.view, page.pipeline.model.splats.means
    low, high = (0.4 * view.width, 0.4 * view.height), (0.6 * view.width, 0.6 * view.height)
    camera = means @ view.viewmat[:3, :3].float().T + view.viewmat[:3, 3].float()
    x, y, z = (camera @ view.K.float().T).unbind(dim=1)
    x, y = x / z, y / z

    def inside(margin: float) -> torch.Tensor:
        across = (x > low[0] - margin) & (x < high[0] + margin)
        return (z > 0) & across & (y > low[1] - margin) & (y < high[1] + margin)

    page.hit(page.bar.get_by_role("button", name="Rectangle", exact=True))
    page.drag(low, high)
    chosen = page.session.selected()
    # the mouse is exact to a CSS pixel
    margin = 2 * view.width / page.area["width"]
    assert bool((inside(-margin) <= chosen).all()) and bool((chosen <= inside(margin)).all())
    assert 0 < int(chosen.sum()) < means.shape[0]


def test_deleting_and_moving_shows_in_the_picture_and_in_exports(page: ViewerPage) -> None:
    (cluster, x, y), *_ = [c for c in page.clickable(2) if c[0] != page.session.objects()[0][0]]
    base, labels = page.pipeline.model.splats, page.pipeline.model.clusters["coarse"].labels
    before = page.color_at(x, y)
    page.click_pixel(x, y)
    page.press("Delete")
    wait_until(lambda: np.abs(page.color_at(x, y) - before).max() > 15, "the object to go from the picture")
    page.press("Undo")
    page.press("Clear")
    wait_until(lambda: np.abs(page.color_at(x, y) - before).max() < 10, "the object to come back")
    page.click_pixel(x, y)
    page.hit(page.page.get_by_label("Gizmo", exact=True))
    page.field("Translation").fill("0.25")
    page.field("Translation").press("Enter")
    wait_until(lambda: page.session.is_previewing, "the preview")
    page.press("Apply")
    # the preview's own answer may come after the button was pressed
    wait_until(lambda: page.session.work.edits and not page.session.is_previewing, "the move")
    page.hit(page.page.get_by_label("Gizmo", exact=True))
    chosen = page.session.selected()
    moved = page.session.scene.splats.means[chosen]
    assert torch.equal(chosen, (labels == cluster) & (base.opacity_logits >= -5.5373))
    torch.testing.assert_close(moved, base.means[chosen] + torch.tensor([0.25, 0.0, 0.0]), rtol=0, atol=1e-6)
    page.write("Name", "moved one")
    page.press("Save selection")
    page.write("File name", "moved")
    page.press("Export file")
    assert "exported to" in page.message
    exported, _ = read_ply(page.control.run_dir / "exports" / "moved.ply")
    assert torch.equal(exported.means, moved)
    assert torch.equal(exported.opacity_logits, select(base, chosen).opacity_logits)
    edits = edits_path(page.control.run_dir)
    assert [edit.kind for edit in read_edits(edits, base.num_gaussians)] == ["transform"]
    assert (page.control.run_dir / "selections" / "moved one" / "selection.npy").is_file()


def test_random_clicks_equal_the_headless_command(page: ViewerPage) -> None:
    rng = np.random.default_rng(0)
    view, agreed = page.view, 0
    for turn, (x, y) in enumerate([*page.covered(18, rng), (5.0, 5.0), (view.width - 5.0, 9.0)]):
        if turn == 9:
            page.choose("Level", "fine")
        before = page.session.selected()
        try:
            expected = page.headless(x, y)
        except ValueError:
            expected = None
        page.click_pixel(x, y)
        if expected is None:
            assert "Nothing here" in page.message
            assert torch.equal(page.session.selected(), before)
        else:
            assert same_mask(page.session, expected), f"click {turn} at {x:.2f}, {y:.2f}"
            agreed += 1
    assert agreed >= 12


@pytest.mark.parametrize("label", ["Name", "File name"])
def test_bad_names_are_refused_in_the_panel(page: ViewerPage, label: str) -> None:
    (_, x, y), *_ = page.clickable(1)
    page.click_pixel(x, y)
    button = "Save selection" if label == "Name" else "Export file"
    root = page.control.run_dir.parents[3]
    before = {path for path in root.rglob("*")}
    for name in ("../../up", "/tmp/absolute", "", "x" * 10_000, "duck 🦆"):
        page.write(label, name)
        page.press(button)
        assert page.message.startswith("⚠"), name[:20]
        assert re.search("cannot name a selection", page.message), name[:20]
    assert {path for path in root.rglob("*")} == before
    page.write(label, "a name")
    page.press(button)
    page.press(button)
    assert "exists already" in page.message


def test_two_browsers_click_with_their_own_cameras(
    page: ViewerPage, browser: Browser, viewer: tuple[ClickGaussianPipeline, str]
) -> None:
    other = ViewerPage(browser, *viewer)
    try:
        other.look_from((0.9, 0.6, 0.8))
        (_, x, y), *_ = page.clickable(1)
        (_, x2, y2), *_ = other.clickable(1)
        assert not torch.equal(page.view.viewmat, other.view.viewmat)
        page.click_pixel(x, y)
        assert same_mask(page.session, page.headless(x, y))
        other.click_pixel(x2, y2)
        assert same_mask(page.session, other.headless(x2, y2))
    finally:
        other.page.close()
    wait_until(lambda: len(page.control.viser_server.get_clients()) == 1, f"the browser to leave in {TIMEOUT_S} s")


def test_an_object_is_selected_and_hidden_by_its_name(page: ViewerPage) -> None:
    cluster, _ = page.session.objects()[0]
    page.hit(page.bar.get_by_role("button", name="Objects"))
    page.press(f"Object {cluster}")
    assert page.session.work.cluster_ids == (cluster,)
    page.press(f"Hide Object {cluster}")
    assert ("coarse", cluster) in page.session.settings.book.hidden
    assert page.session.outcome().num_selected == 0
    page.press(f"Show Object {cluster}")
    assert not page.session.settings.book.hidden
    page.hit(page.bar.get_by_role("button", name="Objects"))
