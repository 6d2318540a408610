"""What a trained scene shows in one view, rendered once for all protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int32

from click_gaussian_ns.evaluate.truth import EvaluatedScene
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.selection.propagate import MIN_COVERAGE, cluster_map

_CLICKABLE_COVERAGE = MIN_COVERAGE + 1e-3
"""Above the coverage that `pick` asks for, whose sum is rounded in another order."""


@dataclass(frozen=True)
class Look:
    """One view."""

    place: int
    """Among the scene's views."""
    prepared: PreparedView
    clusters: dict[str, Int32[np.ndarray, "H W"]]
    """By level, the most similar cluster; NO_CLUSTER where less than half is covered."""
    similarity: dict[str, Float32[np.ndarray, "H W"]]
    """Cosine similarity to it."""
    depth: Float32[np.ndarray, "H W"]
    """Along the camera's axis, world units; 0 where less than half is covered."""
    clickable: Bool[np.ndarray, "H W"]
    """A click here hits something."""


def look(scene: EvaluatedScene, place: int, level_names: Sequence[str]) -> Look:
    """Render one view of a scene at these levels."""
    prepared = rasterize.prepare(scene.splats, scene.views[place].view, scene.rasterize_mode)
    rendered = rasterize.render(prepared, scene.features)
    clusters, similarity = {}, {}
    for level in scene.levels:
        if level.name in level_names:
            found, best = cluster_map(rendered.image[..., level.channels], rendered.alpha, scene.clusters[level.name])
            clusters[level.name] = found.to(torch.int32).cpu().numpy()
            similarity[level.name] = best.cpu().numpy()
    alpha, depth = (picture[..., 0].cpu().numpy() for picture in (rendered.alpha, rendered.depth))
    depth = np.where(alpha >= MIN_COVERAGE, depth, np.float32(0))
    return Look(place, prepared, clusters, similarity, depth, alpha >= _CLICKABLE_COVERAGE)
