"""What the mask stage is given of a scene on disk."""

import json
from pathlib import Path

import numpy as np
import pytest
from mask_scenes import SIZE, write_photos
from PIL import Image
from small_model import antialiased_run
from splats_factory import random_splats

from click_gaussian_ns.masks.command import run_masks
from click_gaussian_ns.masks.config import MaskConfig, SuperpixelConfig
from click_gaussian_ns.masks.extract import prepare_level_maps
from click_gaussian_ns.masks.images import decode_straight
from click_gaussian_ns.masks.mask_files import read_label_map
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


@pytest.mark.parametrize("k1", [0.0, 0.1])
def test_a_splat_guides_photos_of_any_lens(tmp_path: Path, k1: float) -> None:
    """Label images of the splat are rendered without distortion: so are the photos that they guide."""
    write_scene(tmp_path, k1)
    scene = open_scene(tmp_path, tmp_path / "splat.ply")
    assert len(scene.photos) == len(scene.sizes or ()) and scene.guidance is not None
    (lens, *_) = scene.lenses or ()
    assert (lens is not None) == (k1 != 0)
    scene.guidance.prepare(SuperpixelConfig())
    labels = scene.guidance(0).labels
    size = SIZE if lens is None else lens.view_size
    assert labels.shape[1] * size[1] == pytest.approx(labels.shape[2] * size[0], abs=max(size))


def test_photos_are_straightened_before_they_are_segmented(tmp_path: Path) -> None:
    """What the segmenter sees is what nerfstudio trains on."""
    write_scene(tmp_path, 0.2)
    scene = open_scene(tmp_path, None)
    assert scene.lenses is not None and scene.lenses[0] is not None
    lens, photo = scene.lenses[0], scene.photos[0]
    seen = decode_straight(photo, photo.read_bytes(), False, 0, lens)
    expected = lens.straighten(np.array(Image.open(photo).convert("RGB")))
    assert np.array_equal(seen, expected) and seen.shape[:2] == lens.view_size
    small = decode_straight(photo, photo.read_bytes(), False, 20, lens)
    assert max(small.shape[:2]) == 20


@pytest.mark.parametrize("generator", ["superpixels", "folder"])
def test_label_maps_through_a_lens_come_back(tmp_path: Path, generator: str) -> None:
    """Written in the photo's pixels, read as ready-made masks, they are what training has of the view."""
    write_scene(tmp_path, 0.2)
    scene = open_scene(tmp_path, None)
    assert scene.sizes is not None and scene.lenses is not None and scene.lenses[0] is not None
    config = MaskConfig(mask_generator="superpixels", mask_cache_dir=tmp_path / "cache")
    made = prepare_level_maps(config, scene.photos, scene.sizes, lenses=scene.lenses)
    assert made[0].maps.shape[1:] == scene.lenses[0].view_size != SIZE
    if generator == "folder":
        run_masks(
            config,
            scene.photos,
            scene.sizes,
            lenses=scene.lenses,
            output_dir=tmp_path / "out",
            preview=tmp_path / "a.png",
        )
        written = read_label_map(tmp_path / "out" / "fine" / f"{scene.photos[0].stem}.png")
        assert written.shape == SIZE
        ready = MaskConfig(mask_generator="folder", mask_dir=tmp_path / "out")
        read = prepare_level_maps(ready, scene.photos, scene.sizes, lenses=scene.lenses)
        assert (read[0].maps == made[0].maps).mean() > 0.9


def test_a_splat_guides_as_it_was_trained(tmp_path: Path) -> None:
    write_scene(tmp_path, k1=0.0)
    run = antialiased_run(tmp_path / "run")
    guided = open_scene(tmp_path, run).guidance
    run.write_text("pipeline: {model: {rasterize_mode: classic}}\n")
    classic = open_scene(tmp_path, run).guidance
    assert guided is not None and classic is not None
    assert guided.fingerprint(0) != classic.fingerprint(0)
