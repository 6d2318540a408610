"""Plain photos to a scene with poses, with COLMAP: killed on the way, resumed, read by nerfstudio."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from commands import run_command
from PIL import Image

from click_gaussian_ns.scenes.data_layout import guess_dataparser

WIDTH = 640
_TURNED = 0x0112


@pytest.fixture(scope="module")
def photos(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every third photo of the desk, small; one says it is to be turned, one is a WebP with a space in its name."""
    folder = tmp_path_factory.mktemp("plain") / "photos"
    (folder / "right half").mkdir(parents=True)
    for number, path in enumerate(sorted((shared_data / "desk_photos" / "images").iterdir())[::3]):
        with Image.open(path) as image:
            small = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
        exif = Image.Exif()
        if number == 3:
            exif[_TURNED] = 6
        name = "right half/e 4.webp" if number == 4 else f"right half/{number}.jpg" if number > 4 else f"{number}.jpg"
        small.save(folder / name, quality=95, exif=exif)
    (folder / "notes.txt").write_text("not a photo")
    return folder


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.stat().st_size) for p in [folder, *folder.rglob("*")]}


def num_features(database: Path) -> int:
    """Photos whose features are there; looked up while COLMAP writes."""
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=1) as found:
            return int(found.execute("select count(*) from descriptors").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def poses_of(data: Path) -> dict[Path, np.ndarray]:
    """Where nerfstudio has the cameras of a scene."""
    parser = guess_dataparser(data)
    assert parser is not None
    found = {}
    for split in ("train", "val"):
        outputs = parser.setup().get_dataparser_outputs(split=split)
        found.update(zip(outputs.image_filenames, outputs.cameras.camera_to_worlds[:, :3, 3].numpy()))
    return found


def distances(centers: dict[int, np.ndarray]) -> dict[tuple[int, int], float]:
    return {(a, b): float(np.linalg.norm(centers[a] - centers[b])) for a, b in combinations(sorted(centers), 2)}


def test_photos_become_a_scene(photos: Path, shared_data: Path, tmp_path: Path) -> None:
    data, before = tmp_path / "data", listing(photos)
    command = ("click-gaussian", "poses", "--images", str(photos), "--output-dir", str(data))

    # killed while features are made
    code = "import sys; from click_gaussian_ns.cli import main; main(sys.argv[1:])"
    database = data / ".poses" / "database.db"
    killed = subprocess.Popen([sys.executable, "-c", code, *command[1:]], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while num_features(database) < 3 and time.monotonic() < deadline:
        assert killed.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert [path.name for path in data.iterdir()] == [".poses"]
    kept = num_features(database)
    assert 3 <= kept < 10

    said = run_command(*command)
    assert "are used again" in said and "notes.txt" not in os.listdir(data / "images")
    assert "10 of 10 photos placed" in said, said
    assert "Traceback" not in said
    assert listing(photos) == before
    assert (data / "images" / "0.jpg").samefile(photos / "0.jpg")
    with Image.open(data / "poses.jpg") as picture:
        assert picture.size == (1440, 560)

    parser = guess_dataparser(data)
    assert parser is not None
    outputs = parser.setup().get_dataparser_outputs(split="train")
    cameras = outputs.cameras
    height = Image.open(photos / "0.jpg").height
    # the grid that is stored, for the photo that says it is turned, too: nerfstudio ignores that flag
    assert {(int(w), int(h)) for w, h in zip(cameras.width, cameras.height)} == {(WIDTH, height)}
    names = {path.relative_to(data / "images").as_posix() for path in outputs.image_filenames}
    assert all((data / "images" / name).is_file() for name in names)
    assert names <= {path.relative_to(photos).as_posix() for path in photos.rglob("*") if path.is_file()}
    # as far from each other as in the reference model, up to the scale, which is free
    found = distances({int(path.stem[-1]): pose for path, pose in poses_of(data).items()})
    reference = {int(path.stem[-4:]) - 1: pose for path, pose in poses_of(shared_data / "desk_photos").items()}
    expected = distances({number // 3: pose for number, pose in reference.items() if number % 3 == 0})
    shared = found.keys() & expected.keys()
    assert len(shared) >= 20
    ratios = np.array([found[pair] / expected[pair] for pair in shared])
    off = np.abs(ratios / np.median(ratios) - 1)
    assert np.median(off) < 0.02 and np.quantile(off, 0.9) < 0.1

    assert "is finished already" in run_command(*command)
    assert "give another --output-dir, or --overwrite" in run_command(*command, "--seed", 1, ok=False)
