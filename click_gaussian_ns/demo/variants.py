"""Other scenes of the bundled kind: numbers and sizes of objects, clutter, views and noise of the masks differ.

Nothing may be tuned on the scenes in `UNSEEN`: they are there to check what was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from click_gaussian_ns.demo.shapes import PARTS, Part, Surface

_TABLE_RADIUS = 1.0
_LEAST_GAP = 0.05
"""Between two objects' circles on the table, metres."""


@dataclass(frozen=True)
class Noise:
    """How far the masks of one view are from the truth, independently of all other views."""

    missing: float = 0.1
    """Share of the segments that are left out."""
    merged: float = 0.12
    """Share that a neighbour swallows."""
    split: float = 0.1
    """Share that is cut in two."""
    jitter_px: float = 1.5
    """Standard deviation of the borders' place."""


@dataclass(frozen=True)
class Variant:
    """One scene. The defaults are the bundled one's."""

    seed: int = 0
    num_gaussians: int = 15_000
    num_objects: int | None = None
    """Copies of the bundled objects, each turned, resized and recoloured; None: those, where they are."""
    num_clutter: int = 0
    """Small balls and blocks between them, each an object of one part."""
    num_train: int = 24
    width: int = 320
    height: int = 240
    noise: Noise = Noise()


_MORE_NOISE = Noise(merged=0.2, split=0.18, jitter_px=2.0)
_EXTREME = Noise(merged=0.3, jitter_px=3.0)

VARIANTS: dict[str, Variant] = {
    "bundled": Variant(),
    "noisy": Variant(seed=1, noise=_MORE_NOISE),
    "extreme": Variant(noise=_EXTREME),
    "extreme-2": Variant(seed=1, noise=_EXTREME),
    "nine": Variant(seed=2, num_objects=9, num_gaussians=25_000),
    "clutter": Variant(seed=3, num_objects=5, num_clutter=14, num_gaussians=25_000),
    "few-views": Variant(seed=4, num_objects=6, num_train=12),
    "many-views": Variant(seed=5, num_objects=6, num_clutter=5, num_train=60, noise=_MORE_NOISE),
    "small-photos": Variant(seed=6, num_objects=7, width=200, height=150),
    "two": Variant(seed=7, num_objects=2, num_gaussians=8_000, noise=_EXTREME),
}
UNSEEN = ("nine", "clutter", "few-views", "many-views", "two")


def parts_of(variant: Variant) -> tuple[Part, ...]:
    """The parts of a variant's objects; the table is always among them."""
    if variant.num_objects is None:
        return PARTS
    rng = np.random.default_rng((variant.seed, 11))
    table = tuple(part for part in PARTS if part.object_name == "table")
    names = sorted({part.object_name for part in PARTS} - {"table"})
    found, taken = list(table), []
    for index in range(variant.num_objects):
        name = names[int(rng.integers(len(names)))] if index >= len(names) else names[index]
        parts = [part for part in PARTS if part.object_name == name]
        found += _placed(parts, f"{name}{index + 1}", rng.uniform(0.45, 0.8), taken, rng)
    for index in range(variant.num_clutter):
        part = next(part for part in PARTS if part.object_name == ("ball", "blocks")[index % 2])
        found += _placed([replace(part, part_name="all")], f"clutter{index + 1}", rng.uniform(0.2, 0.35), taken, rng)
    return tuple(found)


def _placed(
    parts: list[Part], name: str, scale: float, taken: list[tuple[float, float, float]], rng: np.random.Generator
) -> Iterator[Part]:
    """The parts of one object, moved to a free place on the table. `taken` are circles x, y, radius."""
    points = np.concatenate([part.surface(np.random.default_rng(0), 400)[0] for part in parts])
    middle = (points[:, :2].min(axis=0) + points[:, :2].max(axis=0)) / 2
    radius = scale * float(np.linalg.norm(points[:, :2] - middle, axis=1).max())
    best = (-np.inf, 0.0, 0.0)
    for _ in range(200):
        x, y = rng.uniform(-_TABLE_RADIUS, _TABLE_RADIUS, 2)
        if np.hypot(x, y) + radius > _TABLE_RADIUS:
            continue
        gap = min((float(np.hypot(x - a, y - b)) - r - radius for a, b, r in taken), default=np.inf)
        best = max(best, (gap, x, y))
        if gap > _LEAST_GAP:
            break
    taken.append((best[1], best[2], radius))
    turn, tint = rng.uniform(0, 2 * np.pi), rng.uniform(-0.25, 0.25, 3)
    for part in parts:
        red, green, blue = (float(c) for c in np.clip(np.asarray(part.color) + tint, 0.05, 0.95))
        surface = _moved(part.surface, middle, scale, turn, np.array(best[1:]))
        yield replace(part, object_name=name, color=(red, green, blue), area=part.area * scale**2, surface=surface)


def _moved(surface: Surface, middle: np.ndarray, scale: float, turn: float, place: np.ndarray) -> Surface:
    """Turned about z and resized about a point on the table, which then moves to `place`."""
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

    def sample(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        points, normals = surface(rng, count)
        points = scale * (points - np.append(middle, 0.0)) @ rotation.T + np.append(place, 0.0)
        return points, normals @ rotation.T

    return sample
