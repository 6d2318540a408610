"""Scenes as other tools and people leave them, made of the plain one: transforms.json, COLMAP models, photos."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanagerConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image
from scipy.spatial.transform import Rotation

from click_gaussian_ns.scenes.photo_dataset import PhotoDataManager

MODELS = {
    "PINHOLE": 1,
    "SIMPLE_RADIAL": 2,
    "OPENCV": 4,
    "OPENCV_FISHEYE": 5,
    "FULL_OPENCV": 6,
    "THIN_PRISM_FISHEYE": 10,
}
WIDTH, HEIGHT, FOCAL = 160, 120, 165.0
PINHOLE = ("PINHOLE", WIDTH, HEIGHT, [FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2])


class Scene:
    """A copy of the plain scene's photos and what its transforms.json says, to be changed and saved."""

    def __init__(self, plain: Path, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        shutil.copytree(plain / "images", folder / "images")
        self.meta: dict[str, Any] = json.loads((plain / "transforms.json").read_text())

    @property
    def frames(self) -> list[dict[str, Any]]:
        return self.meta["frames"]

    def photo(self, frame: dict[str, Any]) -> Path:
        return self.folder / frame["file_path"]

    def rename(self, frame: dict[str, Any], name: str) -> Path:
        """Move a photo, in the folder and in all lists."""
        old, path = frame["file_path"], self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(self.photo(frame), path)
        frame["file_path"] = name
        for key in ("train_filenames", "val_filenames", "test_filenames"):
            if key in self.meta:
                self.meta[key] = [name if listed == old else listed for listed in self.meta[key]]
        return path

    def per_frame(self) -> None:
        lens = {key: self.meta.pop(key) for key in ("fl_x", "fl_y", "cx", "cy", "w", "h")}
        for frame in self.frames:
            frame.update(lens)

    def save(self) -> Path:
        (self.folder / "transforms.json").write_text(json.dumps(self.meta))
        return self.folder

    def colmap(
        self,
        place: str = "sparse/0",
        camera: Sequence[Any] = PINHOLE,
        name: Callable[[str], str] = lambda name: name,
        text: bool = False,
        points: bool = True,
    ) -> Path:
        """Write a COLMAP model of the photos instead of a transforms.json."""
        images = [(name(Path(frame["file_path"]).name), frame["transform_matrix"]) for frame in self.frames]
        write_model(self.folder / place, images, camera, text, points)
        return self.folder


def write_model(
    folder: Path, images: Sequence[tuple[str, Any]], camera: Sequence[Any], text: bool, points: bool
) -> None:
    """cameras, images and points3D of photos with OpenGL poses, in COLMAP's files."""
    folder.mkdir(parents=True, exist_ok=True)
    model, width, height, params = camera
    poses = []
    for name, pose in images:
        world_to_camera = np.linalg.inv(np.array(pose) @ np.diag([1.0, -1, -1, 1]))
        x, y, z, w = Rotation.from_matrix(world_to_camera[:3, :3]).as_quat()
        poses.append((name, [w, x, y, z, *world_to_camera[:3, 3]]))
    places = np.random.default_rng(0).normal(size=(50, 3))
    if text:
        (folder / "cameras.txt").write_text(f"# cameras\n1 {model} {width} {height} {' '.join(map(str, params))}\n")
        lines = (f"{k} {' '.join(map(repr, map(float, pose)))} 1 {name}\n\n" for k, (name, pose) in enumerate(poses, 1))
        (folder / "images.txt").write_text("# images\n" + "".join(lines))
        if points:
            rows = (f"{k} {x} {y} {z} 9 9 9 0.5\n" for k, (x, y, z) in enumerate(places, 1))
            (folder / "points3D.txt").write_text("# points\n" + "".join(rows))
        return
    header = struct.pack("<QiiQQ", 1, 1, MODELS[model], width, height)
    (folder / "cameras.bin").write_bytes(header + struct.pack(f"<{len(params)}d", *params))
    entries = [
        struct.pack("<i7di", k, *pose, 1) + name.encode() + b"\0" + struct.pack("<Q", 0)
        for k, (name, pose) in enumerate(poses, 1)
    ]
    (folder / "images.bin").write_bytes(struct.pack("<Q", len(poses)) + b"".join(entries))
    if points:
        rows = [struct.pack("<Q3d3BdQ", k, *place, 9, 9, 9, 0.5, 0) for k, place in enumerate(places, 1)]
        (folder / "points3D.bin").write_bytes(struct.pack("<Q", len(rows)) + b"".join(rows))


def opened(data: Path) -> PhotoDataManager:
    """As `ns-train ... --data DATA` opens it."""
    config = FullImageDatamanagerConfig(_target=PhotoDataManager, dataparser=NerfstudioDataParserConfig())
    config.data = config.dataparser.data = data
    return config.setup(device="cpu", test_mode="val", world_size=1, local_rank=0)


def pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB"))


def listing(folder: Path) -> dict[str, tuple[int, float]]:
    """Every file of a folder, with its size and time: what must not change."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime) for path in found}
