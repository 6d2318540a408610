"""The whole of `ns-train click-gaussian` on a seeded scene of any size, stage by stage, and frames of it.

    python benchmarks/scale.py --num-gaussians 1000000 --num-views 100 --width 960 --height 720 --output-path out.json

nerfstudio's own trainer runs the method's own configuration (3,000 steps, 10,000 pixels and 100,000 spatial samples per
step, GFL from two thirds of the steps on, checkpoints, final clusters); only the viewer is left out. Figures (unit,
better; limits on 2 cores: --num-gaussians 1000000 as above 780 s and 6 GB in all, 200000 with 60 views of 640x480
240 s): setup_s (loading, masks, neighbours, pooling matrices; s, lower), train_s (the steps, refreshes of the global
features, checkpoints), clusters_s (final clusters), total_s (their sum), peak_rss_gb (of this process, GB, lower),
render_rgb_ms and render_24_ms (a frame from a new camera, ms, lower; RGB's limit at 1,000,000 is 250),
blend_rgb_ms and blend_24_ms (their last stage; limit 2 times RGB's), first_frame_extra_s (import and kernels from the
disk cache in a new process, s, lower, 3).

With fewer `--max-steps` the schedule shrinks with them, and `extrapolated` says what 3,000 steps would take by the
median steps seen (an upper bound: first steps cost most). Figures named cpu_ are of all threads together: half of them
is the least that two idle cores would need. `--gate BASELINE.json` compares times, divided by what a matrix product
takes on the machine just then, and ends with 1 if one is a quarter above the baseline's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import machine
import numpy as np
import torch
import tyro
from scale_scene import write_files, written_size
from seeded_scenes import make_views

_FULL_STEPS = 3000
_GATE_TOLERANCE = 1.25
_GATED = ("step_ms", "setup_s", "clusters_s", "render_rgb_ms", "render_24_ms")
_SIZE = ("num_gaussians", "num_views", "num_steps", "num_threads", "width", "height")


@dataclass
class Arguments:
    """What to measure on."""

    num_gaussians: int = 200_000
    """Gaussians of the scene."""
    num_views: int = 60
    """Training views."""
    width: int = 640
    """Of a view, px."""
    height: int = 480
    """Of a view, px."""
    max_steps: int = _FULL_STEPS
    """Training steps."""
    threads: int = 2
    """CPU cores to use."""
    num_frames: int = 9
    """Frames of each kind; the median counts."""
    first_frame: bool = True
    """Measure the first frame of a new process too."""
    scene_dir: Path | None = None
    """Keep the scene's files here and use them again (by default they are temporary)."""
    output_path: Path | None = None
    """Write the figures here as JSON."""
    gate: Path | None = None
    """A record of an earlier run of the same size: fail where this one is slower."""


@dataclass
class Stopwatch:
    """Times of calls, by name."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Wall."""
    cpu_seconds: dict[str, list[float]] = field(default_factory=dict)
    """Of all threads of this process: what a busy machine does not lengthen much."""

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def call(*args: Any, **kwargs: Any) -> Any:
            start, cpu_start = time.perf_counter(), time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds.setdefault(name, []).append(time.perf_counter() - start)
                self.cpu_seconds.setdefault(name, []).append(time.process_time() - cpu_start)

        return call

    def total(self, name: str) -> float:
        return sum(self.seconds.get(name, []))


def train(scene: Path, output_dir: Path, max_steps: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Stage times of one run of nerfstudio's trainer, s, and what it was made of."""
    from click_gaussian_ns.method import pipeline as pipeline_module
    from click_gaussian_ns.method.methods import click_gaussian_method
    from click_gaussian_ns.method.settings import ClickGaussianDataManagerConfig, ClickGaussianModelConfig

    config = click_gaussian_method().config
    config.output_dir, config.experiment_name, config.timestamp = output_dir, "scale", "run"
    config.data, config.max_num_iterations = scene, max_steps
    config.vis = "tensorboard"
    config.viewer.quit_on_train_completion = True
    datamanager = cast(ClickGaussianDataManagerConfig, config.pipeline.datamanager)
    datamanager.data = scene
    datamanager.mask_generator, datamanager.mask_dir = "folder", scene / "masks"
    model = cast(ClickGaussianModelConfig, config.pipeline.model)
    model.splat = scene / "splat.ply"

    watch = Stopwatch()
    build_pooling = pipeline_module.build_pooling
    pipeline_module.build_pooling = watch.around("pooling", build_pooling)
    try:
        trainer = config.setup(local_rank=0, world_size=1)
        watch.around("setup", trainer.setup)()
        pipeline = trainer.pipeline
        trainer.train_iteration = watch.around("step", trainer.train_iteration)
        trainer.save_checkpoint = watch.around("checkpoint", trainer.save_checkpoint)
        trainer.eval_iteration = watch.around("eval", trainer.eval_iteration)
        pipeline.model.refresh_guides = watch.around("refresh", pipeline.model.refresh_guides)
        pipeline.refresh_clusters = watch.around("clusters", pipeline.refresh_clusters)
        watch.around("train", trainer.train)()
    finally:
        pipeline_module.build_pooling = build_pooling
    steps = np.array(watch.seconds["step"])
    clusters = watch.seconds["clusters"][-1]
    stages = {
        "setup_s": watch.total("setup"),
        "train_s": watch.total("train") - clusters,
        "clusters_s": clusters,
        "total_s": watch.total("setup") + watch.total("train"),
        "pooling_s": watch.total("pooling"),
        "step_ms": float(np.median(steps)) * 1e3,
        "first_steps_ms": float(np.mean(steps[:100])) * 1e3,
        "refresh_s": float(np.median(watch.seconds.get("refresh", [0.0]))),
        "cpu_setup_s": sum(watch.cpu_seconds["setup"]),
        "cpu_step_ms": float(np.median(watch.cpu_seconds["step"])) * 1e3,
        "cpu_clusters_s": watch.cpu_seconds["clusters"][-1],
        "checkpoints_s": watch.total("checkpoint"),
        "eval_s": watch.total("eval"),
    }
    counts = {f"num_{level}_clusters": count for level, count in pipeline.model.cluster_counts().items()}
    return stages, counts


def extrapolate(stages: dict[str, float], num_views: int) -> dict[str, float]:
    """Times of the full 3,000 steps by the medians of fewer."""
    first = min(num_views, 100)
    steps = first * stages["first_steps_ms"] + (_FULL_STEPS - first) * stages["step_ms"]
    saves = 6 * stages["checkpoints_s"] + 3 * stages["eval_s"]
    trained = steps / 1e3 + 15 * stages["refresh_s"] + saves
    return {"train_s": trained, "total_s": stages["setup_s"] + trained + stages["clusters_s"]}


def frames(scene: Path, arguments: Arguments) -> dict[str, float]:
    """Medians of whole frames from new cameras, and of their blending alone, ms."""
    from click_gaussian_ns.raster import rasterize
    from click_gaussian_ns.splats.ply import read_ply

    splats, _ = read_ply(scene / "splat.ply")
    features = torch.randn(splats.num_gaussians, 24, generator=torch.Generator().manual_seed(0))
    times: dict[str, list[float]] = {}
    # the cameras behind those of training: none was seen before
    for view in make_views(arguments.num_views + arguments.num_frames + 1, arguments.width, arguments.height)[
        arguments.num_views :
    ]:
        start = time.perf_counter()
        prepared = rasterize.prepare(splats, view)
        between = time.perf_counter()
        rasterize.render(prepared)
        colored = time.perf_counter()
        rasterize.render(prepared, features)
        end = time.perf_counter()
        colors = rasterize.visible_colors(prepared)
        blend_rgb = machine.timed(lambda prepared=prepared, colors=colors: rasterize.render(prepared, colors))
        for name, seconds in (
            ("prepare_ms", between - start),
            ("render_rgb_ms", colored - start),
            ("render_24_ms", between - start + end - colored),
            ("blend_rgb_ms", blend_rgb),
            ("blend_24_ms", end - colored),
        ):
            times.setdefault(name, []).append(seconds * 1e3)
    return {name: float(np.median(values[1:])) for name, values in times.items()}


_FIRST_FRAME = """
import sys, time
sys.path.insert(0, sys.argv[1])
import torch
from seeded_scenes import make_scene, make_views
splats, views = make_scene(int(sys.argv[2])).splats, make_views(3, int(sys.argv[3]), int(sys.argv[4]))
start = time.perf_counter()
from click_gaussian_ns.raster import rasterize
for view in views:
    rasterize.render(rasterize.prepare(splats, view))
    print(time.perf_counter() - start)
    start = time.perf_counter()
"""


def first_frame_extra_s(arguments: Arguments) -> float:
    """What the first frame of a new process takes more than its third: importing the rasterizer, loading kernels."""
    size = [str(n) for n in (arguments.num_gaussians, arguments.width, arguments.height)]
    command = [sys.executable, "-c", _FIRST_FRAME, str(Path(__file__).parent), *size]
    first, _, third = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    return first - third


def failures(figures: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    """What is a quarter slower than the baseline, relative to each machine's product of matrices."""
    if any(figures[key] != baseline[key] for key in _SIZE):
        raise ValueError("the baseline was measured at another size: give the arguments that its file names")
    found = []
    unit = figures["calibration"]["arithmetic_ms"] / baseline["calibration"]["arithmetic_ms"]
    for name in _GATED:
        ratio = figures[name] / baseline[name] / unit
        print(f"{name:>16} {ratio:6.2f} times the baseline")
        if ratio > _GATE_TOLERANCE:
            found.append(f"{name} is {ratio:.2f} times the baseline's")
    return found


def main(arguments: Arguments) -> dict[str, Any]:
    """Measure, print a table, write."""
    machine.use_threads(arguments.threads)
    size = (arguments.num_gaussians, arguments.num_views, arguments.width, arguments.height)
    with tempfile.TemporaryDirectory() as temporary:
        scene = arguments.scene_dir or Path(temporary) / "scene"
        if not (scene / "transforms.json").is_file():
            # in a process of its own: its memory is not what is measured
            subprocess.run([sys.executable, __file__, "--write", str(scene), *map(str, size)], check=True)
        if written_size(scene) != size:
            raise ValueError(
                f"--scene-dir {scene} holds {written_size(scene)} (Gaussians, views, width, height), not {size}: name "
                "another folder"
            )
        described, calibration = machine.describe(), machine.calibration_ms()
        stages, counts = train(scene, Path(temporary) / "runs", arguments.max_steps)
        peak = machine.peak_rss_gb()
        drawn = frames(scene, arguments)
        first = {"first_frame_extra_s": first_frame_extra_s(arguments)} if arguments.first_frame else {}
    figures: dict[str, Any] = {**stages, "peak_rss_gb": peak, **drawn, **first}
    figures = {name: round(value, 4) for name, value in figures.items()}
    for name, value in figures.items():
        print(f"{name:>20} {value:10.2f}")
    if arguments.max_steps != _FULL_STEPS:
        extrapolated = {name: round(value, 2) for name, value in extrapolate(stages, arguments.num_views).items()}
        figures["extrapolated"] = {"from_steps": arguments.max_steps, "to_steps": _FULL_STEPS, **extrapolated}
        print(f"extrapolated from {arguments.max_steps} to {_FULL_STEPS} steps: {extrapolated}")
    figures |= {
        "num_gaussians": arguments.num_gaussians,
        "num_views": arguments.num_views,
        "num_steps": arguments.max_steps,
        "num_threads": arguments.threads,
        "width": arguments.width,
        "height": arguments.height,
        **counts,
        "calibration": calibration,
        "machine": described,
    }
    if arguments.output_path is not None:
        arguments.output_path.write_text(json.dumps(figures, indent=1) + "\n")
    if arguments.gate is not None:
        slower = failures(figures, json.loads(arguments.gate.read_text()))
        if slower:
            sys.exit("; ".join(slower))
    return figures


if __name__ == "__main__":
    if sys.argv[1:2] == ["--write"]:
        folder = Path(sys.argv[2])
        part = folder.with_name(folder.name + f".part{os.getpid()}")
        part.mkdir(parents=True)
        write_files(part, *map(int, sys.argv[3:]))
        part.rename(folder)
    else:
        main(tyro.cli(Arguments, description=__doc__))
