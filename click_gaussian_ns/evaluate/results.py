"""What was measured: per object and view, the means over objects, and the JSON file that keeps them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from click_gaussian_ns.evaluate.truth import LeftOut, Task
from click_gaussian_ns.files import write_renamed
from click_gaussian_ns.types import Click

FORMAT = "click-gaussian-ns evaluation 1"


@dataclass(frozen=True)
class Protocol:
    """The constants of the protocols of docs/evaluation.md. Nothing is drawn at random."""

    references: int = 1
    """Each object is shown in this many views, one after the other, spread evenly over those that could show it; 1: in
    the one that its data set says."""
    min_pixels: int = 30
    """An object is left out of a view in which it has fewer pixels."""
    similarity: float = 0.9
    """Label propagation: cosine similarity above which a pixel counts for its cluster (the paper's)."""
    boundary_ratio: float = 0.02
    """Boundary IoU: width of the band as a share of the image's diagonal."""
    curve_clicks: int = 5
    """The IoU is given after each of this many clicks."""
    max_clicks: int = 20
    """NoC: an object that does not reach the target within this many clicks counts as this many."""
    noc_targets: tuple[float, ...] = (0.8, 0.9)
    """NoC: IoU in the reference view, ascending."""
    depth_tolerance: float = 0.02
    """View consistency: two views show the same point if its depths differ by no more than this share."""


@dataclass(frozen=True)
class MaskScore:
    """A mask against the true one, each in [0, 1]."""

    iou: float
    boundary_iou: float
    accuracy: float


@dataclass(frozen=True)
class ViewScore:
    """One object in one scored view."""

    propagated: MaskScore
    clicked: MaskScore
    """By the single click."""
    click_ious: tuple[float, ...]
    """After 1, 2, ... clicks; only the first where scribbles are shown."""
    path_ious: tuple[float, ...] = ()
    """Of every node on the path of the first click, from the part up."""


@dataclass(frozen=True)
class TaskResult:
    """One object."""

    task: Task
    reference: str
    """Name of the photo in which it was shown."""
    cluster_ids: tuple[int, ...]
    """By label propagation."""
    clicks: tuple[Click, ...]
    reference_ious: tuple[float, ...] | None
    """After 1, 2, ... clicks, in the reference view; None where scribbles are shown."""
    views: Mapping[str, ViewScore]
    """By name of the photo."""

    def mean(self, value: Callable[[ViewScore], float]) -> float:
        """Mean over the object's scored views."""
        return float(np.mean([value(view) for view in self.views.values()]))

    @property
    def tree_iou(self) -> float | None:
        """The single click's with the best node on its path, which is the one with the best mean over the scored views;
        None where there is no tree."""
        paths = [view.path_ious for view in self.views.values()]
        return max(map(float, np.mean(paths, axis=0))) if all(paths) else None

    def clicks_needed(self, target: float, most: int) -> int | None:
        """Clicks until the reference view's IoU first reached the target; None if it did not within `most`."""
        reached = (count for count, value in enumerate(self.reference_ious or (), 1) if value >= target)
        return next((count for count in reached if count <= most), None)


@dataclass(frozen=True)
class Report:
    """Everything that is written to metrics.json."""

    metrics: dict[str, float | int | None]
    """`<level>.<metric>`; None where nothing could be measured."""
    results: tuple[TaskResult, ...]
    left_out: LeftOut
    dataset: str
    protocol: Protocol
    seeds: dict[str, int]
    facts: dict[str, Any]
    """About the views."""

    def to_json(self) -> str:
        """The metrics are keys of the top level."""
        content = {
            "format": FORMAT,
            **{key: _rounded(value) for key, value in self.metrics.items()},
            "dataset": self.dataset,
            "protocol": {**asdict(self.protocol), **self.facts, "random_draws": 0},
            "seeds": self.seeds,
            "left_out": {
                "views_below_min_pixels": dict(self.left_out.views),
                "objects": {level: list(names) for level, names in self.left_out.objects.items()},
                "masks_without_photo": list(self.left_out.masks),
            },
            "objects": [_object_row(result, self.protocol) for result in self.results],
        }
        return json.dumps(content, indent=1, allow_nan=False)

    def write(self, path: Path) -> None:
        """Write metrics.json."""
        write_renamed(path, self.to_json().encode())


def level_metrics(results: Sequence[TaskResult], protocol: Protocol) -> dict[str, float | int | None]:
    """Means over the objects of one level. An object is worth its mean over its references, these over their views."""
    objects: dict[str, list[TaskResult]] = {}
    for result in results:
        objects.setdefault(result.task.name, []).append(result)

    def over_objects(value: Callable[[TaskResult], float | None]) -> float | None:
        """Of what has a value."""
        found = [[made for result in shown if (made := value(result)) is not None] for shown in objects.values()]
        means = [np.mean(values) for values in found if values]
        return float(np.mean(means)) if means else None

    def mean(value: Callable[[ViewScore], float]) -> float | None:
        return over_objects(lambda result: result.mean(value))

    def clicks_needed(result: TaskResult, target: float) -> float | None:
        if result.reference_ious is None:
            return None
        return float(result.clicks_needed(target, protocol.max_clicks) or protocol.max_clicks)

    def after_clicks(result: TaskResult, count: int) -> float | None:
        return None if result.reference_ious is None else result.mean(lambda view: view.click_ious[count - 1])

    metrics: dict[str, float | int | None] = {
        "miou": mean(lambda view: view.propagated.iou),
        "boundary_iou": mean(lambda view: view.propagated.boundary_iou),
        "macc": mean(lambda view: view.propagated.accuracy),
        "click_miou": mean(lambda view: view.clicked.iou),
        "click_boundary_iou": mean(lambda view: view.clicked.boundary_iou),
        "click_macc": mean(lambda view: view.clicked.accuracy),
    }
    trees = all(result.tree_iou is not None for result in results)
    metrics["tree_click_miou"] = over_objects(lambda result: result.tree_iou) if trees else None
    for count in range(1, protocol.curve_clicks + 1):
        metrics[f"clicks_{count}_miou"] = over_objects(partial(after_clicks, count=count))
    correctable = [result for result in results if result.reference_ious is not None]
    for target in protocol.noc_targets:
        name = f"noc_{round(100 * target)}"
        metrics[name] = over_objects(partial(clicks_needed, target=target))
        needed = [result.clicks_needed(target, protocol.max_clicks) for result in correctable]
        metrics[f"{name}_failures"] = sum(n is None for n in needed) if needed else None
    metrics["num_objects"] = len(objects)
    metrics["num_references"] = len(results)
    for name, value in (("miou", _propagated), ("click_miou", _clicked)):
        of_each = [[value(result) for result in shown] for shown in objects.values()]
        metrics[f"{name}_spread"] = float(np.mean([np.std(values) for values in of_each]))
        metrics[f"{name}_worst"] = float(np.mean([min(values) for values in of_each]))
    return metrics


def _propagated(result: TaskResult) -> float:
    return result.mean(lambda view: view.propagated.iou)


def _clicked(result: TaskResult) -> float:
    return result.mean(lambda view: view.clicked.iou)


def _object_row(result: TaskResult, protocol: Protocol) -> dict[str, Any]:
    return {
        "level": result.task.level,
        "name": result.task.name,
        "reference": result.reference,
        "cluster_ids": list(result.cluster_ids),
        "iou": _rounded(_propagated(result)),
        "boundary_iou": _rounded(result.mean(lambda view: view.propagated.boundary_iou)),
        "accuracy": _rounded(result.mean(lambda view: view.propagated.accuracy)),
        "click_iou": _rounded(_clicked(result)),
        "tree_click_iou": _rounded(result.tree_iou),
        "click_boundary_iou": _rounded(result.mean(lambda view: view.clicked.boundary_iou)),
        "click_accuracy": _rounded(result.mean(lambda view: view.clicked.accuracy)),
        "clicks": [[click.x_px, click.y_px, "negative" if click.negative else "positive"] for click in result.clicks],
        "reference_ious": None if result.reference_ious is None else [_rounded(v) for v in result.reference_ious],
        "noc": {
            f"{round(100 * target)}": result.clicks_needed(target, protocol.max_clicks)
            for target in protocol.noc_targets
        },
        "views": {
            name: {
                "iou": _rounded(view.propagated.iou),
                "boundary_iou": _rounded(view.propagated.boundary_iou),
                "click_ious": [_rounded(value) for value in view.click_ious],
            }
            for name, view in result.views.items()
        },
    }


def _rounded(value: float | int | None) -> float | int | None:
    """Six digits: the last bits of a float differ between machines."""
    return round(value, 6) if isinstance(value, float) and math.isfinite(value) else value
