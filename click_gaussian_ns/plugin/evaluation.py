"""A run as the plain values that evaluate/ takes."""

from __future__ import annotations

from typing import Literal, cast

from click_gaussian_ns.evaluate.truth import EvaluatedScene, EvaluatedView
from click_gaussian_ns.plugin.runs import Run
from click_gaussian_ns.plugin.views import undistorted_view


def evaluated_scene(run: Run) -> EvaluatedScene:
    """The run's Gaussians, features and clusters, and the views of all its photos.

    Raises:
        ValueError: it has no clusters.
    """
    model = run.pipeline.model
    if not model.has_clusters:
        raise ValueError(
            f"{run.run_dir} has no clusters to evaluate: train longer, or lower --pipeline.model.cluster-views-fraction"
        )
    views = []
    for named in run.views:
        view, photo_pixels = undistorted_view(named.camera)
        single = named.camera.reshape(())
        photo_size = (int(single.height.item()), int(single.width.item()))
        split = cast(Literal["train", "test"], named.split)
        views.append(EvaluatedView(named.path.name, view, split, photo_size, photo_pixels))
    return EvaluatedScene(
        splats=model.splats,
        features=model.click_features.detach(),
        levels=model.levels,
        clusters=model.clusters,
        views=tuple(views),
        rasterize_mode=model.config.rasterize_mode,
    )


def run_seeds(run: Run) -> dict[str, int]:
    """Every seed that the run's training drew from."""
    return {
        "machine": run.config.machine.seed,
        "model": run.pipeline.model.config.seed,
        "datamanager": run.pipeline.datamanager.config.seed,
    }
