"""A click in the viewer, from event to selection, on a seeded scene (no data, no browser needed).

    python benchmarks/click.py --num-gaussians 1000000 [--output-path out.json]

Figures (unit, better, limit): p50_ms and p99_ms with the camera of the last frame (ms, lower, 10 at 1,000,000 on 2
cores), fresh_camera_p50_ms with a camera that no frame was drawn from (ms, lower, 60).
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import machine
import numpy as np
import torch
import tyro
from seeded_scenes import NUM_OBJECTS, BenchmarkScene, make_scene, make_views

from click_gaussian_ns.edit.display import Display
from click_gaussian_ns.features.levels import granularity_levels
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.raster.view_cache import ViewCache
from click_gaussian_ns.splats.transforms import Similarity
from click_gaussian_ns.types import GlobalClusters, PinholeView
from click_gaussian_ns.viewer.session import Session


@dataclass
class Arguments:
    """What to measure on."""

    num_gaussians: int = 1_000_000
    """Gaussians of the scene."""
    width: int = 960
    """Of the view, px."""
    height: int = 720
    """Of the view, px."""
    num_clicks: int = 200
    """Clicks with an unchanged camera, after a warm-up."""
    num_fresh: int = 20
    """Clicks with a new camera each."""
    threads: int = 2
    """CPU cores to use."""
    output_path: Path | None = None
    """Write the figures here as JSON."""


class BenchmarkHost:
    """viewer/host.py's Host over a benchmark scene with exact features."""

    def __init__(self, scene: BenchmarkScene, run_dir: Path) -> None:
        self.lock = threading.Lock()
        self.run_dir = run_dir
        self.levels = granularity_levels()
        self.splats = scene.splats
        self.to_dataparser = Similarity.identity()
        generator = torch.Generator().manual_seed(0)
        self.clusters: Mapping[str, GlobalClusters]
        self.features, self.clusters = self._learned(scene, generator)
        self._display: Display | None = None
        self._views = ViewCache()

    def _learned(
        self, scene: BenchmarkScene, generator: torch.Generator
    ) -> tuple[torch.Tensor, dict[str, GlobalClusters]]:
        """Features as training leaves them: a direction per object and per part, and noise."""
        num = scene.splats.num_gaussians
        directions = torch.nn.functional.normalize(torch.randn(4 * NUM_OBJECTS, 24, generator=generator), dim=-1)
        features = torch.cat([directions[scene.objects.long(), :12], directions[scene.parts.long(), 12:]], dim=1)
        features += 0.02 * torch.randn(num, 24, generator=generator)
        clusters = {}
        for level, labels in zip(self.levels, (scene.objects, scene.parts)):
            own = features[:, level.channels]
            sums = torch.zeros(int(labels.max()) + 1, own.shape[1]).index_add_(0, labels.long(), own)
            centers = torch.nn.functional.normalize(sums, dim=-1)
            clusters[level.name] = GlobalClusters(level.name, centers, labels, torch.ones(num))
        return features, clusters

    def prepared(self, view: PinholeView) -> PreparedView:
        splats = self.splats if self._display is None else self._display.splats
        return self._views.prepared(splats, view, "classic")

    def show(self, display: Display) -> None:
        self._display = display

    def compute_clusters(self) -> None: ...


def main(arguments: Arguments) -> None:
    """Measure, print, write."""
    machine.use_threads(arguments.threads)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        session = Session(BenchmarkHost(make_scene(arguments.num_gaussians), Path(folder)))
        views = make_views(1 + arguments.num_fresh, arguments.width, arguments.height)
        session.host.prepared(views[0])
        kept = [_click(session, views[0], rng) for _ in range(arguments.num_clicks + 20)][20:]
        fresh = [_click(session, view, rng) for view in views[1:]]
    figures = {
        "p50_ms": float(np.percentile(kept, 50)),
        "p99_ms": float(np.percentile(kept, 99)),
        "fresh_camera_p50_ms": float(np.percentile(fresh, 50)),
    }
    record = {
        **{name: round(value, 3) for name, value in figures.items()},
        "num_gaussians": arguments.num_gaussians,
        "num_clicks": arguments.num_clicks,
        "size": [arguments.width, arguments.height],
        "threads": arguments.threads,
        "machine": machine.describe(),
    }
    print(json.dumps(record, indent=2))
    if arguments.output_path is not None:
        arguments.output_path.write_text(json.dumps(record, indent=2) + "\n")


def _click(session: Session, view: PinholeView, rng: np.random.Generator) -> float:
    """Milliseconds from the event to the selection and the display that shows it; clicks on nothing are repeated."""
    while True:
        x, y = rng.uniform(0.1, 0.9) * view.width, rng.uniform(0.3, 0.9) * view.height
        mode = ("set", "add", "remove")[int(rng.integers(3))]
        start = time.perf_counter()
        try:
            session.click(view, x, y, mode)  # pyright: ignore[reportArgumentType]
        except ValueError:
            continue
        return (time.perf_counter() - start) * 1e3


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
