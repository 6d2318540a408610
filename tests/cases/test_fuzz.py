"""Damaged files of every reader but the splats' (test_splat_files.py) and masks': one line, in time and in memory."""

from __future__ import annotations

import json
import resource
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scene_files import Scene, opened

from click_gaussian_ns.demo.scene import DemoScene
from click_gaussian_ns.edit.record import read_edits
from click_gaussian_ns.masks.images import decode_view, read_header
from click_gaussian_ns.runs.files import read_run
from click_gaussian_ns.scenes.kept_cameras import read_cameras
from click_gaussian_ns.scenes.photo_masks import read_photo_mask
from click_gaussian_ns.selection.storage import read_selection_mask
from click_gaussian_ns.splats.checkpoint import read_dataparser_transforms

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


def scene_of(path: Path) -> object:
    folder = next(parent for parent in path.parents if parent.name == "scene")
    return opened(folder)


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


def test_a_huge_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    """60,000 x 60,000 pixels in a few bytes: a bomb."""
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 60_000, 60_000, 8, 2, 0, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(header)
    assert "bomb.png" in within_limits(lambda path: decode_view(path, (60_000, 60_000)), tmp_path / "bomb.png")
