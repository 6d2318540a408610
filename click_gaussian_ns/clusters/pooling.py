"""Mean features of every 2D segment of every view, A f (Eq. 6), with A built once: geometry is frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numba
import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from click_gaussian_ns.raster import rasterize, sparse
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.types import LevelMapSource, PinholeView, SegmentWeights, Splats

_COLUMNS_AT_ONCE = 16
_NOTHING = 1e-12
_PER_ROW = (torch.int32, torch.int32, torch.int64)
"""Of a row's view, segment and number of pixels."""


@runtime_checkable
class Pooling(Protocol):
    """Segment means of all training views, and how much each Gaussian is seen in them."""

    @property
    def visibility(self) -> Float[Tensor, " N"]:
        """Sum of the blending weights of each Gaussian over the segmented pixels of all views, px."""
        ...

    def segment_means(self, features: Float[Tensor, "N D"], level: str) -> Float[Tensor, "S D"]:
        """Mean rendered feature of every segment of a level."""
        ...

    def core_means(self, features: Float[Tensor, "N D"], level: str) -> Float[Tensor, "S D"]:
        """Mean feature of the core of every segment: each Gaussian counts by its blending weight in the segment, times
        the share of its weight in the view's segments that lies there."""
        ...

    def spread(self, values: Float[Tensor, "S K"], level: str) -> Float[Tensor, "N K"]:
        """What the segments of a level give each Gaussian: their values times its blending weight in them, px."""
        ...

    def segments(self, level: str) -> tuple[Int[Tensor, "S"], Int[Tensor, "S"]]:
        """The view of every segment of a level, and its size, px. On CPU."""
        ...

    def masses(self, labels: Int[Tensor, "N"], num_labels: int, level: str) -> Float[Tensor, "S C"]:
        """Weight of each label's Gaussians in every segment, px; labels below 0 are none's. On CPU."""
        ...

    def two_largest(self, values: Float[Tensor, "S K"], level: str) -> tuple[Int[Tensor, "N"], Float[Tensor, "N 2"]]:
        """Of each row of `spread`, for values >= 0: the place of the largest number, int32 (-1: all are 0), and the two
        largest. On CPU."""
        ...


@dataclass(frozen=True)
class SparsePooling:
    """CPU: the pooling matrix of every level, built once."""

    levels: dict[str, SegmentWeights]
    visibility: Float[Tensor, " N"]

    def segment_means(self, features: Float[Tensor, "N D"], level: str) -> Float[Tensor, "S D"]:
        matrix = self.levels[level]
        product = sparse.multiply(*_csr(matrix), features.detach().float().contiguous().numpy())
        return torch.from_numpy(product)

    def core_means(self, features: Float[Tensor, "N D"], level: str) -> Float[Tensor, "S D"]:
        matrix = self.levels[level]
        starts = np.flatnonzero(np.diff(matrix.view_ids.numpy(), prepend=-1, append=-1))
        dense, pixels = features.detach().float().contiguous().numpy(), matrix.num_pixels.float().numpy()
        return torch.from_numpy(sparse.core_means(*_csr(matrix), starts, pixels, dense))

    def spread(self, values: Float[Tensor, "S K"], level: str) -> Float[Tensor, "N K"]:
        return _spread(self.levels[level], values)

    def segments(self, level: str) -> tuple[Int[Tensor, "S"], Int[Tensor, "S"]]:
        return self.levels[level].view_ids.long(), self.levels[level].num_pixels.long()

    def masses(self, labels: Int[Tensor, "N"], num_labels: int, level: str) -> Float[Tensor, "S C"]:
        matrix = self.levels[level]
        sums = sparse.sum_by_label(*_csr(matrix), labels.to(torch.int32).numpy(), num_labels)
        return torch.from_numpy(sums) * matrix.num_pixels[:, None]

    def two_largest(self, values: Float[Tensor, "S K"], level: str) -> tuple[Int[Tensor, "N"], Float[Tensor, "N 2"]]:
        matrix = self.levels[level]
        weighted = (values.float() * matrix.num_pixels[:, None]).contiguous().numpy()
        place, most = sparse.two_largest_transposed(*_csr(matrix), weighted, matrix.num_gaussians)
        return torch.from_numpy(place), torch.from_numpy(most)


@dataclass(frozen=True)
class DensePooling:
    """CUDA: every view is rendered densely whenever means are asked for; nothing is kept."""

    splats: Splats
    views: Sequence[PinholeView]
    level_maps: LevelMapSource
    rasterize_mode: RasterizeMode

    @property
    def visibility(self) -> Float[Tensor, " N"]:
        return self._visibility

    @cached_property
    def _visibility(self) -> Float[Tensor, " N"]:
        ones = self.splats.means.new_ones(1)
        return self._weigh(lambda index: ones * (self._labels(index, self.level_maps.names[0]) > 0)[..., None])[:, 0]

    def spread(self, values: Float[Tensor, "S K"], level: str) -> Float[Tensor, "N K"]:
        place = 0

        def picture(index: int) -> Tensor:
            nonlocal place
            labels = self._labels(index, level)
            present, where = torch.unique(labels, return_inverse=True)
            rows = values.new_zeros(present.shape[0], values.shape[1])
            num = int((present > 0).sum())
            rows[present > 0] = values[place : place + num]
            place += num
            return rows[where]

        return self._weigh(picture)

    def segments(self, level: str) -> tuple[Int[Tensor, "S"], Int[Tensor, "S"]]:
        views, sizes = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0, dtype=torch.int64)]
        for index in range(len(self.views)):
            counts = torch.bincount(self._labels(index, level).reshape(-1)).cpu()[1:]
            sizes.append(counts[counts > 0])
            views.append(torch.full_like(sizes[-1], index))
        return torch.cat(views), torch.cat(sizes)

    def masses(self, labels: Int[Tensor, "N"], num_labels: int, level: str) -> Float[Tensor, "S C"]:
        _, num_pixels = self.segments(level)
        parts = [torch.zeros(num_pixels.shape[0], 0)]
        for some in torch.arange(num_labels, device=labels.device).split(_COLUMNS_AT_ONCE):
            parts.append(self.segment_means((labels[:, None] == some).float(), level).cpu())
        return torch.cat(parts, dim=1) * num_pixels[:, None]

    def two_largest(self, values: Float[Tensor, "S K"], level: str) -> tuple[Int[Tensor, "N"], Float[Tensor, "N 2"]]:
        place = torch.full((self.splats.num_gaussians,), -1, dtype=torch.int32)
        most = torch.zeros(self.splats.num_gaussians, 2)
        for first in range(0, values.shape[1], _COLUMNS_AT_ONCE):
            some = values[:, first : first + _COLUMNS_AT_ONCE].contiguous()
            found = self.spread(some.to(self.splats.means.device), level).cpu()
            best, which = found.max(dim=1)
            better = best > most[:, 0]
            place[better] = which[better].to(torch.int32) + first
            most = torch.cat([most, found], dim=1).topk(2, dim=1).values
        return place, most

    def _weigh(self, picture: Callable[[int], Float[Tensor, "H W K"]]) -> Float[Tensor, "N K"]:
        """Sum over all views and pixels of each Gaussian's blending weight times the pixel of the view's picture."""
        total: Tensor | None = None
        for index in range(len(self.views)):
            part = self._weigh_view(index, picture(index))
            total = part if total is None else total + part
        assert total is not None, "there are no views"
        return total

    def _weigh_view(self, index: int, wanted: Float[Tensor, "H W K"]) -> Float[Tensor, "N K"]:
        view = self.views[index]
        with torch.enable_grad():
            carrier = wanted.new_zeros(self.splats.num_gaussians, wanted.shape[-1]).requires_grad_()
            prepared = rasterize.prepare(self.splats, view, self.rasterize_mode)
            everywhere = torch.arange(view.height * view.width, device=carrier.device)
            pixels = rasterize.sample(prepared, carrier, everywhere)
            (weights,) = torch.autograd.grad((pixels * wanted.reshape(pixels.shape)).sum(), carrier)
        return weights

    def _labels(self, index: int, level: str) -> Int[Tensor, "H W"]:
        return torch.from_numpy(self.level_maps[index].level(level).astype(np.int64)).to(self.splats.means.device)

    def segment_means(self, features: Float[Tensor, "N D"], level: str) -> Float[Tensor, "S D"]:
        parts = []
        for index, view in enumerate(self.views):
            rendered = rasterize.render(rasterize.prepare(self.splats, view, self.rasterize_mode), features)
            labels = self._labels(index, level)
            counts = torch.bincount(labels.reshape(-1))
            sums = features.new_zeros(counts.shape[0], features.shape[1])
            sums.index_add_(0, labels.reshape(-1), rendered.image.reshape(-1, features.shape[1]))
            present = counts[1:].nonzero()[:, 0] + 1
            parts.append(sums[present] / counts[present, None])
        return torch.cat(parts)

    def core_means(self, features: Float[Tensor, "N D"], level: str) -> Float[Tensor, "S D"]:
        parts = [features.new_zeros(0, features.shape[1])]
        for index in range(len(self.views)):
            labels = self._labels(index, level)
            in_view = self._weigh_view(index, (labels > 0).to(features.dtype)[..., None]).clamp_min(_NOTHING)
            present = torch.unique(labels[labels > 0])
            for some in present.split(_COLUMNS_AT_ONCE):
                weights = self._weigh_view(index, (labels[..., None] == some).to(features.dtype))
                core = weights.square() / in_view
                parts.append(core.T @ features / core.sum(dim=0)[:, None].clamp_min(_NOTHING))
        return torch.cat(parts)


def build_pooling(
    splats: Splats,
    views: Sequence[PinholeView],
    level_maps: LevelMapSource,
    rasterize_mode: RasterizeMode = "classic",
    progress: Callable[[Iterable[int]], Iterable[int]] = lambda indices: indices,
    keep: Callable[[int, rasterize.PreparedView], None] = lambda _index, _view: None,
) -> Pooling:
    """Pooling over the training views. On CPU it is streamed: one view's weights are in memory beside the matrices.

    `keep` gets every view (CPU only), without what no pixel of it meets, as the tiles are walked through anyway.
    """
    if splats.means.is_cuda:
        return DensePooling(splats, views, level_maps, rasterize_mode)
    stacks = {name: _RowStack() for name in level_maps.names}
    for index in progress(range(len(views))):
        maps = level_maps[index]
        pooled, drawn = rasterize.pool_levels(rasterize.prepare(splats, views[index], rasterize_mode), maps.maps, index)
        for name, rows in zip(maps.names, pooled):
            stacks[name].add(rows)
        keep(index, drawn)
    matrices = {name: stack.joined(splats.num_gaussians) for name, stack in stacks.items()}
    first = next(iter(matrices.values()))
    return SparsePooling(matrices, _spread(first, torch.ones(first.num_segments, 1))[:, 0])


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
    weighted = sparse.multiply_transposed(*_csr(matrix), dense, matrix.num_gaussians, numba.get_num_threads())
    return torch.from_numpy(weighted)


def _csr(matrix: SegmentWeights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return matrix.row_offsets.numpy(), matrix.gaussian_ids.numpy(), matrix.weights.numpy()
