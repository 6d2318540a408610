"""What `click-gaussian eval` does: ground truth, measurement, metrics.json, the page, and a table on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from click_gaussian_ns.evaluate.datasets import DatasetName, open_ground_truth
from click_gaussian_ns.evaluate.html import PictureBook, write_html
from click_gaussian_ns.evaluate.protocol import evaluate_scene
from click_gaussian_ns.evaluate.results import Protocol, Report
from click_gaussian_ns.evaluate.truth import EvaluatedScene
from click_gaussian_ns.masks.extract import progress_bar

_PRINTED = (
    "miou",
    "boundary_iou",
    "click_miou",
    "tree_click_miou",
    "noc_80",
    "noc_90",
    "everything_miou",
    "view_consistency",
)

_OF_REFERENCES = ("miou_spread", "miou_worst", "click_miou_spread", "click_miou_worst")
"""Of several views that an object is shown in: standard deviation, and the worst; means over objects."""


def run_evaluation(
    scene: EvaluatedScene,
    ground_truth: Path,
    output_path: Path,
    report: Path | None = None,
    dataset: DatasetName = "label-maps",
    seeds: Mapping[str, int] | None = None,
    protocol: Protocol = Protocol(),  # noqa: B008
) -> Report:
    """Measure a trained scene and write what was found.

    Args:
        scene: the trained scene.
        ground_truth: folder of the true masks, see `evaluate.datasets`.
        output_path: where metrics.json goes.
        report: where the HTML page goes; None for no page.
        dataset: layout of the ground truth.
        seeds: of the training, for the record.
        protocol: constants.

    Raises:
        ValueError: the ground truth is missing or does not fit the scene.
    """
    for path in (output_path, report):
        if path is not None and path.is_dir():
            raise ValueError(f"{path} is a folder: give the name of the file to write")
    level_names = tuple(level.name for level in scene.levels)
    truth = open_ground_truth(dataset, ground_truth, scene.views, level_names, protocol.min_pixels, protocol.references)
    book = None if report is None else PictureBook([view.name for view in scene.views])
    with progress_bar() as bar:

        def progress(places: Sequence[int], description: str) -> Iterable[int]:
            return bar.track(places, description=description)

        found = evaluate_scene(scene, truth, protocol, seeds, book or (lambda pictures: None), progress)
    found.write(output_path)
    if report is not None and book is not None:
        write_html(report, found, book)
    _print(found)
    return found


def _print(report: Report) -> None:
    from rich import get_console
    from rich.table import Table

    levels = tuple(dict.fromkeys(result.task.level for result in report.results))
    table = Table("", *levels, title=f"Evaluation, {len(report.facts['scored_views'])} scored views")
    for name in _PRINTED:
        values = [report.metrics.get(f"{level}.{name}") for level in levels]
        table.add_row(name, *("-" if value is None else f"{value:.3f}" for value in values))
    if report.protocol.references > 1:
        for name in _OF_REFERENCES:
            table.add_row(name, *(f"{report.metrics[f'{level}.{name}']:.3f}" for level in levels))
    get_console().print(table)
