"""What the mask stage is given of a scene on disk."""

import json
from pathlib import Path

import pytest
from mask_scenes import SIZE, write_photos
from small_model import antialiased_run
from splats_factory import random_splats

from click_gaussian_ns.scenes.open_scene import open_scene
from click_gaussian_ns.splats.ply import write_ply


def write_scene(folder: Path, k1: float) -> None:
    turned = [[1.0, 0, 0, 0], [0, 0, -1.0, -4.0], [0, 1.0, 0, 0], [0, 0, 0, 1]]
    frames = []
    for index, path in enumerate(write_photos(folder / "images", 4)):
        matrix = [list(row) for row in turned]
        matrix[0][3] = 0.2 * index
        frames.append({"file_path": f"images/{path.name}", "transform_matrix": matrix})
    lens = {"fl_x": 60.0, "fl_y": 60.0, "cx": 32.0, "cy": 24.0, "w": SIZE[1], "h": SIZE[0], "k1": k1}
    (folder / "transforms.json").write_text(json.dumps({"camera_model": "OPENCV", **lens, "frames": frames}))
    write_ply(folder / "splat.ply", random_splats(20))


@pytest.mark.parametrize(("k1", "guided"), [(0.0, True), (0.1, False)])
def test_a_splat_guides_photos_without_lens_distortion_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, k1: float, guided: bool
) -> None:
    write_scene(tmp_path, k1)
    scene = open_scene(tmp_path, tmp_path / "splat.ply")
    assert len(scene.photos) == len(scene.sizes or ())
    assert (scene.guidance is not None) == guided
    assert ("have lens distortion" in caplog.text) != guided


def test_a_splat_guides_as_it_was_trained(tmp_path: Path) -> None:
    write_scene(tmp_path, k1=0.0)
    run = antialiased_run(tmp_path / "run")
    guided = open_scene(tmp_path, run).guidance
    run.write_text("pipeline: {model: {rasterize_mode: classic}}\n")
    classic = open_scene(tmp_path, run).guidance
    assert guided is not None and classic is not None
    assert guided.fingerprint(0) != classic.fingerprint(0)
