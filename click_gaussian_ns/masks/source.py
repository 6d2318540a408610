"""Label maps of the training views, decoded when asked for, within a fixed amount of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool

from click_gaussian_ns.masks.levels import resize_nearest
from click_gaussian_ns.masks.provenance import Provenance
from click_gaussian_ns.types import UNASSIGNED, LevelMaps

PhotoMask = Callable[[int], Bool[np.ndarray, "H W"] | None]
"""Of view `index`: which pixels of its photo count, at the view's size; None: all do."""


class DecodedLevelMaps:
    """A `LevelMapSource` over a decoder: recently used views stay in memory up to a limit.

    Views are brought to the size of their training view (nearest). Safe to use from several threads.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        decode: Callable[[int], LevelMaps],
        sizes: Sequence[tuple[int, int]],
        resident_mb: int,
        photo_mask: PhotoMask = lambda index: None,
        provenance: Provenance | None = None,
    ) -> None:
        """
        Args:
            names: levels, coarse to fine.
            decode: label maps of view `index`, at any size.
            sizes: (height, width) of the training views, px.
            resident_mb: upper limit of the decoded maps kept, MiB.
            photo_mask: pixels that do not count are unassigned.
            provenance: of the segments.
        """
        self._names = names
        self._decode = decode
        self._sizes = list(sizes)
        self._limit_bytes = resident_mb * 2**20
        self._photo_mask = photo_mask
        self.provenance = provenance
        self._resident: OrderedDict[int, LevelMaps] = OrderedDict()
        self._resident_bytes = 0
        self._lock = threading.Lock()

    @property
    def names(self) -> tuple[str, ...]:
        return self._names

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> LevelMaps:
        if not 0 <= index < len(self):
            raise IndexError(f"view {index} of {len(self)}")
        with self._lock:
            if index in self._resident:
                self._resident.move_to_end(index)
                return self._resident[index]
        found = self._decode(index)
        if found.maps.shape[1:] != tuple(self._sizes[index]):
            found = LevelMaps(found.names, resize_nearest(found.maps, self._sizes[index]))
        counts = self._photo_mask(index)
        if counts is not None:
            found = LevelMaps(found.names, np.where(counts, found.maps, np.uint16(UNASSIGNED)))
        found.maps.setflags(write=False)
        self._keep(index, found)
        return found

    def _keep(self, index: int, found: LevelMaps) -> None:
        with self._lock:
            if index in self._resident or found.maps.nbytes > self._limit_bytes:
                return
            self._resident[index] = found
            self._resident_bytes += found.maps.nbytes
            while self._resident_bytes > self._limit_bytes:
                _, dropped = self._resident.popitem(last=False)
                self._resident_bytes -= dropped.maps.nbytes
