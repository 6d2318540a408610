"""The click tool's panel in nerfstudio's viewer: GUI elements bound to a session, and nothing else."""

from __future__ import annotations

import threading
import time

import viser

from click_gaussian_ns.masks.provenance import read_provenance
from click_gaussian_ns.viewer.edit_panel import EditPanel
from click_gaussian_ns.viewer.file_panel import FilePanel
from click_gaussian_ns.viewer.files import BookFile, EditFile
from click_gaussian_ns.viewer.in_picture import InPicture
from click_gaussian_ns.viewer.selecting import NO_CLUSTERS
from click_gaussian_ns.viewer.session import Session
from click_gaussian_ns.viewer.state import CLICK_MODES, HIGHLIGHTS
from click_gaussian_ns.viewer.warm_up import start_warming_up
from click_gaussian_ns.viewer.widgets import LOG_FILE, Feedback, PanelHost, log_to, plain

_HOW = "Click an object in the picture. The bar below it has the tools; **?** shows the keys."


class ClickPanel:
    """Made once per viewer. Callbacks may overlap: the session orders them."""

    def __init__(self, host: PanelHost, server: viser.ViserServer) -> None:
        self._host, self._server = host, server
        self.session = Session(host, host.rerender)
        log_to(host.run_dir / LOG_FILE)
        self._edit_file, self._book_file = EditFile(self.session), BookFile(self.session)
        self._restored = threading.Lock()
        self._cameras_in_the_way = True
        self._feedback = Feedback(server, self._refresh)
        gui = server.gui
        with gui.add_folder("Click-Gaussian", order=host.panel_order):
            gui.add_markdown(_HOW)
            self._compute = gui.add_button("Compute clusters now", visible=False, hint="Of the features as they are.")
            names = [level.name for level in host.levels]
            self._level = gui.add_dropdown("Level", names, names[0], hint="coarse: objects; fine: their parts.")
            self._mode = gui.add_dropdown("Mode", CLICK_MODES, CLICK_MODES[0], hint="What a click without a key does.")
            self._highlight = gui.add_dropdown("Highlight", HIGHLIGHTS, HIGHLIGHTS[0], hint="How the selection shows.")
            self._granularity = gui.add_slider(
                "Size", 0.0, 1.0, 0.01, 0.5, hint="Of what the last click takes: part, object, group, everything."
            )
            self._front = gui.add_checkbox("Visible surface only", False, hint="Off: through the whole scene.")
            with gui.add_folder("Refine", expand_by_default=False):
                self._build_refine()
            self._edit = EditPanel(server, self.session, self._feedback)
            self._files = FilePanel(server, self.session, self._feedback)
            with gui.add_folder("Details", expand_by_default=False):
                self._details = gui.add_markdown("")
                self._segments = gui.add_markdown("")
        self._bind()
        self._picture = InPicture(host, server, self.session, self._edit, self._feedback)
        server.on_client_connect(self._greet)
        start_warming_up()

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
        self._level.on_update(on(lambda: session.change(level=self._level.value)))
        self._mode.on_update(on(lambda: session.change(mode=self._mode.value)))
        self._highlight.on_update(on(lambda: session.change(highlight=self._highlight.value)))
        self._front.on_update(on(lambda: session.change(front_only=self._front.value)))
        self._granularity.on_update(on(lambda: session.to_granularity(self._granularity.value)))
        self._compute.on_click(on(self._compute_clusters))

    # --- keeping the panel true

    def _refresh(self) -> str | None:
        """Keep the edits and the objects' names, and show the state as it is now."""
        try:
            return _together(self._edit_file.update(), self._book_file.update())
        finally:
            self._show_state()

    def _show_state(self) -> None:
        session = self.session
        if self._cameras_in_the_way:
            self._cameras_in_the_way = not self._host.hide_cameras()
        self._compute.visible = not session.has_clusters or self._host.is_training
        self._details.content = plain(self._feedback.text)
        self._granularity.disabled = not session.work.path
        self._edit.selection_changed()
        self._picture.show_state()

    def _greet(self, _: viser.ClientHandle) -> None:
        """The first browser finds the edits of an earlier session, and the list of objects."""
        if self._restored.acquire(blocking=False):
            # viser calls with the lock of its list of clients held, and drawing anew takes that lock
            threading.Thread(target=self._welcome, daemon=True).start()

    def _welcome(self) -> None:
        self._feedback.run(lambda: _together(self._edit_file.restore(), self._book_file.restore()))
        self._after_clusters()
        while self._cameras_in_the_way:  # nerfstudio makes them after it has opened the viewer
            time.sleep(0.5)
            self._cameras_in_the_way = not self._host.hide_cameras()

    def _compute_clusters(self) -> str:
        self._host.compute_clusters()
        return f"There are {len(self.session.objects())} objects at the level {self.session.settings.level} now"

    def _after_clusters(self) -> None:
        self._feedback.run(self._say_clusters)

    def _say_clusters(self) -> str | None:
        found = read_provenance(self._host.run_dir)
        self._segments.content = "" if found is None else found.sentence
        self.session.clusters_changed()
        if not self.session.has_clusters:
            return NO_CLUSTERS
        return "There are objects now: click one." if self._feedback.text == NO_CLUSTERS else None


def _together(*told: str) -> str | None:
    return ". ".join(filter(None, told)) or None
