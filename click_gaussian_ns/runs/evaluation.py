"""A run as the plain values that evaluate/ measures, and `click-gaussian eval`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click_gaussian_ns.evaluate.command import run_evaluation
from click_gaussian_ns.evaluate.datasets import DatasetName
from click_gaussian_ns.evaluate.results import Protocol, Report
from click_gaussian_ns.evaluate.truth import EvaluatedScene, EvaluatedView
from click_gaussian_ns.runs.open_run import Run, open_run
from click_gaussian_ns.scenes.views import undistorted_view


def evaluated_scene(run: Run) -> EvaluatedScene:
    """The run's Gaussians, features, clusters and views."""
    views = []
    for named in run.views:
        _, photo_pixels = undistorted_view(named.camera)
        photo_size = (int(named.camera.height.item()), int(named.camera.width.item()))
        views.append(EvaluatedView(named.name, named.view, named.split, photo_size, photo_pixels))
    return EvaluatedScene(
        splats=run.splats,
        features=run.features,
        levels=run.levels,
        clusters=run.clusters,
        tree=run.tree,
        views=tuple(views),
        rasterize_mode=run.rasterize_mode,
    )


def evaluate_run(
    run: Run,
    ground_truth: Path,
    output_path: Path,
    report: Path | None = None,
    dataset: DatasetName = "label-maps",
    references: int = 1,
) -> Report:
    """Measure an open run; see `run_evaluation`."""
    config: Any = run.config.pipeline
    seeds = {"model": config.model.seed, "datamanager": config.datamanager.seed}
    return run_evaluation(
        evaluated_scene(run), ground_truth, output_path, report, dataset, seeds, Protocol(references=references)
    )


def evaluate_from_shell(
    load_config: Path,
    ground_truth: Path,
    output_path: Path,
    report: Path | None,
    dataset: DatasetName,
    references: int = 1,
) -> None:
    """Open a run and measure it.

    Raises:
        ValueError: no reference, or see `open_run` and `run_evaluation`.
    """
    if references < 1:
        raise ValueError(f"--references {references}: expected 1 or more")
    evaluate_run(open_run(load_config), ground_truth, output_path, report, dataset, references)
