"""What the click tool writes, and what it refuses to."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click_scene import OBJECTS, PER_PART, SmallHost, front_view, pixel_of
from splats_factory import assert_identical

from click_gaussian_ns.edit.record import edits_path, read_edits
from click_gaussian_ns.splats.ply import read_ply
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.viewer import files
from click_gaussian_ns.viewer.session import Session
from click_gaussian_ns.viewer.widgets import plain

VIEW = front_view()
LEFT = pixel_of(VIEW, OBJECTS[0])
BAD_NAMES = [
    *["", " ", ".", "..", "../up", "a/b", "/etc/passwd", "\\\\share", "C:\\x", "a\0b", "a\nb", "x" * 10_000, "-rf"],
    *["🦆", "~", "$HOME", "a;b", "name.", " name", "name ", "con|in", "%2e%2e", "\u202etxt"],
]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    session = Session(SmallHost(run_dir))
    session.click(VIEW, *LEFT)
    return session


def everything_under(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_save_load_delete(session: Session) -> None:
    before = session.selected()
    assert "300 Gaussians" in files.save(session, "left one")
    session.clear()
    outcome = files.load(session, "left one")
    assert outcome.cluster_ids == (0,) and torch.equal(session.selected(), before)
    with pytest.raises(ValueError, match="exists already"):
        files.save(session, "left one")
    files.delete(session, "left one")
    with pytest.raises(ValueError, match="no saved selection"):
        files.delete(session, "left one")
    with pytest.raises(ValueError, match="holds no selection"):
        files.load(session, "left one")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_names_write_nothing(session: Session, tmp_path: Path, name: str) -> None:
    before = everything_under(tmp_path)
    for operation in (
        lambda: files.save(session, name),
        lambda: files.load(session, name),
        lambda: files.delete(session, name),
        *[lambda what=what: files.export(session, what, name) for what in files.WHAT],
    ):
        with pytest.raises(ValueError, match="cannot name a selection") as caught:
            operation()
        assert len(str(caught.value)) < 300
    assert everything_under(tmp_path) == before


def test_copies_cannot_be_saved_as_a_selection(session: Session) -> None:
    session.duplicate((0.0, 1.0, 0.0))
    with pytest.raises(ValueError, match="300 of the selected Gaussians are copies"):
        files.save(session, "copy")


def test_nothing_selected_is_refused(session: Session) -> None:
    session.clear()
    with pytest.raises(ValueError, match="nothing is selected"):
        files.save(session, "none")
    with pytest.raises(ValueError, match="nothing is selected"):
        files.export(session, "selection", "none")


def test_exports_apply_the_edits(session: Session, tmp_path: Path) -> None:
    host = session.host
    base, objects = host.splats, host.clusters["coarse"].labels
    session.transform((0.0, 1.0, 0.0))
    (path,) = files.export(session, "selection", "moved")
    assert path == tmp_path / "run" / "exports" / "moved.ply"
    moved = read_ply(path)[0]
    expected = select(base, objects == 0)
    torch.testing.assert_close(moved.means, expected.means + torch.tensor([0.0, 1.0, 0.0]))
    assert torch.equal(moved.sh, expected.sh)
    (path,) = files.export(session, "complement", "rest")
    assert_identical(read_ply(path)[0], select(base, objects != 0))
    session.remove()
    (path,) = files.export(session, "edited scene", "scene")
    assert_identical(read_ply(path)[0], select(base, objects != 0))
    written = files.export(session, "every object", "all")
    assert [p.name for p in written] == ["coarse_001.ply", "coarse_002.ply"]
    assert all(read_ply(p)[0].num_gaussians == 2 * PER_PART for p in written)
    assert {p.name for p in (tmp_path / "run" / "exports").iterdir()} == {"moved.ply", "rest.ply", "scene.ply", "all"}


def test_what_is_switched_off_is_not_exported(session: Session) -> None:
    session.rename_object("coarse", 1, "mug")
    session.switch_object("coarse", 0, show=False)
    (path,) = files.export(session, "edited scene", "seen")
    assert read_ply(path)[0].num_gaussians == 4 * PER_PART
    assert {p.name for p in files.export(session, "every object", "all")} == {"mug.ply", "coarse_002.ply"}


def test_a_move_that_is_shown_is_exported(session: Session) -> None:
    session.preview((0.0, 1.0, 0.0), (1.0, 0.0, 0.0, 0.0), 1.0, (0.0, 0.0, 0.0))
    (path,) = files.export(session, "selection", "moved")
    expected = select(session.host.splats, session.selected()).means + torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(read_ply(path)[0].means, expected)


def test_names_are_kept_with_the_run(session: Session) -> None:
    keeper = files.BookFile(session)
    keeper.update()
    session.rename_object("coarse", 1, "杯子")
    keeper.update()
    later = Session(SmallHost(session.host.run_dir))
    files.BookFile(later).restore()
    assert later.settings.book.name("coarse", 1) == "杯子"


def test_an_export_that_exists_is_not_overwritten(session: Session) -> None:
    (path,) = files.export(session, "selection", "one")
    content = path.read_bytes()
    session.transform((1.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="exists already"):
        files.export(session, "selection", "one")
    assert path.read_bytes() == content


def test_edits_are_kept_with_the_run_and_taken_up_again(session: Session) -> None:
    keeper = files.EditFile(session)
    keeper.update()
    assert not edits_path(session.host.run_dir).exists()
    session.transform((0.5, 0.0, 0.0))
    session.duplicate((0.0, 1.0, 0.0))
    keeper.update()
    assert list(read_edits(edits_path(session.host.run_dir), session.num_base)) == list(session.work.edits)
    later = Session(SmallHost(session.host.run_dir))
    assert "2 edits of an earlier session" in files.EditFile(later).restore()
    assert_identical(later.scene.splats, session.scene.splats)
    assert later.can_undo == 2, "each edit is a step"
    later.undo()
    assert list(later.work.edits) == list(session.work.edits[:1])
    later.undo()
    assert_identical(later.scene.splats, later.host.splats)


def test_an_edit_list_waits_for_geometry(session: Session) -> None:
    session.transform((0.5, 0.0, 0.0))
    files.EditFile(session).update()
    host = SmallHost(session.host.run_dir)
    loaded, host.splats = host.splats, select(host.splats, torch.zeros(host.splats.num_gaussians, dtype=torch.bool))
    later = Session(host)
    keeper = files.EditFile(later)
    with pytest.raises(ValueError, match="there is no geometry yet"):
        keeper.restore()
    assert edits_path(host.run_dir).is_file()
    host.splats = loaded
    assert "1 edits of an earlier session" in keeper.update()
    assert list(later.work.edits) == list(session.work.edits)


def test_edits_outlive_a_base_that_is_replaced(session: Session) -> None:
    """A checkpoint loads after the viewer has opened, and then the session begins anew."""
    session.transform((0.5, 0.0, 0.0))
    files.EditFile(session).update()
    host = SmallHost(session.host.run_dir)
    later = Session(host)
    keeper = files.EditFile(later)
    keeper.restore()
    host.splats = dataclasses.replace(host.splats)
    assert not later.work.edits
    assert "1 edits of an earlier session" in keeper.update()
    assert list(later.work.edits) == list(session.work.edits)
    assert list(read_edits(edits_path(host.run_dir), later.num_base)) == list(session.work.edits)
    assert not keeper.update()


def test_an_older_edit_list_is_never_written_last(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = files.EditFile(session)
    keeper.update()
    write, began, go_on = files.write_edits, threading.Event(), threading.Event()

    def slow_at_first(*args: Any) -> None:
        if not began.is_set():
            began.set()
            go_on.wait(1.0)
        write(*args)

    monkeypatch.setattr(files, "write_edits", slow_at_first)
    session.transform((0.5, 0.0, 0.0))
    first = threading.Thread(target=keeper.update)
    first.start()
    assert began.wait(10.0)
    session.transform((0.5, 0.0, 0.0))
    second = threading.Thread(target=keeper.update)
    second.start()
    second.join(0.3)
    go_on.set()
    first.join()
    second.join()
    assert len(read_edits(edits_path(session.host.run_dir), session.num_base)) == 2


def test_exports_of_one_name_that_overlap_do_not_mix(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    write, told = files.export_ply, []

    def slow(*args: Any) -> int:
        time.sleep(0.2)
        return write(*args)

    def click() -> None:
        try:
            told.append(str(files.export(session, "selection", "twice")[0]))
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")

    monkeypatch.setattr(files, "export_ply", slow)
    clicks = [threading.Thread(target=click) for _ in range(2)]
    for thread in clicks:
        thread.start()
    for thread in clicks:
        thread.join()
    exported = session.host.run_dir / "exports" / "twice.ply"
    assert sorted(told) == sorted([str(exported), "ValueError: 'twice.ply' exists already: choose another name"])
    assert [path.name for path in exported.parent.iterdir()] == ["twice.ply"]
    assert read_ply(exported)[0].num_gaussians == 2 * PER_PART


@pytest.mark.parametrize("content", ["garbage", "{}", '{"format": "click-gaussian edits"}'])
def test_an_edit_list_that_cannot_be_used_is_set_aside(session: Session, content: str) -> None:
    path = edits_path(session.host.run_dir)
    path.write_text(content)
    told = files.EditFile(session).restore()
    assert "renamed to edits.unusable.json" in told
    assert not path.exists()
    assert path.with_name("edits.unusable.json").read_text() == content
    path.write_text("another")
    assert "renamed to edits.unusable.2.json" in files.EditFile(session).restore()
    assert path.with_name("edits.unusable.json").read_text() == content


def test_what_the_panel_shows_is_plain_text() -> None:
    assert plain("<b>*x*</b>\n[a](b)") == "\\<b\\>\\*x\\*\\</b\\> \\[a\\](b)"
    assert len(plain("x" * 10_000)) == 400


def test_saved_ids_are_sorted_rows(session: Session) -> None:
    files.save(session, "left")
    ids = np.load(session.host.run_dir / "selections" / "left" / "selection.npy")
    assert ids.tolist() == list(range(2 * PER_PART))


@pytest.mark.parametrize("suffix", [".splat", ".spz"])
def test_other_formats_hold_the_same_gaussians(session: Session, suffix: str) -> None:
    (path,) = files.export(session, "selection", "small", suffix)
    assert path.name == f"small{suffix}" and path.stat().st_size > 0
    written = files.export(session, "every object", "all", suffix)
    assert [p.name for p in written] == [f"coarse_{i:03d}{suffix}" for i in range(3)]
    assert {p.name for p in path.parent.rglob("*") if p.is_file()} == {path.name, *(p.name for p in written)}
    with pytest.raises(ValueError, match="is no format to export"):
        files.export(session, "selection", "other", ".obj")


def test_a_saved_selection_has_a_config_for_the_stock_export(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    files.save(session, "with config")
    folder = session.host.run_dir / "selections"
    assert (folder / "with config" / "config.yml").is_file()

    for error in (ValueError("no config"), OSError(28, "no config: the disk is full")):

        def fail(_: Path, error: Exception = error) -> Path:
            raise error

        monkeypatch.setattr(session.host, "write_export_config", fail)
        with pytest.raises(type(error), match="no config"):
            files.save(session, "without")
        assert not (folder / "without").exists()
