"""The click tool's panel in nerfstudio's viewer: GUI elements bound to a session, and nothing else."""

from __future__ import annotations

import threading
import time

import viser

from click_gaussian_ns.masks.provenance import read_provenance
from click_gaussian_ns.types import PinholeView
from click_gaussian_ns.viewer.core import Outcome
from click_gaussian_ns.viewer.edit_panel import EditPanel
from click_gaussian_ns.viewer.file_panel import FilePanel
from click_gaussian_ns.viewer.files import EditFile
from click_gaussian_ns.viewer.legend import Legend
from click_gaussian_ns.viewer.session import Session
from click_gaussian_ns.viewer.state import CLICK_MODES, HIGHLIGHTS
from click_gaussian_ns.viewer.widgets import LOG_FILE, VISER_SCALE, Feedback, PanelHost, log_to

NO_CLUSTERS = "There are no global clusters yet: train on, or compute them now."
_LABEL = "/click_gaussian/selection"


class ClickPanel:
    """Made once per viewer. Callbacks may overlap: the session orders them."""

    def __init__(self, host: PanelHost, server: viser.ViserServer) -> None:
        self._host, self._server = host, server
        self.session = Session(host, host.rerender)
        log_to(host.run_dir / LOG_FILE)
        self._edit_file = EditFile(self.session)
        self._restored = threading.Lock()
        self._label: viser.LabelHandle | None = None
        self._last_ms: float | None = None
        self._cameras_in_the_way = False
        gui = server.gui
        with gui.add_folder("Click-Gaussian", order=host.panel_order):
            self._segments = gui.add_markdown("")
            self._selection = gui.add_markdown("Nothing selected.")
            self._feedback = Feedback(server, self._refresh)
            self._compute = gui.add_button("Compute clusters now", visible=False, hint="Of the features as they are.")
            self._click_mode = gui.add_checkbox("Click mode", False, hint="Clicks select; orbiting is off meanwhile.")
            self._rectangle = gui.add_checkbox("Rectangle", False, hint="Drag a rectangle to select.")
            names = [level.name for level in host.levels]
            self._level = gui.add_dropdown("Level", names, names[0])
            self._mode = gui.add_dropdown("Mode", CLICK_MODES, CLICK_MODES[0])
            self._highlight = gui.add_dropdown("Highlight", HIGHLIGHTS, HIGHLIGHTS[0], hint="How the selection shows.")
            self._wider = gui.add_button("Wider", hint="To what the selected thing is part of.")
            self._narrower = gui.add_button("Narrower", hint="Back towards the part that was clicked.")
            self._granularity = gui.add_slider(
                "Size", 0.0, 1.0, 0.01, 0.5, hint="Of what the last click takes: part, object, group, everything."
            )
            self._front = gui.add_checkbox("Visible surface only", False, hint="Off: through the whole scene.")
            self._undo = gui.add_button("Undo")
            self._redo = gui.add_button("Redo")
            with gui.add_folder("Refine", expand_by_default=False):
                self._build_refine()
            self._edit = EditPanel(server, self.session, self._feedback)
            self._files = FilePanel(server, self.session, self._feedback)
            self._legend = Legend(server, self.session, self._feedback)
        self._bind()
        server.on_client_connect(self._greet)

    def clusters_changed(self) -> None:
        """Global clusters were made anew. Called with the host's lock held, so nothing here may wait for it."""
        threading.Thread(target=self._after_clusters, daemon=True).start()

    # --- building

    def _build_refine(self) -> None:
        gui, session, on = self._server.gui, self.session, self._feedback.on
        for name, operation in (
            ("Grow", session.grow),
            ("Shrink", session.shrink),
            ("Keep largest piece", session.keep_largest),
            ("Invert", session.invert),
            ("Select all", session.select_all),
            ("Clear", session.clear),
        ):
            gui.add_button(name).on_click(on(operation))
        similarity = gui.add_slider("Similarity", 0.5, 1.0, 0.01, session.settings.similarity)
        similarity.on_update(on(lambda: session.change(similarity=similarity.value)))
        gui.add_button("Grow similar").on_click(on(session.grow_similar))
        gui.add_button("Shrink to similar").on_click(on(session.shrink_similar))
        confidence = gui.add_slider("Confidence", 0.0, 1.0, 0.01, 0.0, hint="Leaves out floaters and the never seen.")
        confidence.on_update(on(lambda: session.change(min_confidence=confidence.value)))

    def _bind(self) -> None:
        session, on = self.session, self._feedback.on
        self._click_mode.on_update(on(lambda: self._listen("click")))
        self._rectangle.on_update(on(lambda: self._listen("rect-select")))
        self._level.on_update(on(self._choose_level))
        self._mode.on_update(on(lambda: session.change(mode=self._mode.value)))
        self._highlight.on_update(on(lambda: session.change(highlight=self._highlight.value)))
        self._front.on_update(on(lambda: session.change(front_only=self._front.value)))
        self._wider.on_click(on(session.wider))
        self._narrower.on_click(on(session.narrower))
        self._granularity.on_update(on(lambda: session.to_granularity(self._granularity.value)))
        self._undo.on_click(on(session.undo))
        self._redo.on_click(on(session.redo))
        self._compute.on_click(on(self._compute_clusters))

    def _choose_level(self) -> None:
        self.session.change(level=self._level.value, hidden_objects=frozenset())
        self._legend.rebuild()

    # --- pointer

    def _listen(self, wanted: str) -> None:
        """Turn the pointer's two modes on or off; there can be only one."""
        chosen, other = self._click_mode, self._rectangle
        if wanted == "rect-select":
            chosen, other = other, chosen
        scene = self._server.scene
        if chosen.value:
            other.value = False
            self._cameras_in_the_way = not self._host.hide_cameras()
            if wanted == "click":
                scene.on_pointer_event("click")(self._clicked)
            else:
                scene.on_pointer_event("rect-select")(self._dragged)
        elif not other.value:
            self._cameras_in_the_way = False
            scene.remove_pointer_callback()

    def _clicked(self, event: viser.ScenePointerEvent) -> None:
        start = time.perf_counter()
        view = self._host.client_view(event.client)
        ((x, y),) = event.screen_pos
        self._feedback.run(lambda: self._tell(self.session.click(view, *_pixel(view, x, y)), start))

    def _dragged(self, event: viser.ScenePointerEvent) -> None:
        start = time.perf_counter()
        view = self._host.client_view(event.client)
        (x0, y0), (x1, y1) = event.screen_pos
        low, high = _pixel(view, min(x0, x1), min(y0, y1)), _pixel(view, max(x0, x1), max(y0, y1))
        self._feedback.run(lambda: self._tell(self.session.rectangle(view, low, high), start))

    def _tell(self, outcome: Outcome, start: float) -> str:
        """What was picked, timed from the browser's event on."""
        self._last_ms = (time.perf_counter() - start) * 1e3
        return f"picked in {self._last_ms:.1f} ms: {outcome.what}"

    # --- keeping the panel true

    def _refresh(self) -> str | None:
        """Keep the edit list, and show the state as it is now."""
        try:
            return self._edit_file.update() or None
        finally:
            self._show_state()

    def _show_state(self) -> None:
        session = self.session
        if self._cameras_in_the_way:
            self._cameras_in_the_way = not self._host.hide_cameras()
        self._compute.visible = not session.has_clusters or self._host.is_training
        outcome = session.outcome()
        text = outcome.what
        self._selection.content = f"**Selected:** {text}" if outcome.num_selected else "Nothing selected."
        self._undo.disabled, self._redo.disabled = not session.can_undo, not session.can_redo
        work = session.work
        self._wider.disabled, self._narrower.disabled = (
            work.place + 1 >= len(work.path),
            not work.place or not work.path,
        )
        self._granularity.disabled = not work.path
        center = session.center()
        if self._label is not None:
            self._label.remove()
            self._label = None
        if center is not None:
            x, y, z = (VISER_SCALE * value for value in center)
            timed = "" if self._last_ms is None else f", {self._last_ms:.1f} ms"
            self._label = self._server.scene.add_label(_LABEL, text + timed, position=(x, y, z))
        self._edit.selection_changed()

    def _greet(self, _: viser.ClientHandle) -> None:
        """The first browser finds the edits of an earlier session, and the list of objects."""
        if self._restored.acquire(blocking=False):
            # viser calls with the lock of its list of clients held, and drawing anew takes that lock
            threading.Thread(target=self._welcome, daemon=True).start()

    def _welcome(self) -> None:
        self._feedback.run(lambda: self._edit_file.restore() or None)
        self._after_clusters()

    def _compute_clusters(self) -> str:
        self._feedback.say("computing clusters ...")
        self._host.compute_clusters()
        return f"clusters: { {name: found.num_clusters for name, found in self._host.clusters.items()} }"

    def _after_clusters(self) -> None:
        self._feedback.run(self._say_clusters)

    def _say_clusters(self) -> str | None:
        found = read_provenance(self._host.run_dir)
        self._segments.content = "" if found is None else found.sentence
        self._legend.rebuild()
        if not self.session.has_clusters:
            return NO_CLUSTERS
        return "There are global clusters now: click an object." if self._feedback.text == NO_CLUSTERS else None


def _pixel(view: PinholeView, x: float, y: float) -> tuple[float, float]:
    """A place on the screen in [0, 1] as pixels of the view."""
    return min(max(x, 0.0) * view.width, view.width - 0.01), min(max(y, 0.0) * view.height, view.height - 0.01)
