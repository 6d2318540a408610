"""The click tool at work: state, history and edited scene of one running viewer. No viser; any thread may call it.

Locks are taken in one order: the session's own, then the host's (which training steps and frames hold too).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from click_gaussian_ns.edit.display import row_sources
from click_gaussian_ns.edit.history import History
from click_gaussian_ns.edit.operations import Duplicate, Edit, Isolate, Recolor, Remove, Transform, Vec3
from click_gaussian_ns.edit.scene import EditedScene, Timeline
from click_gaussian_ns.raster.rasterize import PreparedView
from click_gaussian_ns.selection import operations
from click_gaussian_ns.selection.packed import PackedMask
from click_gaussian_ns.selection.pick import locate, members, visible_gaussians
from click_gaussian_ns.selection.visibility import centers_inside, front_surface
from click_gaussian_ns.types import Click, GlobalClusters, Level, PinholeView, Splats
from click_gaussian_ns.viewer import state
from click_gaussian_ns.viewer.drawing import Drawing
from click_gaussian_ns.viewer.host import Host
from click_gaussian_ns.viewer.state import Settings, Work


@dataclass(frozen=True)
class Outcome:
    """What is selected after an operation."""

    num_selected: int
    cluster_ids: tuple[int, ...]
    level: str
    ms: float
    """From the call to the selection."""

    def __str__(self) -> str:
        objects = f", {self.level} clusters {', '.join(map(str, self.cluster_ids))}" if self.cluster_ids else ""
        return f"{self.num_selected:,} Gaussians{objects} ({self.ms:.1f} ms)"


class Session:
    """One selection, one edit list, shared by all browsers; each click comes with its own camera."""

    def __init__(self, host: Host, on_change: Callable[[], None] = lambda: None) -> None:
        """`on_change` is called after anything that changes what is drawn."""
        self.host = host
        self.on_change = on_change
        self.settings = Settings(level=host.levels[0].name)
        self._lock = threading.RLock()
        self._base: Splats | None = None
        self._timeline: Timeline
        self._history: History[Work]
        self._mask: Bool[Tensor, " M"]
        self._spaces: tuple[EditedScene, operations.Space] | None = None
        self._row_labels: tuple[object, object, Tensor] | None = None
        self._front: tuple[PreparedView, Bool[Tensor, " M"]] | None = None
        self._index: tuple[tuple[object, ...], Tensor, list[int]] | None = None
        self._chosen: tuple[tuple[object, ...], Bool[Tensor, " M"]] | None = None
        self._switched_on: tuple[object, object, Bool[Tensor, " M"]] | None = None
        self._drawing = Drawing()
        self._pending: Transform | None = None

    # --- what there is

    @property
    def work(self) -> Work:
        with self._lock:
            self._start()
            return self._history.present

    @property
    def scene(self) -> EditedScene:
        """After all edits; a transform that is being previewed is not in it."""
        with self._lock:
            self._start()
            return self._timeline.at(self.work.edits)

    @property
    def num_base(self) -> int:
        """Gaussians of the trained scene."""
        with self._lock:
            return self._start().num_gaussians

    @property
    def has_clusters(self) -> bool:
        return any(found.num_clusters for found in self.host.clusters.values())

    @property
    def level(self) -> Level:
        return next(level for level in self.host.levels if level.name == self.settings.level)

    def selected(self) -> Bool[Tensor, " M"]:
        """Rows that operations act on: selected, in the scene, switched on, and sure enough."""
        with self._lock:
            self._start()
            allowed, least = self._allowed(), self.settings.min_confidence
            confidence = self.host.clusters[self.work.level].confidence if least > 0 else None
            kept = self._chosen
            if kept is None or any(a is not b for a, b in zip(kept[0], (self._mask, allowed, confidence, least))):
                mask = self._mask & allowed
                if confidence is not None:
                    mask &= self._per_row(confidence) >= least
                kept = self._chosen = ((self._mask, allowed, confidence, least), mask)
            return kept[1]

    def outcome(self, ms: float = 0.0) -> Outcome:
        with self._lock:
            count = int(np.count_nonzero(self.selected().cpu().numpy()))
            return Outcome(count, self.work.cluster_ids, self.work.level, ms)

    def objects(self) -> list[tuple[int, int]]:
        """(cluster, number of its Gaussians in the scene) of the chosen level, largest first."""
        with self._lock:
            self._start()
            found = self.host.clusters[self.settings.level]
            labels = self._labels(found)[self.scene.alive]
            counts = torch.bincount(labels[labels >= 0].long(), minlength=found.num_clusters).tolist()
            return sorted(((i, n) for i, n in enumerate(counts) if n), key=lambda pair: (-pair[1], pair[0]))

    def center(self) -> Vec3 | None:
        """Median of the selected centres, scene units; None if nothing is selected."""
        with self._lock:
            mask = self.selected()
            if not bool(mask.any()):
                return None
            x, y, z = self.scene.splats.means[mask].median(dim=0).values.tolist()
            return x, y, z

    # --- selecting

    def click(self, view: PinholeView, x_px: float, y_px: float, mode: state.ClickMode | None = None) -> Outcome:
        """Pick what is displayed at a pixel of a browser's own view.

        Raises:
            ValueError: no clusters yet, a pixel outside the view or on nothing.
        """
        start = time.perf_counter()
        mode = self.settings.mode if mode is None else mode
        with self._lock:
            self._start()
            with self.host.lock:
                prepared = self.host.prepared(view)
                features, found = self.host.features.detach(), self.host.clusters[self.level.name]
                sources = row_sources(self.scene, self.num_base)
                (prompt,) = locate(prepared, features, self.level, found, [Click(x_px, y_px)], sources)
                hit = self._members(found, prompt.cluster_id)
                if self.settings.front_only:
                    hit &= self._front_of(prepared)
                work, mask = state.click_cluster(
                    self.work,
                    mode,
                    self.level.name,
                    prompt,
                    hit,
                    lambda: features if sources is None else features[sources.long()],
                    self._mask,
                )
            self._commit(work, mask)
            return self.outcome((time.perf_counter() - start) * 1e3)

    def rectangle(self, view: PinholeView, low_px: tuple[float, float], high_px: tuple[float, float]) -> Outcome:
        """Select the Gaussians in a rectangle: those that show in it (front only), or all centres through the scene."""

        def pick(_: Bool[Tensor, " M"]) -> Bool[Tensor, " M"]:
            with self.host.lock:
                prepared = self.host.prepared(view)
                if not self.settings.front_only:
                    return centers_inside(prepared.splats, view, low_px, high_px)
                where = np.zeros((view.height, view.width), bool)
                (x0, y0), (x1, y1) = low_px, high_px
                where[max(int(y0), 0) : int(np.ceil(y1)), max(int(x0), 0) : int(np.ceil(x1))] = True
                return front_surface(prepared, where)

        return self._reselect(
            lambda current: operations.combine(
                state.combine_mode(self.settings.mode), current, pick(current) & self._selectable()
            )
        )

    def clear(self) -> Outcome:
        return self._reselect(torch.zeros_like)

    def select_all(self) -> Outcome:
        return self._reselect(lambda current: self._selectable())

    def invert(self) -> Outcome:
        return self._reselect(lambda current: ~self.selected() & self._selectable())

    def grow(self) -> Outcome:
        """By one ring of neighbours."""
        return self._reselect(lambda current: operations.grow(self._space(), self.selected()) & self._selectable())

    def shrink(self) -> Outcome:
        """By one ring of neighbours."""
        return self._reselect(lambda current: operations.shrink(self._space(), self.selected()))

    def grow_similar(self) -> Outcome:
        """By all Gaussians whose feature is similar enough."""
        return self._reselect(
            lambda current: (
                operations.grow_similar(self._level_features(), self.selected(), self.settings.similarity)
                & self._selectable()
            )
        )

    def shrink_similar(self) -> Outcome:
        """To the Gaussians whose feature is similar enough."""
        return self._reselect(
            lambda current: operations.shrink_similar(self._level_features(), self.selected(), self.settings.similarity)
        )

    def keep_largest(self) -> Outcome:
        """To the largest connected piece."""
        return self._reselect(lambda current: operations.largest_component(self._space(), self.selected()))

    def select_object(self, cluster: int) -> Outcome:
        """One cluster of the chosen level, in the current mode's way of combining."""
        with self._lock:
            self._start()
            found, mode = self.host.clusters[self.settings.level], state.combine_mode(self.settings.mode)
            hit = self._members(found, cluster)
            ids = (cluster,) if mode == "set" else ()
            return self._reselect(lambda current: operations.combine(mode, current, hit), ids)

    def select_mask(self, mask: Bool[Tensor, " N"], level: str, cluster_ids: Sequence[int] = ()) -> Outcome:
        """Select trained Gaussians, e.g. of a saved selection; copies are left out."""
        with self._lock:
            self._start()
            rows = torch.zeros_like(self._mask)
            rows[: mask.shape[0]] = mask.to(rows.device)
            known = level if level in self.host.clusters else self.settings.level
            return self._reselect(lambda current: rows & self.scene.alive, cluster_ids, known)

    # --- editing

    def remove(self) -> Outcome:
        return self._edit(Remove, lambda scene: torch.zeros_like(self._mask))

    def isolate(self) -> Outcome:
        return self._edit(Isolate, lambda scene: self.selected())

    def transform(
        self,
        translation: Vec3,
        rotation: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0),
        scale: float = 1.0,
        pivot: Vec3 | None = None,
    ) -> Outcome:
        """Move what is selected; about its centre unless a pivot is given."""
        with self._lock:
            about = pivot or self.center() or (0.0, 0.0, 0.0)
            return self._edit(
                lambda packed: Transform(packed, translation, rotation, scale, about), lambda scene: self.selected()
            )

    def duplicate(self, translation: Vec3 = (0.0, 0.0, 0.0)) -> Outcome:
        """Copy what is selected; the copy is selected then."""

        def copies(scene: EditedScene) -> Bool[Tensor, " M"]:
            mask = torch.zeros_like(scene.alive)
            mask[self._mask.shape[0] :] = True
            return mask

        return self._edit(lambda packed: Duplicate(packed, translation), copies)

    def recolor(self, color: Vec3, strength: float) -> Outcome:
        return self._edit(lambda packed: Recolor(packed, color, strength), lambda scene: self.selected())

    def preview(
        self, translation: Vec3, rotation: tuple[float, float, float, float], scale: float, pivot: Vec3
    ) -> None:
        """Show a transform of the selection without making it; any other operation ends the preview."""
        with self._lock:
            mask = self.selected()
            if bool(mask.any()):
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

    # --- history and settings

    def undo(self) -> Outcome:
        return self._travel(History.undo)

    def redo(self) -> Outcome:
        return self._travel(History.redo)

    @property
    def can_undo(self) -> int:
        """How many steps back there are."""
        with self._lock:
            self._start()
            return len(self._history.past)

    @property
    def can_redo(self) -> int:
        with self._lock:
            self._start()
            return len(self._history.future)

    def change(self, **settings: object) -> Outcome:
        """Change fields of the settings."""
        with self._lock:
            self.settings = replace(self.settings, **settings)  # pyright: ignore[reportArgumentType]
            self._start()
            self._show()
            return self.outcome()

    def set_edits(self, edits: Sequence[Edit]) -> Outcome:
        """Replace the edit list, as one step of the history.

        Raises:
            ValueError: an edit does not fit the scene; nothing changes then.
        """
        with self._lock:
            self._start()
            try:
                scene = self._timeline.at(edits)
            except ValueError:
                self._timeline.at(self.work.edits)
                raise
            mask = torch.zeros_like(scene.alive)
            self._commit(replace(Work.start(self.level.name, scene.num_gaussians), edits=tuple(edits)), mask)
            return self.outcome()

    # --- inside

    def _start(self) -> Splats:
        """The trained geometry; a new session if it was replaced (a checkpoint loads after the viewer is made)."""
        base = self.host.splats
        if base is not self._base:
            if base.num_gaussians == 0:
                raise ValueError("there is no geometry yet: give --pipeline.model.splat, or load a checkpoint")
            self._base = base
            self._timeline = Timeline(base)
            self._history = History(Work.start(self.settings.level, base.num_gaussians))
            self._mask = torch.zeros(base.num_gaussians, dtype=torch.bool, device=base.means.device)
            self._spaces = self._row_labels = self._front = self._pending = None
            self._index = self._chosen = self._switched_on = None
        return base

    def _commit(self, work: Work, mask: Bool[Tensor, " M"]) -> None:
        self._pending = None
        self._history = self._history.push(work)
        self._mask = mask
        self._show()

    def _reselect(
        self,
        select: Callable[[Bool[Tensor, " M"]], Bool[Tensor, " M"]],
        cluster_ids: Sequence[int] = (),
        level: str | None = None,
    ) -> Outcome:
        start = time.perf_counter()
        with self._lock:
            self._start()
            mask = select(self._mask)
            work = state.select_mask(self.work, mask, level or self.settings.level, cluster_ids)
            self._commit(work, mask)
            return self.outcome((time.perf_counter() - start) * 1e3)

    def _edit(
        self, make: Callable[[PackedMask], Edit], select_after: Callable[[EditedScene], Bool[Tensor, " M"]]
    ) -> Outcome:
        start = time.perf_counter()
        with self._lock:
            self._start()
            chosen = self.selected()
            if not bool(chosen.any()):
                raise ValueError("nothing is selected: click an object first")
            edit = make(PackedMask.pack(chosen))
            scene = self._timeline.at((*self.work.edits, edit))
            mask = select_after(scene)
            self._commit(state.add_edit(self.work, edit, mask), mask)
            return self.outcome((time.perf_counter() - start) * 1e3)

    def _travel(self, step: Callable[[History[Work]], History[Work]]) -> Outcome:
        start = time.perf_counter()
        with self._lock:
            self._start()
            self._pending = None
            self._history = step(self._history)
            self._mask = self.work.selected.unpack().to(self._mask.device)
            self._show()
            return self.outcome((time.perf_counter() - start) * 1e3)

    def _show(self) -> None:
        edits = self.work.edits if self._pending is None else (*self.work.edits, self._pending)
        scene = self._timeline.at(edits)
        self.host.show(
            self._drawing.display(scene, self.num_base, self._allowed(), self.selected(), self.settings.highlight)
        )
        self.on_change()

    def _allowed(self) -> Bool[Tensor, " M"]:
        """In the scene and switched on."""
        scene, hidden = self.scene, self.settings.hidden_objects
        if not hidden:
            return scene.alive
        kept = self._switched_on
        if kept is None or kept[0] is not scene or kept[1] is not hidden:
            allowed = scene.alive
            for level in {level for level, _ in hidden}:
                ids = [i for name, i in hidden if name == level]
                allowed = allowed & ~members(self._labels(self.host.clusters[level]), ids)
            kept = self._switched_on = (scene, hidden, allowed)
        return kept[2]

    def _selectable(self) -> Bool[Tensor, " M"]:
        return self._allowed() & visible_gaussians(self.scene.splats.opacity_logits)

    def _members(self, found: GlobalClusters, cluster: int) -> Bool[Tensor, " M"]:
        """Selectable rows of a cluster, from an index: comparing all labels at every click would cost most of it."""
        key, kept = (found.labels, self.scene, self.settings.hidden_objects), self._index
        if kept is None or any(a is not b for a, b in zip(kept[0], key)):
            labels = self._labels(found)
            rows = (self._selectable() & (labels >= 0)).nonzero()[:, 0]
            of_rows = labels[rows].long()
            starts = torch.cumsum(torch.bincount(of_rows, minlength=found.num_clusters), dim=0).tolist()
            kept = self._index = (key, rows[torch.argsort(of_rows, stable=True)], [0, *starts])
        mask = torch.zeros_like(self._mask)
        mask[kept[1][kept[2][cluster] : kept[2][cluster + 1]]] = True
        return mask

    def _labels(self, found: GlobalClusters) -> Tensor:
        """Cluster of each row."""
        sources = row_sources(self.scene, self.num_base)
        if sources is None:
            return found.labels
        kept = self._row_labels
        if kept is None or kept[0] is not found.labels or kept[1] is not sources:
            kept = self._row_labels = (found.labels, sources, found.labels[sources.long()])
        return kept[2]

    def _per_row(self, values: Tensor) -> Tensor:
        sources = row_sources(self.scene, self.num_base)
        return values if sources is None else values[sources.long()]

    def _level_features(self) -> Float[Tensor, " M D"]:
        return self._per_row(self.host.features.detach()[:, self.level.channels])

    def _space(self) -> operations.Space:
        scene = self.scene
        if self._spaces is None or self._spaces[0] is not scene:
            among = scene.alive & visible_gaussians(scene.splats.opacity_logits)
            self._spaces = (scene, operations.Space.of(scene.splats.means, among))
        return self._spaces[1]

    def _front_of(self, prepared: PreparedView) -> Bool[Tensor, " M"]:
        if self._front is None or self._front[0] is not prepared:
            self._front = (prepared, front_surface(prepared))
        return self._front[1]
