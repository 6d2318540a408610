"""The bundled scene on disk: photos, poses, splat, exact ground truth, and masks as inconsistent as a segmenter's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from click_gaussian_ns.demo.shapes import build_splats
from click_gaussian_ns.demo.variants import Noise, Variant, parts_of
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.splats.cameras import intrinsics, view_from_opengl
from click_gaussian_ns.splats.ply import write_ply
from click_gaussian_ns.types import VIEWER_GRAY, PinholeView, Splats

_FOCAL = 330 / 320
"""Of the width."""
_NUM_TEST = 6


@dataclass(frozen=True)
class DemoScene:
    """Where the scene's files are."""

    data: Path
    splat: Path
    mask_dir: Path
    ground_truth: Path


def write_scene(folder: Path, variant: Variant = Variant()) -> DemoScene:  # noqa: B008
    """Write transforms.json, images/, splat.ply, gt/ and masks/ (label maps as in DESIGN, section 5) to a folder."""
    rng = np.random.default_rng(variant.seed)
    parts_list = parts_of(variant)
    splats, owners = build_splats(variant.num_gaussians, rng, parts_list)
    objects = sorted({part.object_name for part in parts_list})
    object_of = np.array([objects.index(part.object_name) + 1 for part in parts_list])
    width, height, focal = variant.width, variant.height, _FOCAL * variant.width
    for sub in ("images", "gt/coarse", "gt/fine", "masks/coarse", "masks/fine"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    write_ply(folder / "splat.ply", splats)
    num_views = variant.num_train + _NUM_TEST
    poses = ring_poses(num_views)
    test = set(list(range(2, num_views, num_views // _NUM_TEST))[:_NUM_TEST])
    frames = []
    for index, pose in enumerate(poses):
        stem = f"{index:03d}"
        view = view_from_opengl(torch.from_numpy(pose), intrinsics(focal, focal, width / 2, height / 2), width, height)
        photo, parts = _draw(splats, owners, view, len(parts_list))
        Image.fromarray(photo).save(folder / "images" / f"{stem}.png")
        truth = {"coarse": np.concatenate([[0], object_of])[parts], "fine": parts}
        for level, labels in truth.items():
            _save(folder / "gt" / level / f"{stem}.png", labels)
        if index not in test:
            for level, labels in _spoil(truth["coarse"], parts, rng, variant.noise).items():
                _save(folder / "masks" / level / f"{stem}.png", labels)
        frames.append({"file_path": f"images/{stem}.png", "transform_matrix": pose.tolist()})
    names = [frame["file_path"] for frame in frames]
    meta = {
        "camera_model": "OPENCV",
        **{"fl_x": focal, "fl_y": focal, "cx": width / 2, "cy": height / 2, "w": width, "h": height},
        "frames": frames,
        "train_filenames": [name for i, name in enumerate(names) if i not in test],
        "val_filenames": [name for i, name in enumerate(names) if i in test],
        "test_filenames": [name for i, name in enumerate(names) if i in test],
    }
    (folder / "transforms.json").write_text(json.dumps(meta, indent=1))
    labels = {
        "coarse": {str(i + 1): name for i, name in enumerate(objects)},
        "fine": {str(i + 1): f"{part.object_name}/{part.part_name}" for i, part in enumerate(parts_list)},
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


def _draw(splats: Splats, owners: np.ndarray, view: PinholeView, num_parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Photo uint8 [H, W, 3] before a dark wall, and the index of the part plus 1 [H, W] (0 = wall)."""
    prepared = rasterize.prepare(splats, view)
    rendered = rasterize.render(prepared)
    # what the model renders by default, so that `ns-eval` compares like with like
    photo = rendered.image + (1 - rendered.alpha) * torch.tensor(VIEWER_GRAY)
    member = torch.nn.functional.one_hot(torch.from_numpy(owners), num_parts).float()
    weights = rasterize.render(prepared, member).image.numpy()
    parts = np.where(rendered.alpha[..., 0].numpy() >= 0.5, weights.argmax(-1) + 1, 0)
    return (photo.clamp(0, 1).numpy() * 255).round().astype(np.uint8), parts


def _spoil(objects: np.ndarray, parts: np.ndarray, rng: np.random.Generator, noise: Noise) -> dict[str, np.ndarray]:
    """What a segmenter might make of one view, independent of all others: shuffled IDs, some missing, merged, split."""
    smooth = [ndimage.gaussian_filter(rng.normal(size=objects.shape), 6) for _ in range(2)]
    rows, columns = np.indices(objects.shape)
    shift = [noise.jitter_px * s / max(float(s.std()), 1e-9) for s in smooth]
    rows = np.clip(np.rint(rows + shift[0]), 0, objects.shape[0] - 1).astype(int)
    columns = np.clip(np.rint(columns + shift[1]), 0, objects.shape[1] - 1).astype(int)
    return {
        "coarse": _spoil_level(objects[rows, columns], objects[rows, columns] * 0, rng, noise),
        "fine": _spoil_level(parts[rows, columns], objects[rows, columns], rng, noise),
    }


def _spoil_level(labels: np.ndarray, group: np.ndarray, rng: np.random.Generator, noise: Noise) -> np.ndarray:
    result = labels.copy()
    present = [i for i in np.unique(labels) if i]
    fresh = int(labels.max()) + 1
    for label in present:
        where = labels == label
        draw = rng.uniform()
        if draw < noise.missing:
            result[where] = 0
        elif draw < noise.missing + noise.merged:
            ring = ndimage.binary_dilation(where, iterations=2) & ~where & (labels > 0)
            near = labels[ring & (group == np.bincount(group[where]).argmax())]
            if near.size:
                result[where] = np.bincount(near).argmax()
        elif draw < noise.missing + noise.merged + noise.split:
            rows, columns = np.nonzero(where)
            angle = rng.uniform(0, np.pi)
            side = (rows - rows.mean()) * np.sin(angle) + (columns - columns.mean()) * np.cos(angle) > 0
            result[rows[side], columns[side]] = fresh
            fresh += 1
    shuffled = np.concatenate([[0], rng.permutation(fresh) + 1])
    return shuffled[result]


def _save(path: Path, labels: np.ndarray) -> None:
    Image.fromarray(labels.astype(np.uint16)).save(path)
