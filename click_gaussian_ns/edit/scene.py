"""The scene after a list of edits, moved from one list to another at the cost of the Gaussians that differ.

A Gaussian of the edited scene is a Gaussian of the base (`source_ids`) and the one adjustment that all its edits add up
to: values always come straight from the base, so undoing every edit gives it back bit for bit, and many moves lose no
precision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int32
from torch import Tensor

from click_gaussian_ns.edit.operations import Adjustment, Duplicate, Edit, Isolate, Remove, changed_fields
from click_gaussian_ns.splats.spherical_harmonics import SH_C0
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.splats.transforms import apply
from click_gaussian_ns.types import Splats

_ALL = frozenset(field.name for field in dataclasses.fields(Splats))


@dataclass(frozen=True)
class EditedScene:
    """M Gaussians: the base's N in their order, then copies as they were made; removed ones keep their row."""

    splats: Splats
    source_ids: Int32[Tensor, "M"]
    """Row of the base."""
    adjustment_ids: Int32[Tensor, "M"]
    adjustments: tuple[Adjustment, ...]
    alive: Bool[Tensor, "M"]
    """False: removed."""

    @property
    def num_gaussians(self) -> int:
        """M, removed ones included."""
        return self.alive.shape[0]

    @staticmethod
    def unedited(base: Splats) -> EditedScene:
        num, device = base.num_gaussians, base.means.device
        return EditedScene(
            base,
            torch.arange(num, dtype=torch.int32, device=device),
            torch.zeros(num, dtype=torch.int32, device=device),
            (Adjustment(),),
            torch.ones(num, dtype=torch.bool, device=device),
        )

    def final(self) -> Splats:
        """What is left in the scene."""
        return select(self.splats, self.alive)


@dataclass(frozen=True)
class _Step:
    """An edit that was made, and how to get back."""

    edit: Edit
    ids: Int32[Tensor, " K"]
    """Rows of existing Gaussians that it changed."""
    adjustment_ids: Int32[Tensor, " K"]
    """Theirs before it."""
    num_gaussians: int
    num_adjustments: int


class Timeline:
    """The scene at any list of edits; undo and redo cost only what they change."""

    def __init__(self, base: Splats) -> None:
        self._base = base
        self._steps: list[_Step] = []
        self._scene = EditedScene.unedited(base)

    @property
    def scene(self) -> EditedScene:
        """The scene as it is now."""
        return self._scene

    def at(self, edits: Sequence[Edit]) -> EditedScene:
        """The scene after these edits.

        Raises:
            ValueError: an edit is for a scene of another size; the scene then stays at the edits before it.
        """
        same = 0
        while same < min(len(edits), len(self._steps)) and self._steps[same].edit is edits[same]:
            same += 1
        while len(self._steps) > same:
            self._scene = _revert(self._base, self._scene, self._steps.pop())
        for place in range(same, len(edits)):
            scene, step = _advance(self._base, self._scene, edits[place], place)
            self._steps.append(step)
            self._scene = scene
        return self._scene


def _advance(base: Splats, scene: EditedScene, edit: Edit, place: int) -> tuple[EditedScene, _Step]:
    if edit.gaussians.num != scene.num_gaussians:
        raise ValueError(
            f"edit {place + 1} ({edit.kind}) is for a scene of {edit.gaussians.num:,} Gaussians, but at that point "
            f"this one has {scene.num_gaussians:,}: the edit list belongs to another run"
        )
    mask = edit.gaussians.unpack().to(scene.alive.device)
    touched = (scene.alive & ~mask) if isinstance(edit, Isolate) else (scene.alive & mask)
    ids = touched.nonzero()[:, 0].to(torch.int32)
    before = scene.adjustment_ids[ids.long()]
    sizes = (scene.num_gaussians, len(scene.adjustments))
    if isinstance(edit, Remove | Isolate):
        step = _Step(edit, ids, before, *sizes)
        return replace(scene, alive=scene.alive & ~touched), step
    used, inverse = torch.unique(before, return_inverse=True)
    made = tuple(scene.adjustments[i].then(edit) for i in used.tolist())
    after = (inverse + len(scene.adjustments)).to(torch.int32)
    adjustments = scene.adjustments + made
    if isinstance(edit, Duplicate):
        sources = scene.source_ids[ids.long()]
        copies = _rows(base, sources, after, adjustments)
        appended = EditedScene(
            Splats(**{name: torch.cat([getattr(scene.splats, name), getattr(copies, name)]) for name in _ALL}),
            torch.cat([scene.source_ids, sources]),
            torch.cat([scene.adjustment_ids, after]),
            adjustments,
            torch.cat([scene.alive, scene.alive.new_ones(ids.shape[0])]),
        )
        return appended, _Step(edit, ids[:0], before[:0], *sizes)
    moved = replace(scene, adjustments=adjustments, adjustment_ids=_put(scene.adjustment_ids, ids, after))
    return _refresh(base, moved, ids, changed_fields(edit)), _Step(edit, ids, before, *sizes)


def _revert(base: Splats, scene: EditedScene, step: _Step) -> EditedScene:
    if isinstance(step.edit, Remove | Isolate):
        return replace(scene, alive=_put(scene.alive, step.ids, torch.ones_like(step.ids, dtype=torch.bool)))
    adjustments = scene.adjustments[: step.num_adjustments]
    if isinstance(step.edit, Duplicate):
        num = step.num_gaussians
        kept = {name: getattr(scene.splats, name)[:num].clone() for name in _ALL}
        return EditedScene(
            Splats(**kept),
            scene.source_ids[:num].clone(),
            scene.adjustment_ids[:num].clone(),
            adjustments,
            scene.alive[:num].clone(),
        )
    adjustment_ids = _put(scene.adjustment_ids, step.ids, step.adjustment_ids)
    restored = replace(scene, adjustments=adjustments, adjustment_ids=adjustment_ids)
    return _refresh(base, restored, step.ids, changed_fields(step.edit))


def _refresh(base: Splats, scene: EditedScene, ids: Int32[Tensor, " K"], fields: frozenset[str]) -> EditedScene:
    """The scene with some parameters of some rows computed anew; other tensors are shared."""
    index = ids.long()
    rows = _rows(base, scene.source_ids[index], scene.adjustment_ids[index], scene.adjustments)
    updated = {name: _put(getattr(scene.splats, name), ids, getattr(rows, name)) for name in fields}
    return replace(scene, splats=replace(scene.splats, **updated))


def _rows(
    base: Splats,
    source_ids: Int32[Tensor, " K"],
    adjustment_ids: Int32[Tensor, " K"],
    adjustments: Sequence[Adjustment],
) -> Splats:
    rows = select(base, source_ids)
    for used in torch.unique(adjustment_ids).tolist():
        if used == 0:
            continue
        adjustment = adjustments[used]
        ids = (adjustment_ids == used).nonzero()[:, 0]
        group = apply(select(rows, ids), adjustment.similarity)
        if adjustment.gain != 1.0 or any(adjustment.offset):
            group = replace(group, sh=_mixed(group.sh, adjustment))
        if ids.shape[0] == rows.num_gaussians:
            return group
        rows = Splats(**{name: getattr(rows, name).index_copy(0, ids, getattr(group, name)) for name in _ALL})
    return rows


def _mixed(sh: Tensor, adjustment: Adjustment) -> Tensor:
    """rgb = 0.5 + sum_k sh_k Y_k, so the constant 0.5 takes part in the mix."""
    mixed = adjustment.gain * sh
    offset = sh.new_tensor(adjustment.offset) + 0.5 * (adjustment.gain - 1.0)
    mixed[:, 0] += offset / SH_C0
    return mixed


def _put(values: Tensor, ids: Int32[Tensor, " K"], rows: Tensor) -> Tensor:
    return values.index_copy(0, ids.long(), rows)
