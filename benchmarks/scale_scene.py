"""The files of a seeded scene of any size, as `ns-train click-gaussian` takes them: splat, poses, photos, masks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from plyfile import PlyData
from seeded_scenes import make_scene, make_views

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.raster.vote import winning_labels
from click_gaussian_ns.splats.ply import write_ply
from click_gaussian_ns.types import PinholeView

_NUM_TEST = 1
_P_MISSING, _P_MERGED = 0.1, 0.1


def write_files(folder: Path, num_gaussians: int, num_views: int, width: int, height: int, seed: int = 0) -> None:
    """splat.ply, transforms.json, images/ and masks/{coarse,fine}/ of `num_views` training views.

    Label maps are what the Gaussians show, objects and parts, spoiled view by view as a segmenter would: a tenth of the
    segments is missing and a tenth merged with another, IDs are shuffled. Photos are flat: only their size is used.
    """
    rng = np.random.default_rng(seed)
    scene = make_scene(num_gaussians, seed=seed)
    write_ply(folder / "splat.ply", scene.splats)
    owners = torch.zeros(int(scene.parts.max()) + 1, dtype=torch.int32)
    owners[scene.parts.long()] = scene.objects
    object_of = np.concatenate([[0], owners.numpy() + 1])
    for sub in ("images", "masks/coarse", "masks/fine"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    photo = folder / "images" / "photo.png"
    Image.fromarray(np.full((height, width, 3), 128, np.uint8)).save(photo)
    frames = []
    views = make_views(num_views + _NUM_TEST, width, height)
    for index, view in enumerate(views):
        name = f"{index:04d}"
        os.link(photo, folder / "images" / f"{name}.png")
        if index < num_views:
            parts = winning_labels(rasterize.prepare(scene.splats, view), scene.parts.numpy()) + 1
            for level, labels in (("coarse", object_of[parts]), ("fine", parts)):
                Image.fromarray(_spoil(labels, rng)).save(folder / "masks" / level / f"{name}.png")
        frames.append({"file_path": f"images/{name}.png", "transform_matrix": _opengl_pose(view).tolist()})
    names = [frame["file_path"] for frame in frames]
    K = views[0].K
    meta = {
        "camera_model": "OPENCV",
        **{"fl_x": float(K[0, 0]), "fl_y": float(K[1, 1]), "cx": float(K[0, 2]), "cy": float(K[1, 2])},
        **{"w": width, "h": height, "frames": frames},
        "train_filenames": names[:num_views],
        "val_filenames": names[num_views:],
        "test_filenames": names[num_views:],
    }
    (folder / "transforms.json").write_text(json.dumps(meta))


def written_size(folder: Path) -> tuple[int, int, int, int]:
    """Gaussians, training views, width and height of what `write_files` left there."""
    meta = json.loads((folder / "transforms.json").read_bytes())
    num_gaussians = PlyData.read(folder / "splat.ply", mmap="r")["vertex"].count
    return num_gaussians, len(meta["train_filenames"]), meta["w"], meta["h"]


def _spoil(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Label map uint16 with segments missing, merged and renumbered."""
    num = int(labels.max()) + 1
    new = np.concatenate([[0], rng.permutation(num - 1) + 1])
    draw = rng.uniform(size=num)
    merged = (draw >= _P_MISSING) & (draw < _P_MISSING + _P_MERGED)
    new[1:][merged[1:]] = rng.permutation(new[1:])[merged[1:]]
    new[draw < _P_MISSING] = 0
    return new[labels].astype(np.uint16)


def _opengl_pose(view: PinholeView) -> np.ndarray:
    pose = np.linalg.inv(view.viewmat.double().numpy())
    pose[:, 1:3] *= -1
    return pose
