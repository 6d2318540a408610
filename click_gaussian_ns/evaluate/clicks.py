"""A simulated user: clicks on an object in one view, looks at what is selected there, and corrects it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool
from scipy import ndimage
from torch import Tensor

from click_gaussian_ns.evaluate.look import Look
from click_gaussian_ns.evaluate.metrics import iou
from click_gaussian_ns.evaluate.truth import EvaluatedScene, Prompt, Task
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.selection.packed import PackedMask
from click_gaussian_ns.selection.pick import pick
from click_gaussian_ns.selection.propagate import selection_masks_2d
from click_gaussian_ns.types import Click


@dataclass
class ClickSession:
    """The clicks on one object, and what each led to."""

    task: Task
    prompt: Prompt
    clicks: list[Click] = field(default_factory=list)
    selections: list[PackedMask] = field(default_factory=list)
    """After the first click, after the second, ..."""
    reference_ious: list[float] = field(default_factory=list)
    """IoU of each with the object's mask in the reference view; none where scribbles are shown."""
    first_mask: Bool[np.ndarray, "H W"] | None = None
    """What the first selection covers in the reference view; None where nothing could be clicked."""
    selected: Bool[np.ndarray, "H W"] | None = None
    """What the last one covers."""


def innermost_point(region: Bool[np.ndarray, "H W"]) -> tuple[int, int] | None:
    """(row, column) of the pixel that is farthest from the outside of a region; beyond the image is outside.

    The first in reading order if several are; None if there is none.
    """
    box = ndimage.find_objects(region.astype(np.uint8))
    if not box or box[0] is None:
        return None
    rows, columns = box[0]
    distance = np.asarray(ndimage.distance_transform_edt(np.pad(region[rows, columns], 1)))[1:-1, 1:-1]
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return rows.start + int(row), columns.start + int(column)


def largest_region(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """The largest 4-connected part of a mask; the first in reading order if several are."""
    labels, num = ndimage.label(mask)  # pyright: ignore[reportGeneralTypeIssues]
    if num <= 1:
        return mask
    return labels == 1 + np.bincount(labels.ravel())[1:].argmax()


def next_click(
    truth: Bool[np.ndarray, "H W"],
    selected: Bool[np.ndarray, "H W"],
    clickable: Bool[np.ndarray, "H W"],
    earlier: Sequence[Click],
) -> Click | None:
    """The correction of a user who looks at one view: the innermost point of the largest connected error.

    Positive where the object is not selected, negative where something else is; of two errors of one size the
    positive one is taken. Pixels that were clicked before count as outside, so no pixel is clicked twice.

    Args:
        truth: the object.
        selected: what the selection covers.
        clickable: pixels that show something: a click on nothing selects nothing.
        earlier: clicks so far.

    Returns:
        None if nothing is wrong that could be clicked.
    """
    barred = np.zeros_like(truth)
    for click in earlier:
        barred[int(click.y_px), int(click.x_px)] = True
    usable = clickable & ~barred
    missing, surplus = largest_region(truth & ~selected & usable), largest_region(selected & ~truth & usable)
    negative = int(surplus.sum()) > int(missing.sum())
    point = innermost_point(surplus if negative else missing)
    return None if point is None else Click(point[1] + 0.5, point[0] + 0.5, negative)


def run_sessions(
    scene: EvaluatedScene,
    seen: Look,
    sessions: Sequence[ClickSession],
    curve_clicks: int,
    max_clicks: int,
    goal: float,
) -> None:
    """Play the sessions of all objects that are shown in one view, side by side: one render serves a round of clicks.

    The first click is the innermost point of what is shown. Where the object's whole mask is shown corrections follow:
    `curve_clicks` clicks in all, and on to `max_clicks` until the selection's IoU in this view has reached the goal.

    Args:
        scene: the trained scene.
        seen: the view.
        sessions: filled in place.
        curve_clicks: see above.
        max_clicks: see above.
        goal: IoU.
    """
    active = [s for s in sessions if scene.clusters[s.task.level].num_clusters]
    for count in range(1, max_clicks + 1):
        active = [s for s in active if _click(s, seen.clickable)]
        selected = [_select(scene, seen.prepared, session) for session in active]
        changed = [i for i, session in enumerate(active) if _is_new(session)]
        if changed:
            pictures = selection_masks_2d(seen.prepared, torch.stack([selected[i] for i in changed]))
            for i, picture in zip(changed, pictures):
                active[i].selected = picture
        for session in active:
            assert session.selected is not None, "a first selection is always new"
            if count == 1:
                session.first_mask = session.selected
            if session.prompt.is_mask:
                session.reference_ious.append(iou(session.selected, session.prompt.inside))
        active = [s for s in active if s.prompt.is_mask and (count < curve_clicks or max(s.reference_ious) < goal)]


def _click(session: ClickSession, clickable: Bool[np.ndarray, "H W"]) -> bool:
    """Adds the session's next click; False if there is none."""
    if session.selected is None:
        point = innermost_point(session.prompt.inside & clickable)
        click = None if point is None else Click(point[1] + 0.5, point[0] + 0.5)
    else:
        click = next_click(session.prompt.inside, session.selected, clickable, session.clicks)
    if click is None:
        return False
    session.clicks.append(click)
    return True


def _select(scene: EvaluatedScene, prepared: PreparedView, session: ClickSession) -> Bool[Tensor, " N"]:
    level = next(level for level in scene.levels if level.name == session.task.level)
    mask = pick(prepared, scene.features, level, scene.clusters, session.clicks).mask
    session.selections.append(PackedMask.pack(mask))
    return mask


def _is_new(session: ClickSession) -> bool:
    """Whether the last click changed the selection."""
    return len(session.selections) < 2 or session.selections[-1] != session.selections[-2]
