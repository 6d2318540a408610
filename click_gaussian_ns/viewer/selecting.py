"""Selecting: clicks, rectangles, objects by name, and what refines a selection."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from click_gaussian_ns.edit.display import row_sources
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.selection import operations
from click_gaussian_ns.selection.pick import NothingThereError, Prompt, locate, visible_gaussians
from click_gaussian_ns.selection.tree import Node, TreeWalk, path_of, place_at, place_of_level
from click_gaussian_ns.selection.visibility import Place, centers_within, front_surface, pixels_within
from click_gaussian_ns.types import Click, GlobalClusters, Level, PinholeView
from click_gaussian_ns.viewer import state
from click_gaussian_ns.viewer.core import Outcome
from click_gaussian_ns.viewer.host import Host
from click_gaussian_ns.viewer.kept import Kept
from click_gaussian_ns.viewer.objects import ObjectSession

NO_CLUSTERS = "There are no objects to click yet: train on, or press Compute clusters now."


class SelectingSession(ObjectSession):
    """Each click and rectangle comes with the camera of its own browser."""

    def __init__(self, host: Host, on_change: Callable[[], None] = lambda: None) -> None:
        super().__init__(host, on_change)
        self._spaces = Kept[operations.Space]()
        self._fronts = Kept[Bool[Tensor, " M"]]()
        self._index = Kept[tuple[Tensor, list[int]]]()
        self._walks = Kept[TreeWalk]()
        self._tree_of_path: TreeWalk | None = None

    # --- in a picture

    def click(
        self, view: PinholeView, x_px: float, y_px: float, mode: state.ClickMode | None = None, whole: bool = False
    ) -> Outcome:
        """Pick what is displayed at a pixel of a browser's own view; `whole`: the object, whatever the level.

        Raises:
            ValueError: no clusters yet, a pixel outside the view or on nothing, a locked object.
        """
        start = time.perf_counter()
        mode = self.settings.mode if mode is None else mode
        with self._lock:
            self._start()
            self.settle()
            level = self.host.levels[0] if whole else self.level
            with self.host.lock:
                prepared = self.host.prepared(view)
                features, found = self.host.features.detach(), self.host.clusters[level.name]
                sources = row_sources(self.scene, self.num_base)
                prompt = self._prompt(prepared, level, x_px, y_px)
                key = (level.name, prompt.cluster_id)
                if key in self.settings.book.locked:
                    raise ValueError(f"{self.settings.book.name(*key)} is locked: unlock it in the list of objects")
                hit = self._members(found, [prompt.cluster_id])
                if self.settings.front_only:
                    hit &= self._front_of(prepared)
                work, mask = state.click_cluster(
                    self.work,
                    mode,
                    level.name,
                    prompt,
                    hit,
                    lambda: features if sources is None else features[sources.long()],
                    self._mask,
                )
                if mode == "set" and not self.settings.front_only:
                    work = self._with_path(work, prompt)
            if not (whole and work.cluster_ids == self.work.cluster_ids and torch.equal(mask, self._mask)):
                self._commit(work, mask)
            return self.outcome((time.perf_counter() - start) * 1e3)

    def name_at(self, view: PinholeView, x_px: float, y_px: float) -> str:
        """What a click there would select; "" where that is nothing."""
        with self._lock:
            self._start()
            try:
                with self.host.lock:
                    prompt = self._prompt(self.host.prepared(view), self.level, x_px, y_px)
            except ValueError:
                return ""
            return self.settings.book.name(self.level.name, prompt.cluster_id)

    def _prompt(self, prepared: PreparedView, level: Level, x_px: float, y_px: float) -> Prompt:
        """
        Raises:
            ValueError: in words for who clicked.
        """
        found, sources = self.host.clusters[level.name], row_sources(self.scene, self.num_base)
        if not found.num_clusters:
            raise ValueError(NO_CLUSTERS)
        try:
            (prompt,) = locate(prepared, self.host.features.detach(), level, found, [Click(x_px, y_px)], sources)
        except NothingThereError:
            raise ValueError("Nothing here: click on the object") from None
        return prompt

    # --- up and down the tree

    def wider(self) -> Outcome:
        """To what the clicked part, or object, joins next.

        Raises:
            ValueError: see `_walk`.
        """
        return self._walk(lambda path, place: place + 1)

    def narrower(self) -> Outcome:
        """Back towards the part that was clicked.

        Raises:
            ValueError: see `_walk`.
        """
        return self._walk(lambda path, place: place - 1)

    def to_granularity(self, granularity: float) -> Outcome:
        """To the largest thing around the clicked pixel up to a granularity in [0, 1].

        Raises:
            ValueError: see `_walk`.
        """
        return self._walk(lambda path, place: place_at(path, granularity))

    def _walk(self, to: Callable[[tuple[Node, ...], int], int]) -> Outcome:
        """Select another node of the clicked path.

        Raises:
            ValueError: the selection is not that of one click, or its clusters were made anew since.
        """
        start = time.perf_counter()
        with self._lock:
            self._start()
            self.settle()
            path = self.work.path
            if not path:
                raise ValueError('click one thing first, in mode "set": wider and narrower go on from there')
            place = min(max(to(path, self.work.place), 0), len(path) - 1)
            with self.host.lock:
                if self._tree_of_path is not self._walk_of_tree():
                    raise ValueError("the clusters were made anew: click again")
                mask = self._members(self.host.clusters[path[place].level], path[place].cluster_ids)
            self._commit(state.select_node(self.work, mask, path, place), mask)
            return self.outcome((time.perf_counter() - start) * 1e3)

    def _walk_of_tree(self) -> TreeWalk | None:
        """The same as long as the tree is."""
        tree = self.host.tree
        return None if tree is None else self._walks.get((tree.parents,), lambda: TreeWalk(tree))

    def _with_path(self, work: state.Work, prompt: Prompt) -> state.Work:
        """The work after a click, with all that the click can mean."""
        self._tree_of_path = self._walk_of_tree()
        if self._tree_of_path is None:
            return work
        path = path_of(prompt.feature, self.host.levels, self.host.clusters, self._tree_of_path)
        return replace(work, path=path, place=place_of_level(path, work.level))

    def region(self, view: PinholeView, corners: Sequence[Place], mode: state.ClickMode | None = None) -> Outcome:
        """Select the Gaussians in a rectangle (two corners, px) or a polygon.

        Those that show in it (front only), or all centres through the scene.
        """

        def pick() -> Bool[Tensor, " M"]:
            with self.host.lock:
                prepared = self.host.prepared(view)
                if self.settings.front_only:
                    return front_surface(prepared, pixels_within(view, corners))
                return centers_within(prepared.splats, view, corners)

        how = state.combine_mode(mode or self.settings.mode)
        return self._reselect(lambda current: operations.combine(how, current, pick() & self._selectable()))

    # --- by name

    def select_object(self, cluster: int, level: str | None = None, mode: state.ClickMode | None = None) -> Outcome:
        """One cluster of a level (the chosen one), in a mode's way of combining.

        Raises:
            ValueError: there is none of that ID, or it is switched off or locked.
        """
        with self._lock:
            self._start()
            found = self.host.clusters[level or self.settings.level]
            how, book = state.combine_mode(mode or self.settings.mode), self.settings.book
            if not 0 <= cluster < found.num_clusters:
                raise ValueError(
                    f"there is no object {cluster} at the {found.level} level, which has {found.num_clusters}: the "
                    "clusters were made anew, choose from the new list"
                )
            for off, what in ((book.hidden, "switched off: show it first"), (book.locked, "locked: unlock it first")):
                if (found.level, cluster) in off:
                    raise ValueError(f"{book.name(found.level, cluster)} is {what}")
            hit = self._members(found, [cluster])
            same = self.work.cluster_ids if self.work.level == found.level else ()
            grown = {*same, cluster} if same else ()
            ids = {"set": (cluster,), "add": grown, "remove": {*same} - {cluster}}.get(how, ())
            return self._reselect(lambda current: operations.combine(how, current, hit), tuple(ids), found.level)

    def hide_selected(self) -> Outcome:
        """Switch off the objects that are selected.

        Raises:
            ValueError: the selection is not made of objects.
        """
        with self._lock:
            self._start()
            work, book = self.work, self.settings.book
            if not work.cluster_ids:
                raise ValueError("Only objects can be hidden: click one first, or delete what is selected")
            keys = {(work.level, cluster) for cluster in work.cluster_ids}
            return self.change(book=replace(book, hidden=book.hidden | keys))

    def select_mask(self, mask: Bool[Tensor, " N"], level: str, cluster_ids: Sequence[int] = ()) -> Outcome:
        """Select trained Gaussians, e.g. of a saved selection; copies are left out."""
        with self._lock:
            self._start()
            rows = torch.zeros_like(self._mask)
            rows[: mask.shape[0]] = mask.to(rows.device)
            known = level if level in self.host.clusters else self.settings.level
            return self._reselect(lambda current: rows & self.scene.alive, cluster_ids, known)

    # --- refining

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

    # --- inside

    def _reselect(
        self,
        select: Callable[[Bool[Tensor, " M"]], Bool[Tensor, " M"]],
        cluster_ids: Sequence[int] = (),
        level: str | None = None,
    ) -> Outcome:
        start = time.perf_counter()
        with self._lock:
            self._start()
            self.settle()
            mask = select(self._mask)
            work = state.select_mask(self.work, mask, level or self.settings.level, cluster_ids)
            self._commit(work, mask)
            return self.outcome((time.perf_counter() - start) * 1e3)

    def _members(self, found: GlobalClusters, cluster_ids: Sequence[int]) -> Bool[Tensor, " M"]:
        """Selectable rows of clusters, from an index: comparing all labels at every click would cost most of it."""

        def make() -> tuple[Tensor, list[int]]:
            labels = self._labels(found)
            rows = (self._selectable() & (labels >= 0)).nonzero()[:, 0]
            of_rows = labels[rows].long()
            ends = torch.cumsum(torch.bincount(of_rows, minlength=found.num_clusters), dim=0).tolist()
            return rows[torch.argsort(of_rows, stable=True)], [0, *ends]

        rows, starts = self._index.get(
            (found.labels, self.scene, self.settings.book.hidden, self.settings.book.locked), make
        )
        mask = torch.zeros_like(self._mask)
        for cluster in cluster_ids:
            mask[rows[starts[cluster] : starts[cluster + 1]]] = True
        return mask

    def _level_features(self) -> Float[Tensor, " M D"]:
        return self._per_row(self.host.features.detach()[:, self.level.channels])

    def _space(self) -> operations.Space:
        scene = self.scene
        return self._spaces.get(
            (scene,),
            lambda: operations.Space.of(
                scene.splats.means, scene.alive & visible_gaussians(scene.splats.opacity_logits)
            ),
        )

    def _front_of(self, prepared: PreparedView) -> Bool[Tensor, " M"]:
        return self._fronts.get((prepared,), lambda: front_surface(prepared))
