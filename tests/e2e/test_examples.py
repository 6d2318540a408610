"""The scripts in examples/, on the bundled scene."""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands import NUM_GAUSSIANS, innermost
from PIL import Image

from click_gaussian_ns.demo.scene import DemoScene
from click_gaussian_ns.demo.shapes import PARTS, build_splats
from click_gaussian_ns.splats.ply import read_ply

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
MUG = ("coarse", 4)


RunExample = Callable[..., str]


@pytest.fixture
def run_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunExample:
    """Run an example by its number, as `python examples/NN_...py ARGS` does; what it prints."""

    def run(number: int, *args: object) -> str:
        (script,) = EXAMPLES.glob(f"{number:02d}_*.py")
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, args)])
        runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    return run


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


@pytest.fixture(scope="module")
def is_mug() -> np.ndarray:
    """Which Gaussians of the scene are the mug's."""
    _, owners = build_splats(NUM_GAUSSIANS, np.random.default_rng(0))
    return np.array([PARTS[owner].object_name == "mug" for owner in owners])


def test_a_click_gives_masks_and_a_ply(
    run_example: RunExample, trained: Path, demo_scene: DemoScene, is_mug: np.ndarray, tmp_path: Path
) -> None:
    stem, x, y = innermost(demo_scene, *MUG)
    run_example(
        1, "--load-config", trained, "--camera", stem, "--x", x, "--y", y, "--level", "coarse", "--output-dir", tmp_path
    )
    selected = np.load(tmp_path / "gaussians.npy")
    assert iou(selected, is_mug) > 0.75
    exported, _ = read_ply(tmp_path / "object.ply")
    original, _ = read_ply(demo_scene.splat)
    np.testing.assert_allclose(exported.means.numpy(), original.means.numpy()[selected], atol=1e-4)
    truth = np.asarray(Image.open(demo_scene.ground_truth / "coarse" / f"{stem}.png")) == MUG[1]
    assert iou(np.asarray(Image.open(tmp_path / f"{stem}.png")), truth) > 0.9
    assert len(list(tmp_path.glob("*.png"))) == len(list((demo_scene.data / "images").glob("*")))
    assert (trained.parent / "selections" / "from_python" / "selection.npy").is_file()


def test_a_camera_of_ones_own_finds_where_the_object_is(
    run_example: RunExample, trained: Path, demo_scene: DemoScene, is_mug: np.ndarray, tmp_path: Path
) -> None:
    stem, x, y = innermost(demo_scene, *MUG)
    meta = json.loads((demo_scene.data / "transforms.json").read_text())
    (pose,) = [frame["transform_matrix"] for frame in meta["frames"] if Path(frame["file_path"]).stem == stem]
    camera = {
        "viewmat": np.linalg.inv(np.array(pose) @ np.diag([1.0, -1.0, -1.0, 1.0])).tolist(),
        "K": [[meta["fl_x"], 0.0, meta["cx"]], [0.0, meta["fl_y"], meta["cy"]], [0.0, 0.0, 1.0]],
        "width": meta["w"],
        "height": meta["h"],
    }
    (tmp_path / "camera.json").write_text(json.dumps(camera))
    printed = run_example(2, "--load-config", trained, "--camera", tmp_path / "camera.json", "--x", x, "--y", y)
    found = json.loads(printed.splitlines()[-1])
    original, _ = read_ply(demo_scene.splat)
    expected = original.means.numpy()[is_mug].mean(axis=0)
    assert np.abs(found["center"] - expected).max() < 0.03, "metres"


def test_every_gaussian_and_pixel_gets_a_label(
    run_example: RunExample, trained: Path, demo_scene: DemoScene, is_mug: np.ndarray, tmp_path: Path
) -> None:
    run_example(3, "--load-config", trained, "--level", "coarse", "--output-dir", tmp_path)
    table = np.load(tmp_path / "gaussians.npz")
    label = np.bincount(table["labels"][is_mug]).argmax()
    assert label > 0 and iou(table["labels"] == label, is_mug) > 0.75
    assert table["confidence"].shape == is_mug.shape
    stem, _, _ = innermost(demo_scene, *MUG)
    truth = np.asarray(Image.open(demo_scene.ground_truth / "coarse" / f"{stem}.png")) == MUG[1]
    found = Image.open(tmp_path / f"{stem}.png")
    assert found.mode == "I;16" and iou(np.asarray(found) == label, truth) > 0.9


def test_a_run_is_measured(run_example: RunExample, trained: Path, demo_scene: DemoScene, tmp_path: Path) -> None:
    printed = run_example(
        4, "--load-config", trained, "--ground-truth", demo_scene.ground_truth, "--output-dir", tmp_path
    )
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert f"mIoU: coarse {metrics['coarse.miou']:.3f}, fine {metrics['fine.miou']:.3f}" in printed
    worst = min(metrics["objects"], key=lambda row: row["iou"])
    assert f"{worst['level']} {worst['name']}: IoU {worst['iou']:.3f}" in printed
    assert (tmp_path / "report.html").is_file()


def test_every_example_is_run() -> None:
    assert [path.name[:3] for path in sorted(EXAMPLES.glob("*.py"))] == ["01_", "02_", "03_", "04_"]
