"""The click tool at work: what core.py keeps, selecting.py selects, and edits. No viser; any thread may call it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor

from click_gaussian_ns.edit.operations import (
    IDENTITY_QUAT,
    ZERO,
    Duplicate,
    Edit,
    Isolate,
    Quat,
    Recolor,
    Remove,
    Transform,
    Vec3,
)
from click_gaussian_ns.edit.scene import EditedScene
from click_gaussian_ns.selection.packed import PackedMask
from click_gaussian_ns.viewer import state
from click_gaussian_ns.viewer.core import Outcome
from click_gaussian_ns.viewer.selecting import SelectingSession


class Session(SelectingSession):
    """Edits act on what is selected, and are part of the same history."""

    def remove(self) -> Outcome:
        return self._edit(Remove, lambda scene: torch.zeros_like(self._mask))

    def isolate(self) -> Outcome:
        return self._edit(Isolate, lambda scene: self.selected())

    def transform(
        self, translation: Vec3, rotation: Quat = IDENTITY_QUAT, scale: float = 1.0, pivot: Vec3 | None = None
    ) -> Outcome:
        """Move what is selected; about its centre unless a pivot is given. It takes the place of a preview."""
        with self._lock:
            self._pending = None
            about = pivot or self.center() or ZERO
            return self._edit(
                lambda packed: Transform(packed, translation, rotation, scale, about), lambda scene: self.selected()
            )

    def duplicate(self, translation: Vec3 = ZERO) -> Outcome:
        """Copy what is selected; the copy is selected then."""

        def copies(scene: EditedScene) -> Bool[Tensor, " M"]:
            mask = torch.zeros_like(scene.alive)
            mask[self._mask.shape[0] :] = True
            return mask

        return self._edit(lambda packed: Duplicate(packed, translation), copies)

    def recolor(self, color: Vec3, strength: float) -> Outcome:
        return self._edit(lambda packed: Recolor(packed, color, strength), lambda scene: self.selected())

    def preview(self, translation: Vec3, rotation: Quat, scale: float, pivot: Vec3) -> None:
        """Show a transform of the selection; `end_preview` drops it, any operation but a setting makes it an edit."""
        with self._lock:
            mask = self.selected()
            if translation == ZERO and rotation == IDENTITY_QUAT and scale == 1.0:
                self.end_preview()
            elif bool(mask.any()):
                self._pending = Transform(PackedMask.pack(mask), translation, rotation, scale, pivot)
                self._show()

    @property
    def is_previewing(self) -> bool:
        return self._pending is not None

    def end_preview(self) -> None:
        with self._lock:
            if self._pending is not None:
                self._pending = None
                self._show()

    def _edit(
        self, make: Callable[[PackedMask], Edit], select_after: Callable[[EditedScene], Bool[Tensor, " M"]]
    ) -> Outcome:
        start = time.perf_counter()
        with self._lock:
            self._start()
            self.settle()
            chosen = self.selected()
            if not bool(chosen.any()):
                raise ValueError("nothing is selected: click an object first")
            edit = make(PackedMask.pack(chosen))
            scene = self._timeline.at((*self.work.edits, edit))
            mask = select_after(scene)
            self._commit(state.add_edit(self.work, edit, mask), mask)
            return self.outcome((time.perf_counter() - start) * 1e3)
