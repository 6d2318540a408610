"""What selecting and editing stand on: the settings, the history of the work, the edited scene, what is drawn of it.

Locks are taken in one order: the session's own, then the host's (which training steps and frames hold too).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from click_gaussian_ns.edit.display import row_sources
from click_gaussian_ns.edit.history import History
from click_gaussian_ns.edit.operations import Edit, Transform, Vec3
from click_gaussian_ns.edit.scene import EditedScene, Timeline
from click_gaussian_ns.selection.pick import members
from click_gaussian_ns.types import GlobalClusters, Level, Splats
from click_gaussian_ns.viewer import state
from click_gaussian_ns.viewer.book import ObjectKey
from click_gaussian_ns.viewer.drawing import Drawing
from click_gaussian_ns.viewer.host import Host
from click_gaussian_ns.viewer.kept import Kept
from click_gaussian_ns.viewer.state import Settings, Work


@dataclass(frozen=True)
class Outcome:
    """What is selected after an operation."""

    num_selected: int
    cluster_ids: tuple[int, ...]
    level: str
    ms: float
    """From the call to the selection; 0 where nothing was timed."""
    names: tuple[str, ...] = ()
    """What the clusters are called."""

    @property
    def title(self) -> str:
        """As a person says it: "mug and Object 4", "5 objects"."""
        if not self.num_selected:
            return "Nothing selected"
        if not self.names:
            return "A selection"
        return " and ".join(self.names) if len(self.names) <= 2 else f"{len(self.names)} objects"

    @property
    def what(self) -> str:
        """How many Gaussians, and of which clusters (the first eight)."""
        ids = ", ".join(map(str, self.cluster_ids[:8])) + (" ..." if len(self.cluster_ids) > 8 else "")
        return f"{self.num_selected:,} Gaussians" + (f", {self.level} {ids}" if ids else "")

    def timed(self, ms: float) -> Outcome:
        """The same, with a time that was taken elsewhere."""
        return replace(self, ms=ms)

    def __str__(self) -> str:
        return f"{self.what} ({self.ms:.1f} ms)" if self.ms else self.what


class SessionCore:
    """One selection, one edit list and their history, shared by all browsers."""

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
        self._pending: Transform | None = None
        self._drawing = Drawing()
        self._chosen = Kept[Bool[Tensor, " M"]]()
        self._switched_on = Kept[Bool[Tensor, " M"]]()
        self._row_labels = Kept[Tensor]()

    # --- what there is

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held to read several things that must belong together."""
        return self._lock

    @property
    def base_and_edits(self) -> tuple[Splats, tuple[Edit, ...]]:
        """The trained scene, another object if it was replaced, and the edits of it."""
        with self._lock:
            return self._start(), self._history.present.edits

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
            current, allowed, least = self._mask, self._allowed(), self.settings.min_confidence
            confidence = self.host.clusters[self.work.level].confidence if least > 0 else None

            def make() -> Bool[Tensor, " M"]:
                mask = current & allowed
                return mask if confidence is None else mask & (self._per_row(confidence) >= least)

            return self._chosen.get((current, allowed, confidence, least), make)

    def outcome(self, ms: float = 0.0) -> Outcome:
        with self._lock:
            count = int(np.count_nonzero(self.selected().cpu().numpy()))
            work, book = self.work, self.settings.book
            names = tuple(book.name(work.level, cluster) for cluster in work.cluster_ids)
            return Outcome(count, work.cluster_ids, work.level, ms, names)

    def center(self) -> Vec3 | None:
        """Median of the selected centres, scene units; None if nothing is selected."""
        with self._lock:
            mask = self.selected()
            if not bool(mask.any()):
                return None
            x, y, z = self.scene.splats.means[mask].median(dim=0).values.tolist()
            return x, y, z

    def radius(self) -> float:
        """How far most selected centres are from the middle of them, scene units."""
        with self._lock:
            middle = self.center()
            if middle is None:
                return 0.0
            means = self.scene.splats.means[self.selected()]
            return float((means - means.new_tensor(middle)).norm(dim=1).median())

    # --- history and settings

    def undo(self) -> Outcome:
        """One step back; a transform that is only previewed is a step of its own, which `redo` brings back."""
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

    def take_up(self, edits: Sequence[Edit]) -> Outcome:
        """Make an earlier session's edits, each a step of the history.

        Raises:
            ValueError: an edit does not fit the scene; nothing changes then.
        """
        with self._lock:
            self._start()
            history, mask = self._history, self._mask
            try:
                for count in range(1, len(edits) + 1):
                    scene = self._timeline.at(edits[:count])
                    mask = torch.zeros_like(scene.alive)
                    history = history.push(
                        replace(Work.start(self.level.name, scene.num_gaussians), edits=tuple(edits[:count]))
                    )
            except ValueError:
                self._timeline.at(self.work.edits)
                raise
            self._pending, self._history, self._mask = None, history, mask
            self._show()
            return self.outcome()

    def settle(self) -> None:
        """Make a transform that is being previewed an edit: what is seen is what is meant."""
        with self._lock:
            pending, self._pending = self._pending, None
            if pending is not None:
                mask = pending.gaussians.unpack().to(self._mask.device)
                self._commit(state.add_edit(self.work, pending, mask), mask)

    # --- for what stands on it

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
            self._pending = None
        return base

    def _commit(self, work: Work, mask: Bool[Tensor, " M"]) -> None:
        """Make this the present; `mask` is `work.selected`, unpacked."""
        self._pending = None
        self._history = self._history.push(work)
        self._mask = mask
        self._show()

    def _travel(self, step: Callable[[History[Work]], History[Work]]) -> Outcome:
        start = time.perf_counter()
        with self._lock:
            self._start()
            self.settle()
            self._history = step(self._history)
            self._mask = self.work.selected.unpack().to(self._mask.device)
            self._show()
            return self.outcome((time.perf_counter() - start) * 1e3)

    def _show(self) -> None:
        edits = self.work.edits if self._pending is None else (*self.work.edits, self._pending)
        scene = self._timeline.at(edits)
        display = self._drawing.display(scene, self.num_base, self._allowed(), self.selected(), self.settings.highlight)
        with self.host.lock:
            self.host.show(display)
        self.on_change()

    def _allowed(self) -> Bool[Tensor, " M"]:
        """In the scene and switched on."""
        scene, hidden = self.scene, self.settings.book.hidden
        if not hidden:
            return scene.alive

        return self._switched_on.get((scene, hidden), lambda: scene.alive & ~self._rows_of(hidden))

    def _rows_of(self, objects: frozenset[ObjectKey]) -> Bool[Tensor, " M"]:
        """Rows of any of these objects."""
        mask = torch.zeros_like(self.scene.alive)
        for level in {level for level, _ in objects}:
            ids = [cluster for name, cluster in objects if name == level]
            mask |= members(self._labels(self.host.clusters[level]), ids)
        return mask

    def _labels(self, found: GlobalClusters) -> Tensor:
        """Cluster of each row."""
        sources = row_sources(self.scene, self.num_base)
        if sources is None:
            return found.labels
        return self._row_labels.get((found.labels, sources), lambda: found.labels[sources.long()])

    def _per_row(self, values: Tensor) -> Tensor:
        """Values of the trained Gaussians, for each row."""
        sources = row_sources(self.scene, self.num_base)
        return values if sources is None else values[sources.long()]
