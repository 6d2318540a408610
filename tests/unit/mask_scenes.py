"""Small photos, masks and segmenters for the tests of the mask stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from click_gaussian_ns.masks.segmenter import Segment, ViewGuidance, encode_masks

SIZE = (48, 64)
"""(height, width) of the photos."""


def write_photos(folder: Path, count: int, size: tuple[int, int] = SIZE, seed: int = 0) -> list[Path]:
    """Photos of coloured discs and boxes on a gradient, all different."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    paths = []
    for index in range(count):
        image = np.stack([rows + columns, 200 - rows, 80 + columns], axis=-1).astype(np.uint8)
        for _ in range(4):
            y, x, radius = rng.integers(size[0]), rng.integers(size[1]), rng.integers(4, 14)
            image[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = rng.integers(0, 256, 3)
        path = folder / f"photo_{index:03d}.png"
        Image.fromarray(image).save(path)
        paths.append(path)
    return paths


def random_boxes(seed: int, count: int, size: tuple[int, int]) -> list[Segment]:
    """Overlapping rectangles."""
    rng = np.random.default_rng(seed)
    segments = []
    for _ in range(count):
        mask = np.zeros(size, dtype=bool)
        top, left = rng.integers(size[0] - 8), rng.integers(size[1] - 8)
        mask[top : top + rng.integers(4, size[0] // 2), left : left + rng.integers(4, size[1] // 2)] = True
        (rle,) = encode_masks(mask[None])
        segments.append(
            Segment(rle, int(mask.sum()), float(rng.random()), float(rng.random()), level=int(rng.integers(3)))
        )
    return segments


class BoxSegmenter:
    """Random boxes that depend on the photo; for tests of what is around a segmenter."""

    name = "boxes"
    uses_guidance = False
    gives_levels = True

    def __init__(self, count: int = 5) -> None:
        self.count = count
        self.calls = 0

    def fingerprint(self) -> Mapping[str, Any]:
        return {"count": self.count}

    def segment(self, image: np.ndarray, guidance: ViewGuidance | None) -> list[Segment]:
        self.calls += 1
        return random_boxes(int(image.astype(np.int64).sum()), self.count, image.shape[:2])
