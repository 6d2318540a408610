"""How many times faster than what one would write first, on the same inputs.

    python benchmarks/compare.py [--output-path out.json]

Ratios (higher is better; limits on 2 cores): gsplat_ratio, a frame of 24 channels by gsplat's own PyTorch reference on
CPU against ours, preparation included in both (50); step_ratio, a training step whose losses are written literally,
dense pair matrices and autograd, against ours, both from the same blending weights (5). One after the other in one
process, each after a warm-up.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import machine
import numpy as np
import torch
import tyro
from seeded_scenes import make_scene, make_views
from torch.nn.functional import normalize

from click_gaussian_ns.raster import matrices

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "parity"))
import gsplat_reference

from click_gaussian_ns.features.head import initial_features
from click_gaussian_ns.features.known_gradient import with_gradient_of_sum
from click_gaussian_ns.features.levels import channel_shares, granularity_levels
from click_gaussian_ns.features.neighbors import nearest_neighbors
from click_gaussian_ns.features.sampling import sample_gaussians
from click_gaussian_ns.method.objective import step_gradient, step_inputs
from click_gaussian_ns.method.research import PAPER_EXACT, ResearchConfig
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.raster.vote import winning_labels


@dataclass
class Arguments:
    """What to measure on."""

    num_reference: int = 1_000
    """Gaussians of the frame that gsplat's reference draws, 128x96 px: it is slow."""
    num_gaussians: int = 60_000
    """Gaussians of the training step, a view of 512x384 px."""
    num_pixels: int = 10_000
    """Sampled by the training step."""
    threads: int = 2
    """CPU cores to use."""
    output_path: Path | None = None
    """Write the figures here as JSON."""


def gsplat_ratio(arguments: Arguments) -> dict[str, float]:
    """Times of a frame of 24 channels, ms, and their ratio."""
    splats, view = make_scene(arguments.num_reference, sh_degree=0).splats, make_views(1, 128, 96)[0]
    values = torch.randn(splats.num_gaussians, 24, generator=torch.Generator().manual_seed(0))
    reference = machine.median_ms(lambda: gsplat_reference.render(splats, view, "classic", values, torch.float32), 3)
    ours = machine.median_ms(lambda: rasterize.render(rasterize.prepare(splats, view), values), 15)
    return {"gsplat_reference_ms": reference, "frame_ms": ours, "gsplat_ratio": reference / ours}


def step_ratio(arguments: Arguments) -> dict[str, float]:
    """Times of a step, ms, and their ratio."""
    scene, view = make_scene(arguments.num_gaussians, sh_degree=0), make_views(1, 512, 384)[0]
    config, levels = ResearchConfig(**PAPER_EXACT), granularity_levels()
    prepared = rasterize.prepare(scene.splats, view)
    parts = torch.from_numpy(winning_labels(prepared, scene.parts.numpy())).reshape(-1)
    covered = (parts >= 0).nonzero()[:, 0]
    generator = torch.Generator().manual_seed(0)
    pixel_ids = covered[torch.randint(len(covered), (arguments.num_pixels,), generator=generator)].sort().values
    fine = parts[pixel_ids].long()
    labels = torch.stack([fine // 3, fine]) + 1
    rows = matrices.blend_weights(prepared, pixel_ids)
    neighbors = nearest_neighbors(scene.splats.means, 5)
    start = initial_features(scene.splats.num_gaussians, channel_shares(levels), generator)

    features = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([features], lr=0.01, eps=1e-15, fused=True)
    gradient = np.empty(features.shape, np.float32)

    def ours() -> None:
        optimizer.zero_grad()
        inputs = step_inputs(config, levels, features, neighbors, {}, np.random.default_rng(0))
        values = step_gradient(config, inputs, rows, labels, gradient)
        sum(with_gradient_of_sum(features, values, gradient).values()).backward()  # pyright: ignore
        optimizer.step()

    literal = start.clone().requires_grad_()
    plain = torch.optim.Adam([literal], lr=0.01, eps=1e-15)
    matrix = torch.sparse_csr_tensor(
        rows.row_offsets, rows.gaussian_ids.long(), rows.weights, (rows.num_rows, rows.num_gaussians)
    )
    num = arguments.num_pixels
    sampled = sample_gaussians(scene.splats.num_gaussians, config.spatial_samples, np.random.default_rng(0))

    def dense() -> None:
        plain.zero_grad()
        rendered = matrix @ literal
        loss = torch.zeros(())
        for level, own in zip(levels, labels):
            unit = normalize(rendered[:, level.channels], dim=-1)
            same = own[:, None] == own[None, :]
            loss = loss - ((unit @ unit.T) * same).sum() / num**2
            half = torch.cat([unit[:, : level.detached_stop].detach(), unit[:, level.detached_stop :]], dim=1)
            similarity = half @ half.T
            loss = loss + config.negative_weight * (similarity * (~same & (similarity > level.margin))).sum() / num**2
            radius = rendered[:, level.channels].norm(dim=-1) - level.radius
            loss = loss + config.norm_2d_weight * radius.square().mean()
        for share in channel_shares(levels):
            loss = loss + config.norm_3d_weight * (literal[:, share].norm(dim=-1) - 1.0).square().mean()
        unit = normalize(literal, dim=-1)
        alike = (unit[sampled][:, None] * unit[neighbors.ids[sampled].long()]).sum(-1)
        (loss - config.spatial_weight * alike.mean()).backward()
        plain.step()

    fast = machine.median_ms(ours, 9)
    slow = machine.median_ms(dense, 3)
    return {"literal_step_ms": slow, "step_ms": fast, "step_ratio": slow / fast}


def main(arguments: Arguments) -> dict[str, float]:
    """Measure, print, write."""
    machine.use_threads(arguments.threads)
    described = machine.describe()
    figures = gsplat_ratio(arguments) | step_ratio(arguments)
    for name, value in figures.items():
        print(f"{name:>20} {value:12.1f}")
    if arguments.output_path is not None:
        arguments.output_path.write_text(json.dumps({**figures, "machine": described}, indent=1) + "\n")
    return figures


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
