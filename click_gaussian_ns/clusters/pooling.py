"""Mean features of every 2D segment of every view, A f (Eq. 6), with A built once: geometry is frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from click_gaussian_ns.raster import matrices, rasterize, sparse
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.raster.sparse import csr, float32_array
from click_gaussian_ns.splats.subset import on_cpu
from click_gaussian_ns.types import LevelMapSource, PinholeView, SegmentWeights, Splats

_PER_ROW = (torch.int32, torch.int32, torch.int64)
"""Of a row's view, segment and number of pixels."""


@dataclass(frozen=True)
class Pooling:
    """The pooling matrix of every level, built once, on the CPU whatever device the Gaussians are on."""

    levels: dict[str, SegmentWeights]
    visibility: Float[Tensor, " N"]
    """Sum of the blending weights of each Gaussian over the segmented pixels of all views, px."""

    def sight(self) -> Float[Tensor, " N"]:
        """How far the views bear each Gaussian out, in [0, 1]: v / (1 + v) for v px seen in all, times 1 - 1 / n.

        n is the effective number of views, (sum of the px in each)^2 / (sum of their squares): 0 is for what a single
        view sees, as haze before a camera, and what two see alike has a half. What a view sees askance counts less
        there, as it covers fewer pixels.
        """
        matrix = next(iter(self.levels.values()))
        offsets, ids, weights = csr(matrix)
        squares = np.zeros(matrix.num_gaussians)
        view_ids = matrix.view_ids.numpy()
        starts = np.searchsorted(view_ids, np.arange(int(view_ids.max(initial=-1)) + 2))
        for first, last in pairwise(starts):
            rows = slice(offsets[first], offsets[last])
            pixels = np.repeat(matrix.num_pixels[first:last].numpy(), np.diff(offsets[first : last + 1]))
            squares += np.bincount(ids[rows], weights[rows] * pixels, minlength=matrix.num_gaussians) ** 2
        seen = self.visibility.double()
        alone = torch.from_numpy(squares) / seen.square().clamp_min(1e-12)
        return (seen / (1 + seen) * (1 - alone).clamp(0.0, 1.0)).float()

    def segment_means(self, features: Float[Tensor, "N D"], level: str) -> Float[Tensor, "S D"]:
        """Mean rendered feature of every segment of a level."""
        matrix = self.levels[level]
        return torch.from_numpy(sparse.multiply(*csr(matrix), float32_array(features)))

    def spread(self, values: Float[Tensor, "S K"], level: str) -> Float[Tensor, "N K"]:
        """What the segments of a level give each Gaussian: their values times its blending weight in them, px."""
        return _spread(self.levels[level], values)

    def segments(self, level: str) -> tuple[Int[Tensor, "S"], Int[Tensor, "S"]]:
        """The view of every segment of a level, and its size, px."""
        return self.levels[level].view_ids.long(), self.levels[level].num_pixels.long()

    def masses(self, labels: Int[Tensor, "N"], num_labels: int, level: str) -> Float[Tensor, "S C"]:
        """Weight of each label's Gaussians in every segment, px; labels below 0 are none's."""
        matrix = self.levels[level]
        sums = sparse.sum_by_label(*csr(matrix), labels.to(torch.int32).numpy(), num_labels)
        return torch.from_numpy(sums) * matrix.num_pixels[:, None]

    def two_largest(self, values: Float[Tensor, "S K"], level: str) -> tuple[Int[Tensor, "N"], Float[Tensor, "N 2"]]:
        """Of each row of `spread`, for values >= 0: the place of the largest number, int32 (-1: all are 0), and the two
        largest."""
        matrix = self.levels[level]
        weighted = (values.float() * matrix.num_pixels[:, None]).contiguous().numpy()
        place, most = sparse.two_largest_transposed(*csr(matrix), weighted, matrix.num_gaussians)
        return torch.from_numpy(place), torch.from_numpy(most)


def build_pooling(
    splats: Splats,
    views: Sequence[PinholeView],
    level_maps: LevelMapSource,
    rasterize_mode: RasterizeMode = "classic",
    progress: Callable[[Iterable[int]], Iterable[int]] = lambda indices: indices,
    keep: Callable[[int, PreparedView], None] = lambda _index, _view: None,
) -> Pooling:
    """Pooling over the training views, streamed: one view's weights are in memory beside the matrices.

    `keep` gets every view without what no pixel of it meets, as the tiles are walked through anyway.
    """
    splats = on_cpu(splats)
    stacks = {name: _RowStack() for name in level_maps.names}
    for index in progress(range(len(views))):
        maps = level_maps[index]
        pooled, drawn = matrices.pool_levels(rasterize.prepare(splats, views[index], rasterize_mode), maps.maps, index)
        for name, rows in zip(maps.names, pooled):
            stacks[name].add(rows)
        keep(index, drawn)
    joined = {name: stack.joined(splats.num_gaussians) for name, stack in stacks.items()}
    first = next(iter(joined.values()))
    return Pooling(joined, _spread(first, torch.ones(first.num_segments, 1))[:, 0])


class _RowStack:
    """The rows of several views, one under the other.

    Their entries go into arrays that grow in place, by remapping pages where they are large: parts kept until the end
    would hold as much again, and at a million Gaussians leave holes of a gigabyte between what was freed beside them.
    """

    def __init__(self) -> None:
        self._gaussian_ids, self._weights = np.empty(0, np.int32), np.empty(0, np.float32)
        self._parts: list[tuple[Tensor, ...]] = []

    def add(self, rows: SegmentWeights) -> None:
        held = self._weights.shape[0]
        for own, new in ((self._gaussian_ids, rows.gaussian_ids), (self._weights, rows.weights)):
            own.resize(held + new.shape[0], refcheck=False)
            own[held:] = new.numpy()
        self._parts.append((rows.row_offsets[1:] + held, rows.view_ids, rows.segment_ids, rows.num_pixels))

    def joined(self, num_gaussians: int) -> SegmentWeights:
        """Takes over the arrays: nothing can be added any more."""
        none = (torch.zeros(1, dtype=torch.int64), *(torch.empty(0, dtype=t) for t in _PER_ROW))
        row_offsets, view_ids, segment_ids, num_pixels = map(torch.cat, zip(none, *self._parts))
        ids, weights = torch.from_numpy(self._gaussian_ids), torch.from_numpy(self._weights)
        return SegmentWeights(row_offsets, ids, weights, num_gaussians, view_ids, segment_ids, num_pixels)


def _spread(matrix: SegmentWeights, values: Float[Tensor, "S K"]) -> Float[Tensor, "N K"]:
    pixels: Int[Tensor, "S 1"] = matrix.num_pixels[:, None]
    dense = (values.float() * pixels).contiguous().numpy()
    weighted = sparse.multiply_transposed(*csr(matrix), dense, matrix.num_gaussians, numba.get_num_threads())
    return torch.from_numpy(weighted)
