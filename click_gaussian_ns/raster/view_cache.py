"""Prepared views kept between frames: a click then finds its camera's view projected, sorted and binned already."""

from __future__ import annotations

from collections import OrderedDict

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.types import PinholeView, Splats


class ViewCache:
    """The last few prepared views. Not thread-safe: callers hold a lock."""

    def __init__(self, capacity: int = 4) -> None:
        """`capacity`: two browsers need two each, a coarse one while moving and a fine one at rest."""
        self._capacity = capacity
        self._kept: OrderedDict[tuple[object, ...], PreparedView] = OrderedDict()

    def prepared(self, splats: Splats, view: PinholeView, rasterize_mode: RasterizeMode) -> PreparedView:
        """The view of exactly this `Splats` object, prepared now or kept from before."""
        key = (
            id(splats),
            view.viewmat.cpu().numpy().tobytes(),
            view.K.cpu().numpy().tobytes(),
            view.width,
            view.height,
            rasterize_mode,
        )
        kept = self._kept.get(key)
        # the kept view holds on to its splats, so that their id cannot have been given to others
        if kept is not None and kept.splats is splats:
            self._kept.move_to_end(key)
            return kept
        made = rasterize.prepare(splats, view, rasterize_mode)
        self._kept[key] = made
        while len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return made

    def clear(self) -> None:
        """Forget all views."""
        self._kept.clear()
