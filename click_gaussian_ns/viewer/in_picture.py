"""What people do in the picture itself, and what stands over it: clicks, keys, the bar, the list of objects, views."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import viser
from typing_extensions import assert_never

from click_gaussian_ns.method.outputs import cluster_colors
from click_gaussian_ns.selection.pick import visible_gaussians
from click_gaussian_ns.types import PinholeView
from click_gaussian_ns.viewer import start_view
from click_gaussian_ns.viewer.core import Outcome
from click_gaussian_ns.viewer.edit_panel import EditPanel
from click_gaussian_ns.viewer.page import Page
from click_gaussian_ns.viewer.page_events import Clicked, Commanded, Dragged, Hovered, ObjectAsked, PageEvent, Place
from click_gaussian_ns.viewer.session import Session
from click_gaussian_ns.viewer.widgets import Feedback, PanelHost, logger

Client = viser.ClientHandle


class InPicture:
    """Each browser has its own camera, and all share one selection."""

    def __init__(
        self, host: PanelHost, server: viser.ViserServer, session: Session, edit: EditPanel, feedback: Feedback
    ) -> None:
        self._host, self._session, self._edit, self._feedback = host, session, edit, feedback
        self._photo_of: dict[int, int] = {}
        """The photo that each browser looked through last."""
        self._best: int | None = None
        server.on_client_connect(self._look_at_scene)
        self._page = Page(server, self._happened)
        self._commands: dict[str, Callable[[], Any]] = {
            "undo": session.undo,
            "redo": session.redo,
            "narrower": session.narrower,
            "wider": session.wider,
            "clear": session.clear,
            "delete": session.remove,
            "hide": session.hide_selected,
            "show all": session.show_all,
            "move": lambda: edit.show("move"),
            "turn": lambda: edit.show("turn"),
            "resize": lambda: edit.show("resize"),
        }

    def show_state(self) -> None:
        """Tell all pages what is selected, what can be done, and which objects there are."""
        session = self._session
        with session.lock:
            work, outcome = session.work, session.outcome()
            any_selected = outcome.num_selected > 0
            state = {
                "type": "state",
                "title": outcome.title,
                "gizmo": self._edit.gizmo,
                "can": {
                    "undo": session.can_undo > 0 or session.is_previewing,
                    "redo": session.can_redo > 0,
                    "narrower": bool(work.path) and work.place > 0,
                    "wider": work.place + 1 < len(work.path),
                    **dict.fromkeys(("move", "turn", "resize", "delete"), any_selected),
                },
            }
            objects = self._objects()
        self._page.tell_all(state)
        self._page.tell_all(objects)

    def _objects(self) -> dict[str, Any]:
        session, book, level = self._session, self._session.settings.book, self._session.settings.level
        colors = (255 * cluster_colors(session.host.clusters[level].num_clusters)).int().tolist()
        work = session.work
        return {
            "type": "objects",
            "level": level,
            "hidden": len(book.hidden),
            "items": [
                {
                    "id": cluster,
                    "name": book.name(level, cluster),
                    "count": count,
                    "color": "#{:02x}{:02x}{:02x}".format(*colors[cluster]),
                    "hidden": (level, cluster) in book.hidden,
                    "locked": (level, cluster) in book.locked,
                    "selected": work.level == level and cluster in work.cluster_ids,
                }
                for cluster, count in session.objects()
            ],
        }

    # --- what a page tells of

    def _happened(self, client: Client, event: PageEvent) -> None:
        start = time.perf_counter()
        if isinstance(event, Hovered):
            self._hover(client, event)
        elif isinstance(event, Commanded):
            self._feedback.run(self._commands.get(event.name, lambda: self._move_camera(client, event.name)), client)
        elif isinstance(event, Clicked):
            view = self._host.client_view(client)
            place = _pixel(view, event.at)
            self._feedback.run(
                lambda: _timed(self._session.click(view, *place, event.mode, event.whole), start), client
            )
        elif isinstance(event, Dragged):
            view = self._host.client_view(client)
            corners = [_pixel(view, place) for place in event.points]
            self._feedback.run(lambda: _timed(self._session.region(view, corners, event.mode), start), client)
        elif isinstance(event, ObjectAsked):
            self._feedback.run(lambda: self._ask(event), client)
        else:
            assert_never(event)

    def _hover(self, client: Client, event: Hovered) -> None:
        try:
            view = self._host.client_view(client)
            name = self._session.name_at(view, *_pixel(view, event.at))
        except Exception:  # nobody asked for it
            logger.exception("failed: hover")
            return
        self._page.tell(client, {"type": "hover", "x": event.at[0], "y": event.at[1], "name": name})

    def _ask(self, event: ObjectAsked) -> Outcome:
        session, key = self._session, (event.level, event.cluster)
        if event.level not in session.host.clusters:
            raise ValueError(f"there is no level {event.level[:40]!r}")
        if event.action == "select":
            return session.select_object(event.cluster, event.level, event.mode)
        if event.action == "rename":
            return session.rename_object(*key, event.name)
        if event.action == "only":
            return session.show_only(*key)
        if event.action in ("lock", "unlock"):
            return session.lock_object(*key, event.action == "lock")
        return session.switch_object(*key, show=event.action == "show")

    # --- views

    def _look_at_scene(self, client: Client) -> None:
        def look() -> None:
            with suppress(ValueError):  # neither photos nor geometry yet: nerfstudio's own first view
                self._move_camera(client, "start view")

        # viser calls with the lock of its list of clients held, which whoever holds the session's may wait for
        threading.Thread(target=look, daemon=True).start()

    def _move_camera(self, client: Client, how: str) -> None:
        """
        Raises:
            ValueError: there is nothing to look at.
        """
        session, photos = self._session, self._host.photos
        scene = session.scene
        drawn = session.switched_on() & visible_gaussians(scene.splats.opacity_logits)
        if how == "frame":
            selected = session.selected()
            drawn = selected if bool(selected.any()) else drawn
        points = start_view.sampled(scene.splats.means, drawn)
        if not len(points):
            raise ValueError("There is nothing to look at: everything is hidden or deleted")
        if how == "frame":
            start_view.frame(client, points)
            return
        if not photos:
            raise ValueError("This run has no photos to look through")
        if self._best is None:
            self._best = start_view.sees_most(photos, points)
        step = {"next photo": 1, "previous photo": -1}.get(how)
        last = self._photo_of.get(client.client_id, self._best)
        place = self._best if step is None else (last + step) % len(photos)
        self._photo_of[client.client_id] = place
        start_view.look_through(client, photos[place], start_view.distance_ahead(photos[place], points))


def _timed(outcome: Outcome, start: float) -> Outcome:
    """What was picked, timed from the browser's event on."""
    return outcome.timed((time.perf_counter() - start) * 1e3)


def _pixel(view: PinholeView, at: Place) -> tuple[float, float]:
    """A place in the picture as pixels of the view."""
    return min(at[0] * view.width, view.width - 0.01), min(at[1] * view.height, view.height - 0.01)
