"""A run that ends before its first step: clusters of the segments alone, and all that people do with them."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import innermost, run_command, train_args

from click_gaussian_ns.demo.scene import DemoScene
from click_gaussian_ns.edit.operations import Remove
from click_gaussian_ns.edit.record import write_edits
from click_gaussian_ns.runs.open_run import open_run
from click_gaussian_ns.selection.packed import PackedMask
from click_gaussian_ns.splats.ply import read_ply

HEAD = ("fine", 3)


@pytest.fixture(scope="module")
def untrained(demo_scene: DemoScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.yml of a run of no steps."""
    output_dir = tmp_path_factory.mktemp("no-step")
    run_command(*train_args(demo_scene, output_dir, "--max-num-iterations", 0))
    return output_dir / "demo" / "click-gaussian" / "run" / "config.yml"


def test_it_is_accurate(untrained: Path, demo_scene: DemoScene, tmp_path: Path) -> None:
    """The gate against regressions, as for the short run of test_main_job.py."""
    path = tmp_path / "metrics.json"
    run_command(
        *("click-gaussian", "eval", "--load-config", untrained, "--ground-truth", demo_scene.ground_truth),
        *("--output-path", path),
    )
    metrics = json.loads(path.read_text())
    measured = {"coarse.miou": 0.997, "fine.miou": 0.988, "coarse.click_miou": 0.995, "fine.click_miou": 0.986}
    measured["fine.tree_click_miou"] = 0.986
    assert {name: metrics[name] for name, value in measured.items() if metrics[name] < value - 0.03} == {}


def test_it_clicks_from_part_to_group_and_exports(untrained: Path, demo_scene: DemoScene, tmp_path: Path) -> None:
    stem, x, y = innermost(demo_scene, *HEAD)
    click = ("click-gaussian", "segment", "--load-config", untrained, "--camera", stem, "--point", x, y)
    picked = {}
    for name, width in (
        ("part", ("--level", "fine")),
        ("wider", ("--level", "fine", "--wider", 1)),
        ("object", ("--granularity", 0.5)),
        ("everything", ("--granularity", 1)),
    ):
        told = run_command(*click, "--name", name, *width)
        assert re.search(rf"{name}: (fine|coarse) clusters \[", re.sub(r"\s+", " ", told)), told
        picked[name] = set(np.load(untrained.parent / "selections" / name / "selection.npy").tolist())
    assert len(picked["part"]) < len(picked["wider"]) <= len(picked["object"]) < len(picked["everything"])
    assert picked["part"] <= picked["wider"]

    out = tmp_path / "out"
    export = ("click-gaussian", "export", "--load-config", untrained, "--output-dir", out)
    run_command(*export, "--selection", "object")
    assert read_ply(out / "object.ply")[0].num_gaussians == len(picked["object"])
    run_command(*export, "--all-objects", "--granularity", 0)
    parts = list(out.glob("object_*.ply"))
    run_command(*export, "--all-objects", "--granularity", 0.5, "--overwrite")
    objects = list(out.glob("object_*.ply"))
    assert len(parts) > len(objects) >= 4


def test_it_is_edited(untrained: Path, tmp_path: Path) -> None:
    run = open_run(untrained)
    labels = run.clusters["coarse"].labels
    edits = tmp_path / "edits.json"
    write_edits(edits, [Remove(PackedMask.pack(labels == 0))], run.splats.num_gaussians)
    run_command(
        *("click-gaussian", "edit", "--load-config", untrained, "--edits", edits),
        *("--output-path", tmp_path / "edited.ply"),
    )
    opaque = torch.sigmoid(run.splats.opacity_logits.reshape(-1)) > 1 / 255
    left = read_ply(tmp_path / "edited.ply")[0].num_gaussians
    assert left == int(((labels != 0) & opaque).sum())
