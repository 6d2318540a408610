"""ns-train on data that cannot be read: one line and exit code 2, whenever it is noticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from click_gaussian_ns.demo.scene import DemoScene, write_scene
from click_gaussian_ns.demo.variants import Variant


@pytest.fixture
def scene(tmp_path: Path) -> DemoScene:
    return write_scene(tmp_path / "scene", Variant(num_gaussians=2000, width=80, height=60, num_train=6))


def spoiled_lens(scene: DemoScene) -> None:
    path = scene.data / "transforms.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "camera_model": "FULL_OPENCV"}))


def missing_lens(scene: DemoScene) -> None:
    path = scene.data / "transforms.json"
    meta = json.loads(path.read_text())
    del meta["fl_x"]
    path.write_text(json.dumps(meta))


def cut_photo(scene: DemoScene) -> None:
    """Its header is whole: noticed when evaluation first reads it."""
    name = json.loads((scene.data / "transforms.json").read_text())["val_filenames"][0]
    path = scene.data / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def ns_train(
    scene: DemoScene, output_dir: Path, *more: object, debug: bool = False, splat: bool = True
) -> tuple[int, str]:
    command = [
        *(Path(sys.executable).parent / "ns-train", "click-gaussian", "--data", scene.data, "--output-dir", output_dir),
        *(("--pipeline.model.splat", scene.splat) if splat else ()),
        *("--pipeline.datamanager.mask-dir", scene.mask_dir),
        *("--vis", "tensorboard", "--max-num-iterations", 20, "--pipeline.datamanager.num-pixels", 200, *more),
    ]
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"}
    if debug:
        env["CLICK_GAUSSIAN_DEBUG"] = "1"
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=env)
    return done.returncode, done.stderr


BAD = [
    pytest.param(spoiled_lens, (), "transforms.json: the camera model FULL_OPENCV is not supported", id="lens"),
    pytest.param(missing_lens, (), "transforms.json: `fl_x` of images/000.png is missing", id="no focal length"),
    pytest.param(cut_photo, ("--steps-per-eval-image", 10), "is damaged (image file is truncated", id="cut photo"),
]


@pytest.mark.parametrize(("spoil", "more", "message"), BAD)
def test_bad_data_ends_in_one_line(spoil, more: tuple, message: str, scene: DemoScene, tmp_path: Path) -> None:
    spoil(scene)
    code, told = ns_train(scene, tmp_path / "runs", *more)
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert code == 2 and len(errors) == 1 and message in errors[0], told[-3000:]
    assert "Traceback" not in told


def test_a_developer_sees_where(scene: DemoScene, tmp_path: Path) -> None:
    missing_lens(scene)
    code, told = ns_train(scene, tmp_path / "runs", debug=True)
    assert code == 1 and "Traceback" in told and "read_transforms" in told


def test_no_geometry_is_trained_on_a_bad_scene(scene: DemoScene, tmp_path: Path) -> None:
    spoiled_lens(scene)
    code, told = ns_train(scene, tmp_path / "runs", splat=False)
    assert code == 2 and "Traceback" not in told
    assert len([line for line in told.splitlines() if line.startswith("error: ")]) == 1
    assert not list((tmp_path / "runs").glob("*/splatfacto*"))
