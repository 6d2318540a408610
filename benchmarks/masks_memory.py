"""Memory of the mask stage and of training on many photos, above what the program needs before them.

    python benchmarks/masks_memory.py [--num-images 600] [--num-segments 80] [--output-path out.json]

Figure (unit, better, limit): peak_above_baseline_mb (MiB, lower, 1500): the largest resident set during extraction
bookkeeping and training, less the one after all imports and one training step on one photo. Segments are synthetic: the
figure is about what is kept of them, not about SAM.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import tyro
from PIL import Image

from click_gaussian_ns.demo.scene import ring_poses
from click_gaussian_ns.demo.shapes import build_splats
from click_gaussian_ns.features.head import initial_features
from click_gaussian_ns.features.levels import channel_shares, granularity_levels
from click_gaussian_ns.features.neighbors import nearest_neighbors
from click_gaussian_ns.features.sampling import sample_pixels
from click_gaussian_ns.masks import extract
from click_gaussian_ns.masks.config import MaskConfig
from click_gaussian_ns.masks.segmenter import Segment, ViewGuidance, encode_masks
from click_gaussian_ns.method.objective import step_gradient, step_inputs
from click_gaussian_ns.method.research import ResearchConfig
from click_gaussian_ns.raster import matrices, rasterize
from click_gaussian_ns.splats.cameras import intrinsics, view_from_opengl
from click_gaussian_ns.types import LevelMapSource


@dataclass
class Arguments:
    """What to measure on."""

    num_images: int = 600
    """Training photos."""
    num_segments: int = 80
    """Segments per photo."""
    width: int = 640
    """Of a photo, px."""
    height: int = 480
    """Of a photo, px."""
    num_steps: int = 50
    """Training steps."""
    num_gaussians: int = 20_000
    """Gaussians of the scene."""
    num_pixels: int = 10_000
    """Sampled per step."""
    output_path: Path | None = None
    """Write the figures here as JSON."""


class Ellipses:
    """A segmenter of random ellipses, which overlap."""

    name = "ellipses"
    uses_guidance = False
    gives_levels = False

    def __init__(self, count: int) -> None:
        self._count = count

    def fingerprint(self) -> Mapping[str, Any]:
        return {"count": self._count}

    def segment(self, image: np.ndarray, guidance: ViewGuidance | None) -> list[Segment]:
        height, width = image.shape[:2]
        rng = np.random.default_rng(int(image[0, 0].astype(np.int64) @ [1, 256, 65536]))
        rows, columns = np.mgrid[:height, :width]
        segments = []
        for _ in range(self._count):
            y, x, a, b = rng.uniform([0, 0, 8, 8], [height, width, height / 5, width / 5])
            mask = ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1
            if mask.any():
                (rle,) = encode_masks(mask[None])
                segments.append(Segment(rle, int(mask.sum()), float(rng.random()), float(rng.random())))
        return segments


class PeakMemory:
    """The largest resident set of this process while inside, MiB."""

    def __enter__(self) -> PeakMemory:
        self.peak_mb = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process()
        while not self._stop.is_set():
            self.peak_mb = max(self.peak_mb, process.memory_info().rss / 2**20)
            time.sleep(0.005)


def write_photos(folder: Path, arguments: Arguments) -> list[Path]:
    """Small noise enlarged: files of a few kB that decode to full-size photos."""
    rng = np.random.default_rng(0)
    paths = []
    for index in range(arguments.num_images):
        noise = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        paths.append(folder / f"photo_{index:04d}.png")
        noise.resize((arguments.width, arguments.height), Image.Resampling.NEAREST).save(paths[-1])
    return paths


def main(arguments: Arguments) -> dict[str, float]:
    """Measure, print a table, return the figures."""
    size = (arguments.height, arguments.width)
    train = Trainer(arguments)
    extract.make_segmenter = lambda config, device: Ellipses(arguments.num_segments)
    with tempfile.TemporaryDirectory() as folder:
        photos = write_photos(Path(folder), arguments)
        config = MaskConfig(mask_generator="superpixels", mask_cache_dir=Path(folder) / "warm")
        train(extract.prepare_level_maps(config, photos[:1], [size]), 1)
        baseline_mb = psutil.Process().memory_info().rss / 2**20
        config = MaskConfig(mask_generator="superpixels", mask_cache_dir=Path(folder) / "cache")
        with PeakMemory() as extraction:
            source = extract.prepare_level_maps(config, photos, [size] * len(photos))
        with PeakMemory() as training:
            train(source, arguments.num_steps)
    figures = {
        "baseline_mb": baseline_mb,
        "extraction_above_baseline_mb": extraction.peak_mb - baseline_mb,
        "training_above_baseline_mb": training.peak_mb - baseline_mb,
        "peak_above_baseline_mb": max(extraction.peak_mb, training.peak_mb) - baseline_mb,
    }
    for name, value in figures.items():
        print(f"{name:>30} {value:10.1f}")
    if arguments.output_path is not None:
        arguments.output_path.write_text(json.dumps({**figures, "cores": os.cpu_count()}, indent=1))
    return figures


class Trainer:
    """Training steps of the method (without global features) on a seeded scene, one view per photo."""

    def __init__(self, arguments: Arguments) -> None:
        self._arguments = arguments
        self._config = ResearchConfig(gfl_weight=0.0)
        self._levels = granularity_levels()
        self._splats, _ = build_splats(arguments.num_gaussians, np.random.default_rng(0))
        width, height = arguments.width, arguments.height
        K = intrinsics(1.1 * width, 1.1 * width, width / 2, height / 2)
        poses = ring_poses(arguments.num_images)
        self._views = [view_from_opengl(torch.from_numpy(pose), K, width, height) for pose in poses]
        shares = channel_shares(self._levels)
        self._features = initial_features(self._splats.num_gaussians, shares, torch.Generator().manual_seed(0))
        self._features.requires_grad_()
        self._gradient = np.empty(self._features.shape, np.float32)
        self._optimizer = torch.optim.Adam([self._features], lr=0.01)
        self._neighbors = nearest_neighbors(self._splats.means, self._config.spatial_neighbors)

    def __call__(self, source: LevelMapSource, num_steps: int) -> None:
        order = np.random.default_rng(0).permutation(len(source))
        for step in range(num_steps):
            rng = np.random.default_rng(step)
            index = int(order[step % len(source)])
            prepared = rasterize.prepare(self._splats, self._views[index])
            pixels = sample_pixels(source[index], self._arguments.num_pixels, rng, 0.5)
            rows = matrices.blend_weights(prepared, pixels.pixel_ids) if pixels.pixel_ids.numel() else None
            inputs = step_inputs(self._config, self._levels, self._features, self._neighbors, {}, rng)
            step_gradient(self._config, inputs, rows, pixels.labels, self._gradient)
            self._features.grad = torch.from_numpy(self._gradient)
            self._optimizer.step()


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
