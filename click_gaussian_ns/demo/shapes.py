"""The bundled scene's Gaussians: flat discs on the surfaces of a few objects with parts, on a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from click_gaussian_ns.types import Splats

_SH_DC = 0.28209479177387814
_THICKNESS = 0.15
"""Of a disc, relative to its radius."""

Surface = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
"""(rng, count) -> points [count, 3] and unit normals [count, 3], z up, metres."""


@dataclass(frozen=True)
class Part:
    """One part of an object."""

    object_name: str
    part_name: str
    color: tuple[float, float, float]
    area: float
    """Square metres: sets how many Gaussians the part gets."""
    surface: Surface


def _sphere(center: tuple[float, float, float], radius: float, low: float = -1.0) -> Surface:
    """A sphere above the height `low`, in radii from the centre."""

    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        z, angle = rng.uniform(low, 1.0, count), rng.uniform(0, 2 * np.pi, count)
        ring = np.sqrt(1 - z * z)
        normals = np.stack([ring * np.cos(angle), ring * np.sin(angle), z], 1)
        return np.asarray(center) + radius * normals, normals

    return sample


def _tube(x: float, y: float, low: float, high: float, radius: float, top_radius: float | None = None) -> Surface:
    """The side of a cylinder, or of a cone that ends in `top_radius`."""
    end = radius if top_radius is None else top_radius

    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        t, angle = rng.uniform(0, 1, count), rng.uniform(0, 2 * np.pi, count)
        r = radius + (end - radius) * t
        points = np.stack([x + r * np.cos(angle), y + r * np.sin(angle), low + (high - low) * t], 1)
        slope = (radius - end) / (high - low)
        normals = np.stack([np.cos(angle), np.sin(angle), np.full(count, slope)], 1)
        return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)

    return sample


def _disc(x: float, y: float, z: float, radius: float) -> Surface:
    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        r, angle = radius * np.sqrt(rng.uniform(0, 1, count)), rng.uniform(0, 2 * np.pi, count)
        points = np.stack([x + r * np.cos(angle), y + r * np.sin(angle), np.full(count, z)], 1)
        return points, np.tile([0.0, 0.0, 1.0], (count, 1))

    return sample


def _box(center: tuple[float, float, float], half: float, turn: float) -> Surface:
    """A cube without its bottom, turned about z."""

    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        faces = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1]], float)
        normals = faces[rng.integers(0, 5, count)]
        points = rng.uniform(-1, 1, (count, 3))
        points = np.where(normals != 0, normals, points) * half
        c, s = np.cos(turn), np.sin(turn)
        rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        return points @ rotation.T + np.asarray(center), normals @ rotation.T

    return sample


def _handle(x: float, y: float, z: float, radius: float, thickness: float) -> Surface:
    """Half a torus in the xz plane, open towards -x."""

    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        around, across = rng.uniform(-np.pi / 2, np.pi / 2, count), rng.uniform(0, 2 * np.pi, count)
        outward = np.stack([np.cos(around), np.zeros(count), np.sin(around)], 1)
        normals = outward * np.cos(across)[:, None] + np.array([0, 1.0, 0]) * np.sin(across)[:, None]
        return np.array([x, y, z]) + radius * outward + thickness * normals, normals

    return sample


PARTS: tuple[Part, ...] = (
    Part("table", "top", (0.62, 0.47, 0.32), 3.1, _disc(0.0, 0.0, 0.0, 1.0)),
    Part("snowman", "body", (0.92, 0.93, 0.97), 0.85, _sphere((-0.45, 0.2, 0.26), 0.27)),
    Part("snowman", "head", (0.85, 0.90, 0.99), 0.4, _sphere((-0.45, 0.2, 0.63), 0.17)),
    Part("snowman", "hat", (0.12, 0.12, 0.15), 0.3, _tube(-0.45, 0.2, 0.75, 0.98, 0.13, 0.11)),
    Part("lamp", "base", (0.20, 0.34, 0.55), 0.35, _tube(0.4, 0.45, 0.0, 0.08, 0.2, 0.12)),
    Part("lamp", "pole", (0.70, 0.70, 0.72), 0.15, _tube(0.4, 0.45, 0.08, 0.6, 0.03)),
    Part("lamp", "shade", (0.95, 0.78, 0.25), 0.5, _tube(0.4, 0.45, 0.55, 0.85, 0.24, 0.13)),
    Part("mug", "body", (0.80, 0.16, 0.18), 0.5, _tube(0.1, -0.45, 0.0, 0.32, 0.16)),
    Part("mug", "handle", (0.95, 0.45, 0.40), 0.12, _handle(0.26, -0.45, 0.17, 0.09, 0.025)),
    Part("mug", "coffee", (0.25, 0.14, 0.08), 0.1, _disc(0.1, -0.45, 0.27, 0.15)),
    Part("blocks", "lower", (0.18, 0.55, 0.30), 0.4, _box((0.62, -0.15, 0.14), 0.14, 0.3)),
    Part("blocks", "upper", (0.30, 0.72, 0.75), 0.3, _box((0.62, -0.15, 0.39), 0.11, 0.8)),
    Part("ball", "ball", (0.58, 0.25, 0.65), 0.35, _sphere((-0.35, -0.5, 0.17), 0.17)),
)


def build_splats(
    num_gaussians: int, rng: np.random.Generator, parts: Sequence[Part] = PARTS
) -> tuple[Splats, np.ndarray]:
    """Gaussians of all parts (z up, metres), and the index in `parts` of each [N]."""
    total = sum(part.area for part in parts)
    points, normals, colors, owners, radii = [], [], [], [], []
    for index, part in enumerate(parts):
        count = max(200, round(num_gaussians * part.area / total))
        position, normal = part.surface(rng, count)
        points.append(position)
        normals.append(normal)
        shade = 0.75 + 0.25 * normal[:, 2:] + rng.normal(0, 0.03, (count, 1))
        colors.append(np.clip(np.asarray(part.color) * shade, 0, 1))
        owners.append(np.full(count, index))
        radii.append(np.full(count, 0.9 * np.sqrt(part.area / count)))
    radius = np.concatenate(radii)
    scales = np.stack([radius, radius, radius * _THICKNESS], 1)
    splats = Splats(
        means=_tensor(np.concatenate(points)),
        quats=_tensor(quats_facing(np.concatenate(normals))),
        log_scales=_tensor(np.log(scales)),
        opacity_logits=torch.full((radius.shape[0],), 4.0),
        sh=_tensor((np.concatenate(colors) - 0.5) / _SH_DC)[:, None],
    )
    return splats, np.concatenate(owners)


def quats_facing(normals: np.ndarray) -> np.ndarray:
    """Rotations (wxyz) that take the z axis to each unit normal."""
    w = 1.0 + normals[:, 2]
    quats = np.stack([w, -normals[:, 1], normals[:, 0], np.zeros(len(w))], 1)
    quats[w < 1e-6] = (0.0, 1.0, 0.0, 0.0)
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
