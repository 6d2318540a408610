"""`click-gaussian segment` and `export` on a run that is open: what each flag reaches."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click_scene import OBJECTS, pixel_of
from small_run import FAINT, WORLD, run_for_shell, shifted, small_run
from splats_factory import assert_close, assert_identical

from click_gaussian_ns.edit.operations import Duplicate, Remove
from click_gaussian_ns.edit.record import write_edits
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.runs import commands
from click_gaussian_ns.runs.open_run import Run
from click_gaussian_ns.scenes.views import undistorted_view
from click_gaussian_ns.selection.packed import PackedMask
from click_gaussian_ns.selection.storage import read_selection, write_selection
from click_gaussian_ns.splats.ply import read_ply
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.splats.transforms import apply
from click_gaussian_ns.types import Click, Selection

BARREL = [-0.8, 0.0, 0.0, 0.0, 0.0, 0.0]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Photos from the front, from the side, and through a lens that moves the left object by more than its size."""
    cameras = {"a.png": shifted(0.0), "b.png": shifted(0.3), "lens.png": shifted(0.9, BARREL)}
    return run_for_shell(tmp_path / "run", monkeypatch, cameras)


def segment(run: Run, name: str, clicks: list[Click], level: str, camera: str = "a.png", **more: bool) -> torch.Tensor:
    """The mask that the command saved."""
    commands.segment_from_shell(run.run_dir / "config.yml", camera, clicks, level, name, (), **more)
    return read_selection(run.run_dir, name, run.splats.num_gaussians).mask


def at(run: Run, camera: str, lift: float = 0.0) -> Click:
    """A click on the left object, or a part of it, in a view without distortion."""
    x, y, z = OBJECTS[0]
    return Click(*pixel_of(run.view(camera).view, (x, y + lift, z)))


def visible(run: Run, level: str, cluster: int) -> torch.Tensor:
    return (run.clusters[level].labels == cluster) & (run.splats.opacity_logits > FAINT)


def test_a_click_selects_at_the_level_that_was_asked_for(run: Run) -> None:
    """The whole object or its part, and never what is too faint to be drawn."""
    for lift, part in ((-0.15, 0), (0.15, 1)):
        for level, cluster in (("coarse", 0), ("fine", part)):
            mask = segment(run, f"{level} {part}", [at(run, "a.png", lift)], level)
            assert torch.equal(mask, visible(run, level, cluster))
            account = json.loads((run.run_dir / "selections" / f"{level} {part}" / "selection.json").read_text())
            assert (account["level"], account["cluster_ids"]) == (level, [cluster])
    with pytest.raises(ValueError, match="--level middle: this run has the levels coarse, fine"):
        segment(run, "none", [at(run, "a.png")], "middle")


def test_a_negative_point_takes_its_part_away(run: Run) -> None:
    on, off = at(run, "a.png", 0.15), at(run, "a.png", -0.15)
    mask = segment(run, "lower", [on, Click(off.x_px, off.y_px, negative=True)], "coarse")
    assert torch.equal(mask, visible(run, "fine", 1))
    with pytest.raises(ValueError, match="at least one positive point"):
        segment(run, "nothing", [Click(off.x_px, off.y_px, negative=True)], "coarse")


def test_a_click_on_a_distorted_photo_is_on_the_photo(run: Run) -> None:
    source = undistorted_view(run.view("lens.png").camera)[1]
    seen = at(run, "lens.png")
    assert source is not None
    x, y = (float(v) + 0.5 for v in source[int(seen.y_px), int(seen.x_px), :2])
    assert np.hypot(x - seen.x_px, y - seen.y_px) > 10, "the lens moves the object by more than its half"
    assert torch.equal(segment(run, "through the lens", [Click(x, y)], "coarse", "lens.png"), visible(run, "coarse", 0))


def test_a_saved_selection_is_replaced_only_if_asked(run: Run) -> None:
    first = segment(run, "mine", [at(run, "a.png")], "coarse")
    (run.run_dir / "selections" / "mine" / "note.txt").touch()
    with pytest.raises(ValueError, match="mine exists already: give another --name"):
        segment(run, "mine", [at(run, "a.png", 0.15)], "fine")
    assert torch.equal(read_selection(run.run_dir, "mine", run.splats.num_gaussians).mask, first)
    assert not torch.equal(segment(run, "mine", [at(run, "a.png", 0.15)], "fine", overwrite=True), first)
    assert not (run.run_dir / "selections" / "mine" / "note.txt").exists(), "replaced whole"


def test_photos_are_found_by_name_and_by_place(tmp_path: Path) -> None:
    run = small_run(tmp_path, {name: shifted(0.0) for name in ("b.png", "a.png", "a.jpg", "7.png")})
    assert [run.view(name).path.name for name in ("b.png", "b", "a.jpg", "1", "2", "7")] == [
        *("b.png", "b.png", "a.jpg", "a.png", "a.jpg", "7.png")
    ]
    with pytest.raises(ValueError, match="--camera a: 2 photos have that name"):
        run.view("a")
    for camera in ("4", "-1", "c"):
        with pytest.raises(ValueError, match="no photo of that name among 4"):
            run.view(camera)


def test_photos_of_two_folders_are_told_apart(tmp_path: Path) -> None:
    run = small_run(tmp_path, {name: shifted(0.0) for name in ("cam0/1.png", "cam1/1.png", "cam1/3.png")})
    assert [run.view(name).name for name in ("cam1/1.png", "cam0/1", "3.png", "3", "2", "0")] == [
        *("cam1/1.png", "cam0/1.png", "cam1/3.png", "cam1/3.png", "cam1/3.png", "cam0/1.png")
    ]
    with pytest.raises(ValueError, match=r"--camera 1.png: 2 photos have that name \(cam0/1.png, cam1/1.png"):
        run.view("1.png")


def test_a_run_is_drawn_as_it_was_trained(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RasterizeMode] = []
    prepare = commands.rasterize.prepare

    def watched(splats, view, mode):
        asked.append(mode)
        return prepare(splats, view, mode)

    monkeypatch.setattr(commands.rasterize, "prepare", watched)
    segment(run, "drawn", [at(run, "a.png")], "coarse")
    assert asked and set(asked) == {run.rasterize_mode}


def export(run: Run, output_dir: Path, **wanted) -> None:
    asked = {"selection": None, "complement": None, "all_objects": False, "level_name": "coarse", "frame": "dataparser"}
    commands.export_from_shell(run.run_dir / "config.yml", output_dir, **(asked | wanted))


def test_a_selection_and_its_complement_are_the_scene(run: Run, tmp_path: Path) -> None:
    mask, drawn = visible(run, "coarse", 1), run.splats.opacity_logits > FAINT
    write_selection(run.run_dir, "right", Selection("coarse", (1,), mask), {})
    export(run, tmp_path, selection="right")
    export(run, tmp_path, complement="right", frame="world")
    assert_identical(read_ply(tmp_path / "right.ply")[0], select(run.splats, mask))
    rest = read_ply(tmp_path / "right_complement.ply")[0]
    assert_close(apply(rest, WORLD), select(run.splats, drawn & ~mask), atol=1e-5)
    for what in ("selection", "complement"):
        with pytest.raises(ValueError, match="exists already: give another --output-dir"):
            export(run, tmp_path, **{what: "right"})
    with pytest.raises(ValueError, match="say what to export"):
        export(run, tmp_path, selection="right", complement="right")


def test_objects_are_those_of_the_level_after_the_edits(run: Run, tmp_path: Path) -> None:
    labels, num = run.clusters["fine"].labels, run.splats.num_gaussians
    gone, copied = labels == 0, labels == 3
    edits = [Remove(PackedMask.pack(gone)), Duplicate(PackedMask.pack(copied), (0.0, 2.0, 0.0))]
    write_edits(tmp_path / "edits.json", edits, num)
    export(run, tmp_path, all_objects=True, level_name="fine", edits=tmp_path / "edits.json")
    sizes = {path.name: read_ply(path)[0].num_gaussians for path in tmp_path.glob("fine_*.ply")}
    each = int(visible(run, "fine", 1).sum())
    assert sizes == {f"fine_{i:03d}.ply": each * (2 if i == 3 else 1) for i in range(1, 6)}
