"""SAM's three levels from weights to a click: small SAM, masks, cache, ns-train, a click at the middle level."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import innermost, run_command
from small_sam import write_small_sam

from click_gaussian_ns.demo.scene import DemoScene

STEPS = 40


@pytest.fixture(scope="module")
def three_levels(demo_scene: DemoScene, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """config.yml of a run on what a small SAM of random weights finds, and the folder of its mask cache."""
    folder = tmp_path_factory.mktemp("three_levels")
    sam = "--pipeline.datamanager.sam"
    run_command(
        *("ns-train", "click-gaussian", "--output-dir", folder / "runs", "--experiment-name", "sam"),
        *("--timestamp", "run", "--vis", "tensorboard", "--max-num-iterations", STEPS),
        *("--pipeline.model.splat", demo_scene.splat, "--pipeline.datamanager.num-pixels", 2000),
        *("--pipeline.datamanager.mask-generator", "sam", "--pipeline.datamanager.mask-levels", "three-level-score"),
        *("--pipeline.datamanager.mask-cache-dir", folder / "cache", f"{sam}.model", "from-checkpoint"),
        *(f"{sam}.checkpoint", write_small_sam(folder / "small.pth"), f"{sam}.points-per-side", 8),
        # weights that were never trained pass no threshold, and what they find in one view they do not in the next
        *("--pipeline.model.research.clusters", "features", "--pipeline.model.research.gfl-start", 2 / 3),
        *("--pipeline.model.research.cluster-views-fraction", 0.05),
        *(f"{sam}.pred-iou-thresh", -1e9, f"{sam}.stability-score-thresh", 0, f"{sam}.box-nms-thresh", 0.98),
        *("nerfstudio-data", "--data", demo_scene.data),
    )
    return folder / "runs" / "sam" / "click-gaussian" / "run" / "config.yml", folder / "cache"


def test_features_are_split_in_three(three_levels: tuple[Path, Path]) -> None:
    config, _ = three_levels
    (checkpoint,) = (config.parent / "nerfstudio_models").glob("*.ckpt")
    state = torch.load(checkpoint, weights_only=True)["pipeline"]
    dims = [state[f"_model.cluster_centers_{level}"].shape[1] for level in ("coarse", "middle", "fine")]
    assert dims == [8, 16, 24]


def test_a_click_selects_at_the_middle_level(three_levels: tuple[Path, Path], demo_scene: DemoScene) -> None:
    config, _ = three_levels
    stem, x, y = innermost(demo_scene, "coarse", 4)
    printed = run_command(
        *("click-gaussian", "segment", "--load-config", config, "--camera", stem, "--point", x, y),
        *("--level", "middle", "--name", "clicked"),
    )
    found = re.search(r"clicked: middle clusters \[\d+\], ([\d,]+) of [\d,]+ Gaussians", printed)
    assert found, printed
    ids = np.load(config.parent / "selections" / "clicked" / "selection.npy")
    (checkpoint,) = (config.parent / "nerfstudio_models").glob("*.ckpt")
    labels = torch.load(checkpoint, weights_only=True)["pipeline"]["_model.cluster_labels_middle"]
    # exactly the Gaussians of one cluster of that level
    (cluster,) = set(labels[torch.from_numpy(ids.astype(np.int64))].tolist())
    assert 0 < ids.shape[0] == int((labels == cluster).sum()) < labels.shape[0]


def test_the_area_rule_needs_no_second_look(three_levels: tuple[Path, Path], demo_scene: DemoScene) -> None:
    """The cache keeps raw segments: other levels come of them without running SAM again."""
    _, cache = three_levels
    weights = cache.parent / "small.pth"
    before = {path: path.stat().st_mtime_ns for path in (cache / "segments").rglob("*.json")}
    run_command(
        *("click-gaussian", "masks", "--data", demo_scene.data, "--generator", "sam", "--cache-dir", cache),
        *("--sam.model", "from-checkpoint", "--sam.checkpoint", weights, "--sam.points-per-side", 8),
        *("--sam.pred-iou-thresh", -1e9, "--sam.stability-score-thresh", 0, "--sam.box-nms-thresh", 0.98),
        *("--output-dir", cache.parent / "maps"),
    )
    assert len(list((cache.parent / "maps" / "fine").glob("*.png"))) == len(before) > 0
    assert {path: path.stat().st_mtime_ns for path in (cache / "segments").rglob("*.json")} == before
