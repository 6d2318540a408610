"""A training step, and a refresh of the global features against dense rendering, on a seeded scene (no data needed).

    python benchmarks/training_step.py [--num-gaussians 60000] [--num-views 50] [--output-path out.json]

Figures (unit, better, limit): step_ms (ms, lower, 400 on 2 cores), refresh_ratio (times faster than rendering the same
views with 24 channels, higher, 20). Ratios within one run are what to trust on a noisy machine.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import machine
import numpy as np
import torch
import tyro

from click_gaussian_ns.clusters.pooling import build_pooling
from click_gaussian_ns.demo.scene import ring_poses
from click_gaussian_ns.demo.shapes import PARTS, build_splats
from click_gaussian_ns.features.head import initial_features
from click_gaussian_ns.features.levels import channel_shares, granularity_levels
from click_gaussian_ns.features.neighbors import nearest_neighbors
from click_gaussian_ns.features.sampling import sample_pixels
from click_gaussian_ns.method.objective import step_gradient, step_inputs
from click_gaussian_ns.method.research import ResearchConfig
from click_gaussian_ns.raster import matrices, rasterize
from click_gaussian_ns.splats.cameras import intrinsics, view_from_opengl
from click_gaussian_ns.types import LevelMaps


@dataclass
class Arguments:
    """What to measure on."""

    num_gaussians: int = 60_000
    """Gaussians of the scene."""
    num_views: int = 50
    """Training views."""
    width: int = 512
    """Of a view, px."""
    height: int = 384
    """Of a view, px."""
    num_pixels: int = 10_000
    """Sampled per step."""
    num_steps: int = 150
    """Steps timed, from random features on: the first ones, where no pair of pixels can be skipped, cost most."""
    output_path: Path | None = None
    """Write the figures here as JSON."""


class Maps:
    """Exact label maps in memory."""

    names = ("coarse", "fine")

    def __init__(self, maps: list[LevelMaps]) -> None:
        self._maps = maps

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, index: int) -> LevelMaps:
        return self._maps[index]


def main(arguments: Arguments) -> dict[str, float]:
    """Measure, print a table, return the figures."""
    config = ResearchConfig(gfl_weight=0.0)
    levels = granularity_levels()
    splats, owners = build_splats(arguments.num_gaussians, np.random.default_rng(0))
    K = intrinsics(1.1 * arguments.width, 1.1 * arguments.width, arguments.width / 2, arguments.height / 2)
    views = [
        view_from_opengl(torch.from_numpy(pose), K, arguments.width, arguments.height)
        for pose in ring_poses(arguments.num_views)
    ]
    prepared = [rasterize.prepare(splats, view) for view in views]
    objects = sorted({part.object_name for part in PARTS})
    object_of = np.array([0] + [objects.index(part.object_name) + 1 for part in PARTS])
    member = torch.nn.functional.one_hot(torch.from_numpy(owners), len(PARTS)).float()
    maps = []
    for view in prepared:
        drawn = rasterize.render(view, member)
        parts = np.where(drawn.alpha[..., 0].numpy() > 0.5, drawn.image.numpy().argmax(-1) + 1, 0)
        maps.append(LevelMaps(Maps.names, np.stack([object_of[parts], parts]).astype(np.uint16)))
    source = Maps(maps)
    features = initial_features(splats.num_gaussians, channel_shares(levels), torch.Generator().manual_seed(0))
    features.requires_grad_()
    optimizer = torch.optim.Adam([features], lr=0.01, eps=1e-15, fused=True)
    gradient = np.empty(features.shape, np.float32)
    neighbors = nearest_neighbors(splats.means, config.spatial_neighbors)
    step_number = 0

    def step() -> None:
        nonlocal step_number
        rng = np.random.default_rng(step_number)
        index = step_number % len(views)
        step_number += 1
        pixels = sample_pixels(source[index], arguments.num_pixels, rng, 0.25)
        optimizer.zero_grad()
        rows = matrices.blend_weights(prepared[index], pixels.pixel_ids)
        inputs = step_inputs(config, levels, features, neighbors, {}, rng)
        step_gradient(config, inputs, rows, pixels.labels, gradient)
        features.grad = torch.from_numpy(gradient)
        optimizer.step()

    figures = {"step_ms": machine.median_ms(step, arguments.num_steps)}
    start = time.perf_counter()
    pooling = build_pooling(splats, views, source)
    figures["pooling_build_ms"] = (time.perf_counter() - start) * 1e3
    detached = features.detach()

    def refresh() -> None:
        for level in levels:
            pooling.segment_means(detached[:, level.channels], level.name)

    def dense() -> None:
        for view in prepared:
            rasterize.render(view, detached)

    figures["refresh_ms"] = machine.median_ms(refresh, 5)
    figures["dense_render_ms"] = machine.median_ms(dense, 1)
    figures["refresh_ratio"] = figures["dense_render_ms"] / figures["refresh_ms"]
    for name, value in figures.items():
        print(f"{name:>18} {value:10.1f}")
    if arguments.output_path is not None:
        record = {**figures, "arguments": {**asdict(arguments), "output_path": None}, "machine": machine.describe()}
        arguments.output_path.write_text(json.dumps(record, indent=1))
    return figures


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
