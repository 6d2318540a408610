"""A seeded scene of any size: Gaussians on the surfaces of a few dozen objects, as heavy-tailed as a trained splat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from click_gaussian_ns.demo.scene import look_at
from click_gaussian_ns.demo.shapes import quats_facing
from click_gaussian_ns.splats.cameras import intrinsics, view_from_opengl
from click_gaussian_ns.types import PinholeView, Splats

NUM_OBJECTS = 40
_PARTS_PER_OBJECT = 3
_ROOM = 2.0
"""Half-size of the square floor that objects stand on, world units."""


@dataclass(frozen=True)
class BenchmarkScene:
    """Gaussians and what they belong to."""

    splats: Splats
    objects: torch.Tensor
    """[N] int32."""
    parts: torch.Tensor
    """[N] int32, unique over all objects."""


def make_scene(num_gaussians: int, sh_degree: int = 3, seed: int = 0) -> BenchmarkScene:
    """`num_gaussians` on boxes, balls and a floor; object 0 is the floor with a fifth of them.

    Shapes follow the quantiles of a trained splat (59,721 Gaussians of a tabletop): the longest axis is 1.2 times the
    spacing of the surface's points times exp(0.4 t), t of Student's t with 3 degrees of freedom, so that 1 % is 6 times
    as long as the median; the axes have ratios of 1 to 0.4 to 0.14 (medians, widely spread), none is longer than 0.1;
    opacities are Beta(0.5, 0.8), median 0.3, and fall with the square of what a Gaussian is longer than usual, as else
    the largest would hide all. A pixel of a surface then blends about 55 of them, as in that splat.
    """
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.full(NUM_OBJECTS - 1, 2.0)) * 0.8
    counts = np.concatenate([[num_gaussians], np.zeros(NUM_OBJECTS - 1, int)]).astype(int)
    counts[1:] = (share * num_gaussians).astype(int)
    counts[0] -= counts[1:].sum()
    positions, normals, radii, colors = [], [], [], []
    for index, count in enumerate(counts):
        position, normal, area = _surface(index, count, rng)
        positions.append(position)
        normals.append(normal)
        radii.append(np.full(count, np.sqrt(area / max(count, 1))))
        colors.append(np.clip(rng.uniform(0.1, 0.9, 3) + rng.normal(0, 0.05, (count, 3)), 0, 1))
    points, normal = np.concatenate(positions), np.concatenate(normals)
    spacing = np.concatenate(radii)
    size = np.clip(0.4 * rng.standard_t(3, num_gaussians), -1.5, 2.5)
    longest = np.minimum(1.2 * spacing * np.exp(size), 0.1)
    middle = np.clip(rng.beta(1.3, 1.7, num_gaussians), 0.02, 1.0)
    thin = middle * np.clip(rng.beta(0.9, 1.4, num_gaussians), 0.02, 1.0)
    scales = longest[:, None] * np.stack([np.ones(num_gaussians), middle, thin], axis=1)
    faint = np.exp(-2.0 * np.maximum(size - 0.5, 0.0))
    opacities = np.clip(rng.beta(0.5, 0.8, num_gaussians) * faint, 0.005, 0.9999)
    sh = 0.05 * rng.standard_normal((num_gaussians, (sh_degree + 1) ** 2, 3), dtype=np.float32)
    sh[:, 0] = (np.concatenate(colors) - 0.5) / 0.28209479177387814
    objects = np.repeat(np.arange(NUM_OBJECTS), counts)
    height = points[:, 2] + 0.01 * rng.standard_normal(num_gaussians)
    part = objects * _PARTS_PER_OBJECT + np.clip((height * 4).astype(int), 0, _PARTS_PER_OBJECT - 1)
    splats = Splats(
        means=_float(points),
        quats=_float(_spun(quats_facing(normal), rng.uniform(0, np.pi, num_gaussians))),
        log_scales=_float(np.log(scales)),
        opacity_logits=_float(np.log(opacities / (1 - opacities))),
        sh=torch.from_numpy(sh),
    )
    return BenchmarkScene(splats, torch.from_numpy(objects.astype(np.int32)), torch.from_numpy(part.astype(np.int32)))


def make_views(num_views: int, width: int, height: int) -> list[PinholeView]:
    """Cameras on three rings around the middle, all looking at it."""
    views = []
    for index in range(num_views):
        angle, lift = 2 * np.pi * index * 0.382, (1.0, 1.6, 2.2)[index % 3]
        eye = np.array([3.0 * np.cos(angle), 3.0 * np.sin(angle), lift])
        pose = torch.from_numpy(look_at(eye, np.array([0.0, 0.0, 0.2])))
        focal = 0.9 * width
        views.append(view_from_opengl(pose, intrinsics(focal, focal, width / 2, height / 2), width, height))
    return views


def _surface(index: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Points, unit normals and area: the floor, boxes (even) and balls (odd)."""
    if index == 0:
        flat = rng.uniform(-_ROOM, _ROOM, (count, 2))
        up = np.tile([0.0, 0.0, 1.0], (count, 1))
        return np.column_stack([flat, np.zeros(count)]), up, (2 * _ROOM) ** 2
    half = rng.uniform(0.08, 0.25)
    center = np.array([*rng.uniform(-0.85 * _ROOM, 0.85 * _ROOM, 2), half])
    if index % 2:
        normals = rng.standard_normal((count, 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return center + half * normals, normals, 4 * np.pi * half**2
    faces = np.concatenate([np.eye(3), -np.eye(3)])
    normals = faces[rng.integers(0, 6, count)]
    points = np.where(normals != 0, normals, rng.uniform(-1, 1, (count, 3)))
    return center + half * points, normals, 24 * half**2


def _spun(quats: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Rotations (wxyz) that turn about their own z axis first, by angles in rad."""
    w, x, y, z = quats.T
    c, s = np.cos(angles / 2), np.sin(angles / 2)
    return np.stack([w * c - z * s, x * c + y * s, y * c - x * s, w * s + z * c], axis=1)


def _float(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
