"""Everything that is to be seen on a machine with a GPU, in one call: tests, a small training, stages against the CPU.

    python benchmarks/gpu_check.py                      # 10 to 20 minutes; gsplat's kernels compile in the first
    python benchmarks/gpu_check.py --device cpu --num-gaussians 2000 --width 320 --height 240   # tries the script

Writes one JSON and prints one table to paste into an issue. Times are medians in ms, on the whole machine; trainings
are wall time in s from the command on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import machine
import numpy as np
import seeded_scenes
import torch
import tyro

from click_gaussian_ns.demo.scene import DemoScene, write_scene
from click_gaussian_ns.demo.variants import Variant
from click_gaussian_ns.files import write_renamed
from click_gaussian_ns.raster import matrices, rasterize
from click_gaussian_ns.raster.vote import winning_labels
from click_gaussian_ns.runs.machine import what_does_what
from click_gaussian_ns.types import Splats

ROOT = Path(__file__).resolve().parents[1]


def main(
    output_path: Path = Path("gpu_check.json"),
    device: Literal["cuda", "cpu"] = "cuda",
    num_gaussians: int = 1_000_000,
    width: int = 1920,
    height: int = 1080,
    repeats: int = 5,
) -> None:
    """Run it.

    Args:
        output_path: Where the figures go, as JSON.
        device: cuda; with cpu the script itself can be tried anywhere.
        num_gaussians: Of the scene whose stages are timed.
        width: Of its view, px.
        height: Of its view, px.
        repeats: Each stage is timed so often.
    """
    if device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: PyTorch finds no GPU here. `click-gaussian doctor` says why; --device cpu tries the script")
    found: dict[str, object] = {"machine": machine.describe(), "what": what_does_what(device)}
    found["stages_ms"] = stages(device, num_gaussians, width, height, repeats)
    with tempfile.TemporaryDirectory() as folder:
        scene = write_scene(Path(folder) / "scene", Variant())
        found["training_s"] = {name: training(scene, Path(folder) / name, name) for name in {device, "cpu"}}
    found["tests"] = gpu_tests() if device == "cuda" else "not run: without a GPU they run in CI, on a pretended one"
    if device == "cuda":
        found["peak_device_gb"] = torch.cuda.max_memory_allocated() / 1e9
    write_renamed(output_path, json.dumps(found, indent=2).encode())
    print(table(found))


def stages(device: str, num_gaussians: int, width: int, height: int, repeats: int) -> dict[str, float]:
    """Of one view of a made scene."""
    scene = seeded_scenes.make_scene(num_gaussians)
    (view,) = seeded_scenes.make_views(1, width, height)
    moved = Splats(**{name: value.to(device) for name, value in vars(scene.splats).items()})
    host = rasterize.prepare(scene.splats, view)
    labels = (winning_labels(host, scene.parts.numpy()) + 1).astype(np.uint16)[None]
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, width * height, 10_000))
    rows = matrices.blend_weights(host, pixels)
    features = torch.randn(num_gaussians, 24).to(device).requires_grad_()

    def ms(action: Callable[[], object]) -> float:
        def to_the_end() -> None:
            action()
            if device == "cuda":
                torch.cuda.synchronize()

        return round(machine.median_ms(to_the_end, repeats), 2)

    def product() -> None:
        features.grad = None
        rasterize.blend(rows, features).square().sum().backward()

    return {
        "preparing a view, CPU": ms(lambda: rasterize.prepare(scene.splats, view)),
        "pooling its segments, CPU": ms(lambda: matrices.pool_levels(host, labels, 0)),
        "rows of 10,000 pixels, CPU": ms(lambda: matrices.blend_weights(host, pixels)),
        "RGB frame, CPU": ms(lambda: rasterize.render(rasterize.prepare(scene.splats, view))),
        f"RGB frame, {device}": ms(lambda: rasterize.render(rasterize.prepare(moved, view))),
        f"24 channels, {device}": ms(lambda: rasterize.render(rasterize.prepare(moved, view), features.detach())),
        f"rows times features and gradient, {device}": ms(product),
    }


def training(scene: DemoScene, output_dir: Path, device: str) -> float:
    """Wall time of ns-train on the bundled scene, s."""
    command = [
        *(sys.executable, "-m", "nerfstudio.scripts.train", "click-gaussian", "--vis", "tensorboard"),
        *("--machine.device-type", device, "--output-dir", output_dir, "--pipeline.model.splat", scene.splat),
        *("--pipeline.datamanager.mask-generator", "folder", "--pipeline.datamanager.mask-dir", scene.mask_dir),
        *("nerfstudio-data", "--data", scene.data),
    ]
    return round(machine.timed(lambda: subprocess.run(list(map(str, command)), check=True)), 1)


def gpu_tests() -> str:
    """The last line of pytest on all tests that are marked `gpu`."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-m", "gpu", str(ROOT / "tests")], capture_output=True, text=True
    )
    return done.stdout.strip().splitlines()[-1]


def table(found: dict) -> str:
    """To paste into an issue."""
    lines = [f"{found['what']}", "", "| | ms |", "|---|---|"]
    lines += [f"| {name} | {value:g} |" for name, value in found["stages_ms"].items()]
    lines += [f"| ns-train on the bundled scene, {name} | {value:g} s |" for name, value in found["training_s"].items()]
    return "\n".join([*lines, "", f"Tests marked gpu: {found['tests']}"])


if __name__ == "__main__":
    tyro.cli(main)
