"""The list of objects: by size, a click on a name selects, a switch hides."""

from __future__ import annotations

import threading
from collections.abc import Callable

import viser

from click_gaussian_ns.viewer.core import Outcome
from click_gaussian_ns.viewer.session import Session
from click_gaussian_ns.viewer.widgets import Feedback

_MOST = 40
"""Objects listed; smaller ones are reached by clicking them in the picture."""


class Legend:
    """A folder that is filled anew when clusters or the level change."""

    def __init__(self, server: viser.ViserServer, session: Session, feedback: Feedback) -> None:
        self._server, self._session, self._feedback = server, session, feedback
        self._rebuilding = threading.Lock()
        self._folder = server.gui.add_folder("Objects", expand_by_default=False)
        self._handles: list[viser.GuiButtonHandle | viser.GuiInputHandle] = []

    def rebuild(self) -> None:
        """List the chosen level's objects; all are switched on."""
        with self._rebuilding:
            for handle in self._handles:
                handle.remove()
            self._handles = []
            if self._session.settings.hidden_objects:
                self._session.change(hidden_objects=frozenset())
            if not self._session.has_clusters:
                return
            level = self._session.settings.level
            with self._folder:
                for cluster, count in self._session.objects()[:_MOST]:
                    self._add(level, cluster, count)

    def _add(self, level: str, cluster: int, count: int) -> None:
        gui, on = self._server.gui, self._feedback.on
        name = gui.add_button(f"{level} {cluster} ({count:,})", hint="Select this object.")
        name.on_click(on(self._select(cluster)))
        shown = gui.add_checkbox(f"Show {cluster}", True)
        shown.on_update(on(lambda: self._session.switch_object(level, cluster, shown.value)))
        self._handles += [name, shown]

    def _select(self, cluster: int) -> Callable[[], Outcome]:
        return lambda: self._session.select_object(cluster)
