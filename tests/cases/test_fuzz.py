"""Damaged files of every reader but the splats' (test_splat_files.py) and masks': one line, in time and in memory."""

from __future__ import annotations

import json
import re
import resource
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from plyfile import PlyData, PlyElement
from scene_files import Scene, opened

from click_gaussian_ns.demo.scene import DemoScene
from click_gaussian_ns.edit.record import read_edits
from click_gaussian_ns.masks.images import decode_view, read_header
from click_gaussian_ns.runs.files import read_run
from click_gaussian_ns.scenes.kept_cameras import read_cameras
from click_gaussian_ns.scenes.photo_masks import read_photo_mask
from click_gaussian_ns.selection.storage import read_selection_mask
from click_gaussian_ns.splats.checkpoint import read_checkpoint, read_dataparser_transforms
from click_gaussian_ns.splats.formats import read_splat_file
from click_gaussian_ns.splats.scene import load_splats

MAX_S, MAX_BYTES = 2.0, 500 * 2**20
PHOTO_SIZE = (120, 160)


def photo(ending: str) -> Callable[[Path, DemoScene], Path]:
    def make(folder: Path, mini: DemoScene) -> Path:
        path = folder / f"photo{ending}"
        Image.open(mini.data / "images" / "000.png").save(path)
        return path

    return make


def model_file(name: str) -> Callable[[Path, DemoScene], Path]:
    def make(folder: Path, mini: DemoScene) -> Path:
        scene = Scene(mini.data, folder / "scene")
        scene.colmap(text=name.endswith(".txt"))
        return folder / "scene" / "sparse" / "0" / name

    return make


def transforms(folder: Path, mini: DemoScene) -> Path:
    return Scene(mini.data, folder / "scene").save() / "transforms.json"


def written(name: str, content: str) -> Callable[[Path, DemoScene], Path]:
    def make(folder: Path, mini: DemoScene) -> Path:
        (folder / name).write_text(content)
        return folder / name

    return make


def ids(folder: Path, mini: DemoScene) -> Path:
    np.save(folder / "selection.npy", np.arange(20, dtype=np.int32))
    return folder / "selection.npy"


def load_world(path: Path) -> object:
    return load_splats(path, "world", torch.eye(4)[:3], 1.0)


def scene_of(path: Path) -> object:
    folder = next(parent for parent in path.parents if parent.name == "scene")
    return opened(folder)


def splat(folder: Path, mini: DemoScene) -> Path:
    shutil.copy(mini.splat, folder / "splat.ply")
    return folder / "splat.ply"


def splat_in_text(folder: Path, mini: DemoScene) -> Path:
    data = PlyData.read(str(mini.splat))
    vertices = PlyElement.describe(data["vertex"].data[:50], "vertex")
    PlyData([vertices], text=True).write(str(folder / "splat.ply"))
    return folder / "splat.ply"


def tensors(name: str, prefix: str) -> Callable[[Path, DemoScene], Path]:
    """As gsplat's trainer and nerfstudio's leave them."""

    def make(folder: Path, mini: DemoScene) -> Path:
        shapes = {"means": 3, "quats": 4, "scales": 3, "opacities": 1}
        values = {key: torch.zeros(20, width) for key, width in shapes.items()}
        if prefix:
            values |= {"features_dc": torch.zeros(20, 3), "features_rest": torch.zeros(20, 3, 3)}
            state = {f"{prefix}{key}": value for key, value in values.items()}
            torch.save({"step": 1, "pipeline": state}, folder / name)
        else:
            values |= {"sh0": torch.zeros(20, 1, 3), "shN": torch.zeros(20, 3, 3), "opacities": torch.zeros(20)}
            torch.save({"step": 1, "splats": values}, folder / name)
        return folder / name

    return make


RUN = "method_name: click-gaussian\nmax_num_iterations: 10\npipeline:\n  datamanager:\n    data: x\n  model: {}\n"
EDITS = json.dumps({"version": 1, "num_gaussians": 20, "edits": []})
MATRIX = json.dumps({"transform": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], "scale": 1.0})
READERS = [
    pytest.param(transforms, scene_of, id="transforms.json"),
    pytest.param(model_file("cameras.bin"), scene_of, id="cameras.bin"),
    pytest.param(model_file("images.bin"), scene_of, id="images.bin"),
    pytest.param(model_file("points3D.bin"), scene_of, id="points3D.bin"),
    pytest.param(model_file("cameras.txt"), scene_of, id="cameras.txt"),
    pytest.param(model_file("images.txt"), scene_of, id="images.txt"),
    pytest.param(model_file("points3D.txt"), scene_of, id="points3D.txt"),
    *(
        pytest.param(photo(ending), lambda path: decode_view(path, PHOTO_SIZE), id=f"photo {ending}")
        for ending in (".png", ".jpg", ".webp", ".tif", ".bmp")
    ),
    pytest.param(photo(".jpg"), read_header, id="photo's header"),
    pytest.param(photo(".png"), lambda path: read_photo_mask(path, PHOTO_SIZE), id="photo mask"),
    pytest.param(splat, read_splat_file, id=".ply"),
    pytest.param(splat_in_text, read_splat_file, id=".ply in text"),
    pytest.param(tensors("gsplat.pt", ""), load_world, id="gsplat's .pt"),
    pytest.param(tensors("step-000000001.ckpt", "_model.gauss_params."), read_checkpoint, id="splatfacto's .ckpt"),
    pytest.param(ids, lambda path: read_selection_mask(path, 20), id="selection"),
    pytest.param(written("edits.json", EDITS), lambda path: read_edits(path, 20), id="edits.json"),
    pytest.param(written("config.yml", RUN), read_run, id="config.yml"),
    pytest.param(written("cameras.json", "{}"), lambda path: read_cameras(path, []), id="cameras.json"),
    pytest.param(written("dataparser_transforms.json", MATRIX), read_dataparser_transforms, id="dataparser_transforms"),
]


@pytest.mark.parametrize(("make", "read"), READERS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_ends_in_one_line(make, read, data, mini: DemoScene, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = make(folder, mini)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    within_limits(read, path)


def within_limits(read: Callable[[Path], object], path: Path) -> str:
    """What was refused; empty if it was read."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    message = ""
    try:
        read(path)
    except ValueError as error:
        message = str(error)
        assert message and "\n" not in message
    assert time.perf_counter() - start < MAX_S
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MAX_BYTES
    return message


HUGE = 2**40
COUNTS = [
    pytest.param("cameras.bin", 0, id="cameras"),
    pytest.param("images.bin", 0, id="photos"),
    pytest.param("images.bin", 8 + 64 + len("000.png\0"), id="places in a photo"),
    pytest.param("points3D.bin", 0, id="points"),
    pytest.param("points3D.bin", 8 + 43, id="a point's track"),
]


@pytest.mark.parametrize("count", [HUGE, 2**63, 10_000])
@pytest.mark.parametrize(("name", "at"), COUNTS)
def test_a_wrong_count_takes_no_memory(name: str, at: int, count: int, mini: DemoScene, tmp_path: Path) -> None:
    path = model_file(name)(tmp_path, mini)
    content = bytearray(path.read_bytes())
    content[at : at + 8] = struct.pack("<Q", count)
    path.write_bytes(content)
    message = within_limits(scene_of, path)
    assert "cut off or damaged" in message or "cut off (images.bin" in message


@pytest.mark.parametrize("count", [10**6, 10**12, 10**30, -1])
@pytest.mark.parametrize("make", [splat, splat_in_text])
def test_a_wrong_count_in_a_ply_takes_no_memory(make, count: int, mini: DemoScene, tmp_path: Path) -> None:
    path = make(tmp_path, mini)
    content = path.read_bytes()
    path.write_bytes(re.sub(rb"element vertex \d+", b"element vertex %d" % count, content, count=1))
    assert within_limits(read_splat_file, path).startswith(f"{path}: ")


def test_a_huge_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    """60,000 x 60,000 pixels in a few bytes: a bomb."""
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 60_000, 60_000, 8, 2, 0, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(header)
    assert "bomb.png" in within_limits(lambda path: decode_view(path, (60_000, 60_000)), tmp_path / "bomb.png")
