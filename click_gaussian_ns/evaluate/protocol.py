"""Runs every protocol of docs/evaluation.md on a trained scene: the reference views first, then the scored views."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool

from click_gaussian_ns.evaluate.clicks import ClickSession, run_sessions
from click_gaussian_ns.evaluate.everything import ConsistencyScore, EverythingScore
from click_gaussian_ns.evaluate.look import Look, look
from click_gaussian_ns.evaluate.metrics import boundary_iou, boundary_width_px, iou, pixel_accuracy
from click_gaussian_ns.evaluate.results import MaskScore, Protocol, Report, TaskResult, ViewScore, level_metrics
from click_gaussian_ns.evaluate.truth import EvaluatedScene, GroundTruth, Task
from click_gaussian_ns.selection.packed import PackedMask
from click_gaussian_ns.selection.pick import click_features, visible_gaussians
from click_gaussian_ns.selection.propagate import propagated_ids, propagated_mask, selection_masks_2d
from click_gaussian_ns.selection.tree import TreeWalk, path_of
from click_gaussian_ns.types import Click


@dataclass(frozen=True)
class Pictures:
    """The masks of an object in one view, for reports."""

    task: Task
    look: Look
    truth: Bool[np.ndarray, "H W"]
    """In the reference view, what was shown of the object."""
    propagated: Bool[np.ndarray, "H W"]
    clicked: Bool[np.ndarray, "H W"]
    """By the single click."""
    click: Click | None
    """The single click, in the reference view."""
    score: ViewScore | None
    """None in the reference view."""


Observer = Callable[[Pictures], None]
Progress = Callable[[Sequence[int], str], Iterable[int]]


def evaluate_scene(
    scene: EvaluatedScene,
    truth: GroundTruth,
    protocol: Protocol = Protocol(),  # noqa: B008
    seeds: Mapping[str, int] | None = None,
    observe: Observer = lambda pictures: None,
    progress: Progress = lambda places, description: places,
) -> Report:
    """Measure a trained scene.

    Args:
        scene: the scene; its levels without ground truth are ignored.
        truth: objects and their true masks.
        protocol: constants.
        seeds: of the scene's training, for the record.
        observe: is shown the masks of every object, in its reference view and then in every scored view.
        progress: wraps the loops over views.

    Raises:
        ValueError: there is no object to measure.
    """
    if not truth.tasks:
        raise ValueError(
            f"nothing to measure: no object of the ground truth has {protocol.min_pixels} px both in a reference view "
            "and in a scored view"
        )
    run = _Evaluation(scene, truth, protocol, observe)
    for place in progress(sorted({task.reference for task in truth.tasks}), "Reference views"):
        run.show_objects(place)
    for place in progress(run.scored_places, "Scored views"):
        run.score_view(place)
    return run.report(dict(seeds or {}))


@dataclass
class _Evaluation:
    """What was found so far."""

    scene: EvaluatedScene
    truth: GroundTruth
    protocol: Protocol
    observe: Observer
    sessions: dict[Task, ClickSession] = field(default_factory=dict)
    cluster_ids: dict[Task, tuple[int, ...]] = field(default_factory=dict)
    paths: dict[Task, tuple[PackedMask, ...]] = field(default_factory=dict)
    """Selections of all nodes on the path of the first click."""
    view_scores: dict[Task, dict[str, ViewScore]] = field(default_factory=dict)
    previous: Look | None = None

    def __post_init__(self) -> None:
        self.levels = tuple(dict.fromkeys(task.level for task in self.truth.tasks))
        self.everything = {
            name: EverythingScore(self.scene.clusters[name].num_clusters, self.protocol.min_pixels)
            for name in self.levels
        }
        self.consistency = ConsistencyScore(self.protocol.depth_tolerance)
        self.walk = None if self.scene.tree is None else TreeWalk(self.scene.tree)

    @property
    def scored_places(self) -> list[int]:
        return sorted({*self.truth.labelled_views, *(place for task in self.truth.tasks for place in task.scored)})

    def show_objects(self, place: int) -> None:
        """In one reference view: the clusters and the clicks of all objects that are shown there."""
        seen = look(self.scene, place, self.levels)
        tasks = [task for task in self.truth.tasks if task.reference == place]
        sessions = [ClickSession(task, self.truth.prompt(task)) for task in tasks]
        protocol = self.protocol
        run_sessions(
            self.scene, seen, sessions, protocol.curve_clicks, protocol.max_clicks, max(protocol.noc_targets, default=0)
        )
        for task, session in zip(tasks, sessions):
            level, prompt = task.level, session.prompt
            ids = propagated_ids(
                seen.clusters[level], seen.similarity[level], prompt.inside, prompt.outside, protocol.similarity
            )
            propagated = propagated_mask(seen.clusters[level], ids)
            clicked = np.zeros_like(propagated) if session.first_mask is None else session.first_mask
            click = session.clicks[0] if session.clicks else None
            self.observe(Pictures(task, seen, prompt.inside, propagated, clicked, click, score=None))
            self.sessions[task], self.cluster_ids[task], self.view_scores[task] = session, ids, {}
            self.paths[task] = self._path(seen, click)

    def score_view(self, place: int) -> None:
        """In one scored view: all objects that it holds, everything at once, and the step from the last such view."""
        seen = look(self.scene, place, self.levels)
        tasks = [task for task in self.truth.tasks if place in task.scored]
        wanted = {task: self._selections(task) for task in tasks}
        paths = [packed for task in tasks for packed in self.paths[task]]
        rendered = self._render([*(packed for packs in wanted.values() for packed in packs), *paths], seen)
        width_px = boundary_width_px(self.scene.views[place].size, self.protocol.boundary_ratio)
        for task in tasks:
            truth = self.truth.mask(task, place)
            propagated = propagated_mask(seen.clusters[task.level], self.cluster_ids[task])
            nothing = [np.zeros_like(truth)] * self._num_clicks(task)
            masks = [rendered[packed] for packed in wanted[task]] or nothing
            score = ViewScore(
                _score(propagated, truth, width_px),
                _score(masks[0], truth, width_px),
                tuple(iou(mask, truth) for mask in masks),
                tuple(iou(rendered[packed], truth) for packed in self.paths[task]),
            )
            self.view_scores[task][self.scene.views[place].name] = score
            self.observe(Pictures(task, seen, truth, propagated, masks[0], None, score))
        if place in self.truth.labelled_views:
            for level in self.levels:
                self.everything[level].add(self.truth.label_map(level, place), seen.clusters[level])
        if self.previous is not None:
            self.consistency.add(self.previous, seen)
        self.previous = seen

    def _path(self, seen: Look, click: Click | None) -> tuple[PackedMask, ...]:
        """What a click can mean, from the part at the pixel up to everything; nothing where there is no tree."""
        scene = self.scene
        if self.walk is None:
            return ()
        if click is None:
            return (PackedMask.none(scene.splats.num_gaussians),)
        features, _ = click_features(seen.prepared, scene.features, [click])
        path = path_of(features[0], scene.levels, scene.clusters, self.walk)
        visible = visible_gaussians(scene.splats.opacity_logits)
        return tuple(PackedMask.pack(node.mask(scene.clusters) & visible) for node in path)

    def _selections(self, task: Task) -> list[PackedMask]:
        """After 1, 2, ... clicks; none where nothing could be clicked."""
        selections = self.sessions[task].selections
        num = self._num_clicks(task) if selections else 0
        return [selections[min(i, len(selections) - 1)] for i in range(num)]

    def _num_clicks(self, task: Task) -> int:
        """Clicks after each of which the scored views are compared."""
        return self.protocol.curve_clicks if self.sessions[task].prompt.is_mask else 1

    def _render(self, packed: Sequence[PackedMask], seen: Look) -> dict[PackedMask, Bool[np.ndarray, "H W"]]:
        """Each different selection once."""
        different = tuple(dict.fromkeys(packed))
        pictures = selection_masks_2d(seen.prepared, torch.stack([m.unpack() for m in different])) if different else []
        return dict(zip(different, pictures))

    def report(self, seeds: dict[str, int]) -> Report:
        """The means."""
        views = self.scene.views
        results = tuple(
            TaskResult(
                task,
                views[task.reference].name,
                self.cluster_ids[task],
                tuple(session.clicks),
                tuple(session.reference_ious) if session.prompt.is_mask else None,
                self.view_scores[task],
            )
            for task, session in self.sessions.items()
        )
        metrics: dict[str, float | int | None] = {}
        for level in self.levels:
            of_level = {
                **level_metrics([result for result in results if result.task.level == level], self.protocol),
                **self.everything[level].metrics(),
                "view_consistency": self.consistency.share(level),
                "num_clusters": self.scene.clusters[level].num_clusters,
                "left_out_views": self.truth.left_out.views[level],
                "left_out_objects": len(self.truth.left_out.objects[level]),
            }
            metrics |= {f"{level}.{name}": value for name, value in of_level.items()}
        facts = {
            "scored_views": [views[place].name for place in self.scored_places],
            "scored_views_trained_on": sum(views[place].split == "train" for place in self.scored_places),
            "reference_views_are_scored": any(task.reference in task.scored for task in self.truth.tasks),
        }
        return Report(metrics, results, self.truth.left_out, self.truth.dataset, self.protocol, seeds, facts)


def _score(mask: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"], width_px: int) -> MaskScore:
    return MaskScore(iou(mask, truth), boundary_iou(mask, truth, width_px), pixel_accuracy(mask, truth))
