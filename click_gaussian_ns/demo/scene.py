"""The bundled scene on disk: photos, poses, splat, exact ground truth, and masks as inconsistent as a segmenter's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from click_gaussian_ns.demo.shapes import PARTS, build_splats
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.splats.cameras import intrinsics, view_from_opengl
from click_gaussian_ns.splats.ply import write_ply
from click_gaussian_ns.types import VIEWER_GRAY, PinholeView, Splats

WIDTH, HEIGHT, FOCAL = 320, 240, 330.0
NUM_TRAIN, NUM_TEST = 24, 6
_P_MISSING, _P_MERGED, _P_SPLIT = 0.1, 0.12, 0.1
_JITTER_PX = 1.5


@dataclass(frozen=True)
class DemoScene:
    """Where the scene's files are."""

    data: Path
    splat: Path
    mask_dir: Path
    ground_truth: Path


def write_scene(folder: Path, seed: int = 0, num_gaussians: int = 15_000) -> DemoScene:
    """Write transforms.json, images/, splat.ply, gt/ and masks/ (label maps as in DESIGN, section 5) to a folder."""
    rng = np.random.default_rng(seed)
    splats, owners = build_splats(num_gaussians, rng)
    objects = sorted({part.object_name for part in PARTS})
    object_of = np.array([objects.index(part.object_name) + 1 for part in PARTS])
    for sub in ("images", "gt/coarse", "gt/fine", "masks/coarse", "masks/fine"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    write_ply(folder / "splat.ply", splats)
    poses = ring_poses(NUM_TRAIN + NUM_TEST)
    test = set(range(2, NUM_TRAIN + NUM_TEST, (NUM_TRAIN + NUM_TEST) // NUM_TEST))
    frames = []
    for index, pose in enumerate(poses):
        stem = f"{index:03d}"
        view = view_from_opengl(torch.from_numpy(pose), intrinsics(FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2), WIDTH, HEIGHT)
        photo, parts = _draw(splats, owners, view)
        Image.fromarray(photo).save(folder / "images" / f"{stem}.png")
        truth = {"coarse": np.concatenate([[0], object_of])[parts], "fine": parts}
        for level, labels in truth.items():
            _save(folder / "gt" / level / f"{stem}.png", labels)
        if index not in test:
            for level, labels in _spoil(truth["coarse"], parts, rng).items():
                _save(folder / "masks" / level / f"{stem}.png", labels)
        frames.append({"file_path": f"images/{stem}.png", "transform_matrix": pose.tolist()})
    names = [frame["file_path"] for frame in frames]
    meta = {
        "camera_model": "OPENCV",
        **{"fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2, "w": WIDTH, "h": HEIGHT},
        "frames": frames,
        "train_filenames": [name for i, name in enumerate(names) if i not in test],
        "val_filenames": [name for i, name in enumerate(names) if i in test],
        "test_filenames": [name for i, name in enumerate(names) if i in test],
    }
    (folder / "transforms.json").write_text(json.dumps(meta, indent=1))
    labels = {
        "coarse": {str(i + 1): name for i, name in enumerate(objects)},
        "fine": {str(i + 1): f"{part.object_name}/{part.part_name}" for i, part in enumerate(PARTS)},
    }
    (folder / "gt" / "labels.json").write_text(json.dumps(labels, indent=1))
    return DemoScene(folder, folder / "splat.ply", folder / "masks", folder / "gt")


def ring_poses(count: int) -> list[np.ndarray]:
    """OpenGL camera-to-world matrices on three rings around the table, looking at its middle."""
    poses = []
    for i in range(count):
        angle, height = 2 * np.pi * i * 0.382, (0.9, 1.5, 2.1)[i % 3]
        position = np.array([2.3 * np.cos(angle), 2.3 * np.sin(angle), height])
        poses.append(look_at(position, np.array([0.05, 0.0, 0.25])))
    return poses


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """OpenGL camera-to-world matrix [4, 4] float32 of a camera that looks at a point, z up."""
    backward = position - target
    backward /= np.linalg.norm(backward)
    right = np.cross([0.0, 0.0, 1.0], backward)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(backward, right), backward, position], 1)
    return pose.astype(np.float32)


def _draw(splats: Splats, owners: np.ndarray, view: PinholeView) -> tuple[np.ndarray, np.ndarray]:
    """Photo uint8 [H, W, 3] before a dark wall, and the index of the part plus 1 [H, W] (0 = wall)."""
    prepared = rasterize.prepare(splats, view)
    rendered = rasterize.render(prepared)
    # what the model renders by default, so that `ns-eval` compares like with like
    photo = rendered.image + (1 - rendered.alpha) * torch.tensor(VIEWER_GRAY)
    member = torch.nn.functional.one_hot(torch.from_numpy(owners), len(PARTS)).float()
    weights = rasterize.render(prepared, member).image.numpy()
    parts = np.where(rendered.alpha[..., 0].numpy() >= 0.5, weights.argmax(-1) + 1, 0)
    return (photo.clamp(0, 1).numpy() * 255).round().astype(np.uint8), parts


def _spoil(objects: np.ndarray, parts: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What a segmenter might make of one view, independent of all others: shuffled IDs, some missing, merged, split."""
    smooth = [ndimage.gaussian_filter(rng.normal(size=objects.shape), 6) for _ in range(2)]
    rows, columns = np.indices(objects.shape)
    shift = [_JITTER_PX * s / max(float(s.std()), 1e-9) for s in smooth]
    rows = np.clip(np.rint(rows + shift[0]), 0, objects.shape[0] - 1).astype(int)
    columns = np.clip(np.rint(columns + shift[1]), 0, objects.shape[1] - 1).astype(int)
    return {
        "coarse": _spoil_level(objects[rows, columns], objects[rows, columns] * 0, rng),
        "fine": _spoil_level(parts[rows, columns], objects[rows, columns], rng),
    }


def _spoil_level(labels: np.ndarray, group: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    result = labels.copy()
    present = [i for i in np.unique(labels) if i]
    fresh = int(labels.max()) + 1
    for label in present:
        where = labels == label
        draw = rng.uniform()
        if draw < _P_MISSING:
            result[where] = 0
        elif draw < _P_MISSING + _P_MERGED:
            ring = ndimage.binary_dilation(where, iterations=2) & ~where & (labels > 0)
            near = labels[ring & (group == np.bincount(group[where]).argmax())]
            if near.size:
                result[where] = np.bincount(near).argmax()
        elif draw < _P_MISSING + _P_MERGED + _P_SPLIT:
            rows, columns = np.nonzero(where)
            angle = rng.uniform(0, np.pi)
            side = (rows - rows.mean()) * np.sin(angle) + (columns - columns.mean()) * np.cos(angle) > 0
            result[rows[side], columns[side]] = fresh
            fresh += 1
    shuffled = np.concatenate([[0], rng.permutation(fresh) + 1])
    return shuffled[result]


def _save(path: Path, labels: np.ndarray) -> None:
    Image.fromarray(labels.astype(np.uint16)).save(path)
