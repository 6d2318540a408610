"""`click-gaussian edit` and exports with an edit list, on a trained run."""

import re
from pathlib import Path

import torch
from commands import run_command

from click_gaussian_ns.demo.scene import DemoScene
from click_gaussian_ns.edit.operations import Duplicate, Recolor, Remove, Transform
from click_gaussian_ns.edit.record import EDITS_FILE, write_edits
from click_gaussian_ns.edit.scene import Timeline
from click_gaussian_ns.runs.open_run import open_run
from click_gaussian_ns.selection.packed import PackedMask
from click_gaussian_ns.selection.storage import write_selection
from click_gaussian_ns.splats.ply import read_ply
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.types import Selection


def test_an_edit_list_replays_headless(trained: Path, demo_scene: DemoScene, tmp_path: Path) -> None:
    base = open_run(trained).splats
    num = base.num_gaussians
    rows = torch.arange(num)
    a, b = (rows % 5 == 0), (rows % 5 == 1)
    edits = [
        Transform(PackedMask.pack(a), (0.1, 0.0, 0.2), (0.9, 0.1, 0.2, 0.0), 1.5, (0.0, 0.1, 0.0)),
        Remove(PackedMask.pack(b)),
        Duplicate(PackedMask.pack(a | b), (0.0, 0.5, 0.0)),
    ]
    count = num + int(a.sum())
    edits.append(Recolor(PackedMask.pack(torch.arange(count) >= num), (1.0, 0.0, 0.0), 0.5))
    path = tmp_path / EDITS_FILE
    write_edits(path, edits, num)
    scene = Timeline(base).at(edits)

    output = tmp_path / "edited.ply"
    told = run_command(
        *("click-gaussian", "edit", "--load-config", trained, "--edits", path, "--output-path", output),
    )
    assert "transform, remove, duplicate, recolor" in re.sub(r"\s+", " ", told), "lines break where paths are long"
    exported, _ = read_ply(output)
    expected = scene.final()
    assert torch.equal(exported.means, expected.means)
    assert torch.equal(exported.sh, expected.sh)
    assert torch.equal(exported.log_scales, expected.log_scales)

    again = ("click-gaussian", "edit", "--load-config", trained, "--edits", path, "--output-path", output)
    output.write_bytes(b"mine")
    assert "edited.ply exists already: give another --output-path" in run_command(*again, ok=False)
    assert output.read_bytes() == b"mine"
    run_command(*again, "--overwrite")
    assert torch.equal(read_ply(output)[0].means, expected.means)

    write_selection(trained.parent, "fifth", Selection("coarse", (), a), {})
    run_command(
        *("click-gaussian", "export", "--load-config", trained, "--selection", "fifth", "--edits", path),
        *("--output-dir", tmp_path / "out"),
    )
    both, _ = read_ply(tmp_path / "out" / "fifth.ply")
    assert torch.equal(both.means, select(scene.splats, a[scene.source_ids.long()] & scene.alive).means)


def test_edits_of_another_run_are_refused(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / EDITS_FILE
    write_edits(path, [], 7)
    output = tmp_path / "edited.ply"
    told = run_command(
        *("click-gaussian", "edit", "--load-config", trained, "--edits", path, "--output-path", output), ok=False
    )
    assert "belongs to another run" in told
    assert "Traceback" not in told
    assert not output.exists()
