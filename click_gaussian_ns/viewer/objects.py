"""Objects by name: their list, and what can be said about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from click_gaussian_ns.selection.pick import visible_gaussians
from click_gaussian_ns.viewer import state
from click_gaussian_ns.viewer.book import ObjectBook, ObjectKey, anchors, found_again
from click_gaussian_ns.viewer.core import Outcome, SessionCore
from click_gaussian_ns.viewer.host import Host
from click_gaussian_ns.viewer.kept import Kept


class ObjectSession(SessionCore):
    """Clusters of the chosen level are its objects."""

    def __init__(self, host: Host, on_change: Callable[[], None] = lambda: None) -> None:
        super().__init__(host, on_change)
        self._labels_known: dict[str, Tensor] | None = None
        self._listed = Kept[list[tuple[int, int]]]()

    def objects(self) -> list[tuple[int, int]]:
        """(cluster, how many Gaussians of it can be drawn) of the chosen level, largest first."""
        with self._lock:
            self._start()
            found = self.host.clusters[self.settings.level]

            def count() -> list[tuple[int, int]]:
                drawn = self.scene.alive & visible_gaussians(self.scene.splats.opacity_logits)
                labels = self._labels(found)[drawn]
                counts = torch.bincount(labels[labels >= 0].long(), minlength=found.num_clusters).tolist()
                return sorted(((i, n) for i, n in enumerate(counts) if n), key=lambda pair: (-pair[1], pair[0]))

            return self._listed.get((found.labels, self.scene), count)

    def switched_on(self) -> Bool[Tensor, " M"]:
        """Rows in the scene that are not switched off."""
        with self._lock:
            self._start()
            return self._allowed()

    def switch_object(self, level: str, cluster: int, show: bool) -> Outcome:
        """Show or hide one cluster, whatever the others are."""
        with self._lock:
            return self.change(book=self.settings.book.switched((level, cluster), show))

    def show_only(self, level: str, cluster: int) -> Outcome:
        """Hide all other objects of the level; asked again for the one that is left, show all."""
        with self._lock:
            book = self.settings.book
            others = frozenset((level, other) for other, _ in self.objects() if other != cluster)
            elsewhere = frozenset(key for key in book.hidden if key[0] != level)
            hidden = elsewhere if book.hidden == elsewhere | others else elsewhere | others
            return self.change(book=ObjectBook(book.names, hidden, book.locked))

    def show_all(self) -> Outcome:
        """Of every level."""
        with self._lock:
            book = self.settings.book
            return self.change(book=ObjectBook(book.names, frozenset(), book.locked))

    def lock_object(self, level: str, cluster: int, lock: bool) -> Outcome:
        """A locked object is shown, and cannot be selected."""
        with self._lock:
            return self.change(book=self.settings.book.secured((level, cluster), lock))

    def rename_object(self, level: str, cluster: int, name: str) -> Outcome:
        """
        Raises:
            ValueError: the name is too long or cannot be shown.
        """
        with self._lock:
            return self.change(book=self.settings.book.renamed((level, cluster), name))

    def clusters_changed(self) -> bool:
        """After the clusters may have been made anew: what was said of objects follows their Gaussians, and selections
        lose their numbers. Whether they were."""
        with self._lock:
            self._start()
            known, now = self._labels_known, {name: found.labels for name, found in self.host.clusters.items()}
            self._labels_known = now
            changed = [] if known is None else [name for name in now if known.get(name) is not now[name]]
            if known is None or not changed:
                return False
            book = self.settings.book
            self.settings = replace(self.settings, book=book.moved(_moves(book, known, now)))
            for level in changed:
                self._history = self._history.each(lambda work, level=level: state.without_numbers(work, level))
            self._show()
            return True

    def _selectable(self) -> Bool[Tensor, " M"]:
        """Rows that can be selected: drawn, and not locked."""
        selectable = self._allowed() & visible_gaussians(self.scene.splats.opacity_logits)
        locked = self.settings.book.locked
        return selectable & ~self._rows_of(locked) if locked else selectable


def _moves(book: ObjectBook, before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[ObjectKey, ObjectKey]:
    """Where the objects that a book speaks of are now."""
    moves = {}
    for level, cluster in book.noted:
        if level in before and level in after:
            rows = anchors(before[level], cluster)
            now = found_again(after[level], rows) if rows else None
            if now is not None:
                moves[level, cluster] = (level, now)
    return moves
