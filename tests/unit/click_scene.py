"""A small scene whose clusters are known exactly, and a host that shows it without nerfstudio."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import torch

from click_gaussian_ns.demo.shapes import PARTS, build_splats
from click_gaussian_ns.edit.display import Display
from click_gaussian_ns.features.levels import granularity_levels
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.raster.view_cache import ViewCache
from click_gaussian_ns.splats.transforms import Similarity
from click_gaussian_ns.types import ClusterTree, GlobalClusters, PinholeView, Splats

OBJECTS = ((-0.6, 0.0, 0.0), (0.6, 0.0, 0.0), (0.0, 0.0, 1.5))
"""Centres; each object has an upper and a lower part. The third lies behind the gap between the first two."""
PER_PART = 150
WIDTH, HEIGHT = 160, 120


def small_scene(seed: int = 0) -> tuple[Splats, torch.Tensor, torch.Tensor]:
    """Splats with SH of degree 2, object [N] and part [N] of each Gaussian."""
    generator = torch.Generator().manual_seed(seed)
    means, objects, parts = [], [], []
    for index, center in enumerate(OBJECTS):
        for part, lift in enumerate((-0.15, 0.15)):
            offset = torch.rand(PER_PART, 3, generator=generator) * 0.3 - 0.15
            means.append(torch.tensor(center) + torch.tensor([0.0, lift, 0.0]) + offset)
            objects += [index] * PER_PART
            parts += [2 * index + part] * PER_PART
    points = torch.cat(means)
    num = points.shape[0]
    splats = Splats(
        means=points,
        quats=torch.nn.functional.normalize(torch.randn(num, 4, generator=generator), dim=-1),
        log_scales=torch.full((num, 3), -3.2) + 0.2 * torch.randn(num, 3, generator=generator),
        opacity_logits=torch.full((num,), 3.0),
        sh=0.3 * torch.randn(num, 9, 3, generator=generator),
    )
    return splats, torch.tensor(objects), torch.tensor(parts)


Scene = tuple[Splats, torch.Tensor, torch.Tensor]


def demo_scene_exactly() -> Scene:
    """The bundled scene with the object and the part that each Gaussian was made for."""
    splats, owners = build_splats(15_000, np.random.default_rng(0))
    names = sorted({part.object_name for part in PARTS})
    object_of = torch.tensor([names.index(part.object_name) for part in PARTS])
    parts = torch.from_numpy(owners).long()
    return splats, object_of[parts], parts


def _directions(labels: torch.Tensor) -> torch.Tensor:
    """A unit vector of 12 channels for each label: orthogonal, as long as there are enough of them."""
    count = int(labels.max()) + 1
    random = torch.randn(count, 12, generator=torch.Generator().manual_seed(0))
    return (torch.eye(12) if count <= 12 else torch.nn.functional.normalize(random, dim=-1))[labels]


def _means(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Unit mean feature of each label."""
    means = [features[labels == i].mean(0) for i in range(int(labels.max()) + 1)]
    return torch.nn.functional.normalize(torch.stack(means), dim=1)


def front_view() -> PinholeView:
    """Looks along +z; objects 0 and 1 are left and right of the middle, 2 behind between them."""
    viewmat = torch.eye(4)
    viewmat[2, 3] = 3.0
    K = torch.tensor([[120.0, 0.0, WIDTH / 2], [0.0, 120.0, HEIGHT / 2], [0.0, 0.0, 1.0]])
    return PinholeView(viewmat, K, WIDTH, HEIGHT)


def pixel_of(view: PinholeView, point: tuple[float, float, float]) -> tuple[float, float]:
    """Where a world point projects to, px."""
    camera = view.viewmat[:3, :3] @ torch.tensor(point) + view.viewmat[:3, 3]
    x, y, z = (view.K @ camera).tolist()
    return x / z, y / z


class SmallHost:
    """viewer/host.py's Host over the small scene, or over (splats, object [N], part [N]) of another."""

    def __init__(self, run_dir: Path, with_clusters: bool = True, scene: Scene | None = None) -> None:
        self.lock = threading.Lock()
        self.run_dir = run_dir
        self.levels = granularity_levels()
        self.splats, objects, parts = small_scene() if scene is None else scene
        # one direction per object in the coarse half, one per part in the fine half
        self.features = torch.cat([_directions(objects), _directions(parts)], dim=1)
        self.confidence = torch.ones(len(objects))
        self.to_dataparser = Similarity.identity()
        self.display: Display | None = None
        self.shown = 0
        self._labels = {"coarse": objects.int(), "fine": parts.int()}
        self._centers = {
            level.name: _means(self.features[:, level.channels], self._labels[level.name]) for level in self.levels
        }
        # two parts make an object; the first two objects join before all do
        self._tree = ClusterTree(
            ("fine", "coarse"),
            (6, 3),
            torch.tensor([6, 6, 7, 7, 8, 8, 9, 9, 10, 10, -1], dtype=torch.int32),
            torch.tensor([0.0] * 6 + [0.5] * 3 + [0.8, 1.0]),
        )
        self._views = ViewCache()
        self._num_clusters = 1 if with_clusters else 0

    @property
    def clusters(self) -> dict[str, GlobalClusters]:
        found = {}
        for level in self.levels:
            labels, centers = self._labels[level.name], self._centers[level.name]
            if not self._num_clusters:
                labels, centers = torch.full_like(labels, -1), centers[:0]
            found[level.name] = GlobalClusters(level.name, centers, labels, self.confidence)
        return found

    @property
    def tree(self) -> ClusterTree | None:
        return self._tree if self._num_clusters else None

    def prepared(self, view: PinholeView) -> PreparedView:
        splats = self.splats if self.display is None else self.display.splats
        return self._views.prepared(splats, view, "classic")

    def show(self, display: Display) -> None:
        self.display = display
        self.shown += 1

    def compute_clusters(self) -> None:
        self._num_clusters = 1

    def write_export_config(self, selection_file: Path) -> Path:
        path = selection_file.parent / "config.yml"
        path.write_text("stands for what runs/derived_config.py writes\n")
        return path
