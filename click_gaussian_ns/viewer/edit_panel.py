"""The part of the panel that edits: gizmo and numbers, copies, colours."""

from __future__ import annotations

import threading
from typing import Literal

import numpy as np
import viser
from scipy.spatial.transform import Rotation

from click_gaussian_ns.edit.operations import Quat, Vec3
from click_gaussian_ns.viewer.core import Outcome
from click_gaussian_ns.viewer.session import Session
from click_gaussian_ns.viewer.widgets import VISER_SCALE, Feedback

Gizmo = Literal["none", "all", "move", "turn", "resize"]
_GIZMO = "/click_gaussian/gizmo"
_RESIZER = "/click_gaussian/resize"
_REACH = 1.7
"""How far from the gizmo its resize handle is at scale 1, gizmo sizes."""
_SIZE = 1.3
"""Of the gizmo: it reaches out of the selection by so much."""
_MIN_SCALE, _MAX_SCALE = 0.001, 1000.0
_ZERO: Vec3 = (0.0, 0.0, 0.0)


class EditPanel:
    """Numbers and gizmo show one pending transform of the selection, which "Apply" makes an edit."""

    def __init__(self, server: viser.ViserServer, session: Session, feedback: Feedback) -> None:
        self._server, self._session = server, session
        self._gizmo: viser.TransformControlsHandle | None = None
        self._resizer: viser.TransformControlsHandle | None = None
        self._pivot: Vec3 | None = None
        self.gizmo: Gizmo = "none"
        self._reach = _REACH
        self._drawing = threading.Lock()
        self._to_draw = False
        gui, on = server.gui, feedback.on
        with gui.add_folder("Edit", expand_by_default=False):
            self._show_gizmo = gui.add_checkbox("Gizmo", False, hint="Move, turn and resize by hand.")
            self._translation = gui.add_vector3("Translation", _ZERO, step=0.01, hint="Scene units.")
            self._rotation = gui.add_vector3("Rotation", _ZERO, step=1.0, hint="Degrees about x, then y, then z.")
            self._scale = gui.add_number("Scale", 1.0, min=_MIN_SCALE, max=_MAX_SCALE, step=0.01)
            gui.add_button("Apply").on_click(on(self._apply))
            gui.add_button("Reset").on_click(on(self._reset))
            gui.add_button("Delete").on_click(on(session.remove))
            gui.add_button("Isolate").on_click(on(session.isolate))
            gui.add_button("Duplicate").on_click(on(lambda: session.duplicate(self._translation.value)))
            color = gui.add_rgb("Colour", (220, 40, 40))
            strength = gui.add_slider("Strength", 0.0, 1.0, 0.05, 0.6)
            gui.add_button("Recolour").on_click(
                on(lambda: session.recolor(_unit_rgb(color.value), float(strength.value)))
            )
        self._show_gizmo.on_update(on(lambda: self.show("all" if self._show_gizmo.value else "none")))
        for number in (self._translation, self._rotation, self._scale):
            number.on_update(self._typed)

    def selection_changed(self) -> None:
        """Let go of what was pending, and put the gizmo where the selection is now."""
        center = self._session.center()
        if center != self._pivot or not self._session.is_previewing:
            self._pivot = center
            self._set_numbers(_ZERO, _ZERO, 1.0)
            self._place_gizmo()

    def show(self, gizmo: Gizmo) -> None:
        """Show all handles or some; asked again for the same ones, none.

        Raises:
            ValueError: there is nothing to hold them to.
        """
        if gizmo not in ("none", "all") and self._pivot is None:
            raise ValueError("Select something first: then it can be moved, turned and resized")
        self.gizmo = "none" if gizmo == self.gizmo and gizmo != "all" else gizmo
        self._show_gizmo.value = self.gizmo != "none"
        self._place_gizmo()
        if self._gizmo is not None:
            self._follow_numbers()

    # --- the pending transform

    @property
    def _quat(self) -> Quat:
        x, y, z, w = Rotation.from_euler("xyz", self._rotation.value, degrees=True).as_quat().tolist()
        return (w, x, y, z) if any(self._rotation.value) else (1.0, 0.0, 0.0, 0.0)

    def _apply(self) -> Outcome:
        if self._pivot is None:
            raise ValueError("nothing is selected: click an object first")
        self._to_draw = False
        return self._session.transform(self._translation.value, self._quat, float(self._scale.value), self._pivot)

    def _reset(self) -> None:
        self._to_draw = False
        self._session.end_preview()
        self._set_numbers(_ZERO, _ZERO, 1.0)
        self._place_gizmo()

    def _typed(self, event: viser.GuiEvent) -> None:
        if event.client is None:
            return
        self._follow_numbers()
        self._preview()

    def _follow_numbers(self) -> None:
        """Put the gizmo where the numbers say."""
        if self._gizmo is not None and self._pivot is not None:
            moved = np.add(self._pivot, self._translation.value) * VISER_SCALE
            self._gizmo.position, self._gizmo.wxyz = tuple(moved.tolist()), self._quat
            self._place_resizer(moved)

    def _dragged(self, gizmo: viser.TransformControlsHandle) -> None:
        if self._pivot is None:
            return
        x, y, z = (np.asarray(gizmo.position) / VISER_SCALE - self._pivot).tolist()
        w, qx, qy, qz = np.asarray(gizmo.wxyz).tolist()
        a, b, c = Rotation.from_quat([qx, qy, qz, w]).as_euler("xyz", degrees=True).tolist()
        self._set_numbers((x, y, z), (a, b, c), self._scale.value)
        self._place_resizer(np.asarray(gizmo.position))
        self._preview()

    def _resized(self, resizer: viser.TransformControlsHandle) -> None:
        """viser's gizmo does not scale: a second one, which moves along one axis only, does."""
        if self._pivot is None or self._gizmo is None:
            return
        reach = float(resizer.position[0] - self._gizmo.position[0]) / self._reach
        self._scale.value = round(min(max(reach, _MIN_SCALE), _MAX_SCALE), 3)
        self._preview()

    def _place_resizer(self, position: np.ndarray) -> None:
        if self._resizer is not None:
            x, y, z = position.tolist()
            self._resizer.position = (x + self._reach * float(self._scale.value), y, z)

    def _preview(self) -> None:
        """Draw it; a drag sends more events than frames can follow: some in between are left out, the last never."""
        self._to_draw = True
        # asked again after each release: an event that came while the lock was held has left its drawing to us
        while self._to_draw and self._drawing.acquire(blocking=False):
            try:
                self._to_draw = False
                if self._pivot is not None:
                    self._session.preview(self._translation.value, self._quat, float(self._scale.value), self._pivot)
            except ValueError:
                pass  # a number on its way to being typed; "Apply" says what is wrong with it
            finally:
                self._drawing.release()

    def _set_numbers(self, translation: Vec3, rotation: Vec3, scale: float) -> None:
        self._translation.value, self._rotation.value, self._scale.value = translation, rotation, scale

    def _place_gizmo(self) -> None:
        for handle in (self._gizmo, self._resizer):
            if handle is not None:
                handle.remove()
        self._gizmo = self._resizer = None
        if self.gizmo != "none" and self._pivot is not None:
            # drawn over the object, which it would else be buried in
            size = max(_SIZE * self._session.radius() * VISER_SCALE, 0.2)
            self._reach = _REACH * size
            position, scene = np.asarray(self._pivot) * VISER_SCALE, self._server.scene
            kind = self.gizmo
            self._gizmo = scene.add_transform_controls(
                _GIZMO,
                scale=size,
                depth_test=False,
                disable_axes=kind in ("turn", "resize"),
                disable_sliders=kind in ("turn", "resize"),
                disable_rotations=kind in ("move", "resize"),
                position=position,
            )
            self._gizmo.on_update(self._dragged)
            if kind in ("all", "resize"):
                self._resizer = scene.add_transform_controls(
                    _RESIZER,
                    scale=size / 2,
                    depth_test=False,
                    active_axes=(True, False, False),
                    disable_sliders=True,
                    disable_rotations=True,
                    position=position + np.array([self._reach, 0.0, 0.0]),
                )
                self._resizer.on_update(self._resized)


def _unit_rgb(color: tuple[int, int, int]) -> Vec3:
    red, green, blue = color
    return red / 255, green / 255, blue / 255
