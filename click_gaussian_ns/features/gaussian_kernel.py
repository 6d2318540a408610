"""The terms on the Gaussians' own features (Eq. 7-10 and 12) in one pass on CPU, with one gradient for their sum.

The same sums as norm_3d, spatial and global_feature_guidance in losses.py, to which tests hold it. There each reads
all features and writes a gradient of its own; at a million Gaussians that is what a step's time was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float32
from numba import njit, prange

from click_gaussian_ns.features.levels import FEATURE_DIM, channel_shares
from click_gaussian_ns.features.losses import Guide
from click_gaussian_ns.features.neighbors import Neighbors
from click_gaussian_ns.features.register_tiles import COLUMNS, ROWS, store_products
from click_gaussian_ns.types import Level

_CHUNK = 64
_MOST_SIMILAR = np.int32(-2)
_SUMS_IN_ANY_ORDER = {"reassoc", "contract", "nsz"}
"""What vectorising a sum takes; infinities and NaN stay what they are."""
_TINY = np.float32(1e-12)
_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)


@dataclass(frozen=True)
class Weights:
    """Of the terms; 0 leaves a term out."""

    norm_3d: float
    spatial: float
    gfl: float
    gfl_threshold: float
    """tau^g of Eq. 7."""


def gaussian_gradient(
    features: Float32[np.ndarray, "N 24"],
    levels: tuple[Level, ...],
    weights: Weights,
    neighbors: Neighbors | None,
    sampled: np.ndarray,
    guides: Sequence[Guide | None],
    gradient: Float32[np.ndarray, "N 24"],
) -> tuple[float, float, float]:
    """Writes the gradient of the weighted sum of the terms; returns the weighted 3D norm, spatial and GFL terms.

    Args:
        features: of all Gaussians.
        levels: coarse to fine.
        weights: of the terms.
        neighbors: None leaves the spatial term out.
        sampled: bool [N], the Gaussians whose spatial terms count.
        guides: per level; None or no clusters leaves the level's GFL term out.
        gradient: what it held before is lost.
    """
    num = features.shape[0]
    shares = np.array([(share.start, share.stop) for share in channel_shares(levels)], np.int64)
    spatial_scale = 0.0
    if neighbors is not None and weights.spatial:
        spatial_scale = -weights.spatial / max(int(sampled.sum()) * neighbors.ids.shape[1], 1)
        relation = (neighbors.ids.numpy(), neighbors.reverse_offsets.numpy(), neighbors.reverse_ids.numpy())
    else:
        relation = (np.empty((0, 0), np.int32), np.empty(0, np.int64), np.empty(0, np.int32))
    guided = [
        (level, guide)
        for level, guide in zip(levels, guides)
        if weights.gfl and guide is not None and guide.centers.shape[0] > 0
    ]
    rows = [np.ascontiguousarray(guide.centers.float().numpy()) for _, guide in guided]
    tiles = [_tiles(centers) for centers in rows]
    homes = np.full((len(guided), num), -1, np.int32)
    for own, (_, guide) in zip(homes, guided):
        if guide.homes is not None:
            own[:] = guide.homes.numpy()
    sums = _gradient(
        features,
        shares,
        np.float32(weights.norm_3d / max(num, 1)),
        *relation,
        np.ascontiguousarray(sampled),
        np.float32(spatial_scale),
        np.array([(level.start, level.stop, c.shape[0]) for (level, _), c in zip(guided, rows)], np.int64).reshape(
            -1, 3
        ),
        np.array([level.margin for level, _ in guided], np.float32),
        np.concatenate([np.empty(0, np.float32), *[t.ravel() for t in tiles]]),
        np.cumsum([0, *[t.size for t in tiles]]).astype(np.int64),
        np.concatenate([np.empty(0, np.float32), *[c.ravel() for c in rows]]),
        np.cumsum([0, *[c.size for c in rows]]).astype(np.int64),
        homes,
        np.array([guide.homes is not None for _, guide in guided], np.bool_),
        np.float32(weights.gfl_threshold),
        np.float32(weights.gfl / max(num, 1)),
        gradient,
    )
    norm_3d, spatial, gfl = sums.sum(axis=0).tolist()
    return norm_3d * weights.norm_3d / max(num, 1), spatial * spatial_scale, gfl * weights.gfl / max(num, 1)


def _tiles(centers: np.ndarray) -> np.ndarray:
    """Centres [C, D] as tiles [ceil(C / 32), D, 32], padded with zeros."""
    num_tiles = -(-centers.shape[0] // COLUMNS)
    padded = np.zeros((num_tiles * COLUMNS, centers.shape[1]), np.float32)
    padded[: centers.shape[0]] = centers
    return np.ascontiguousarray(padded.reshape(num_tiles, COLUMNS, -1).transpose(0, 2, 1))


@njit(cache=True, nogil=True, fastmath=True)
@no_type_check
def _add_unit(features, j, toward):
    """toward += the direction of feature j; a zero feature has none."""
    norm = _ZERO
    for d in range(FEATURE_DIM):
        norm += features[j, d] * features[j, d]
    inverse = _ONE / np.sqrt(norm) if norm > _ZERO else _ZERO
    for d in range(FEATURE_DIM):
        toward[d] += features[j, d] * inverse


@njit(cache=True, nogil=True, fastmath=True)
@no_type_check
def _add_spatial(features, i, neighbors, reverse_offsets, reverse_ids, sampled, scale, toward, gradient):
    """Eq. 12: adds the gradient of Gaussian i, as one that is sampled and as a neighbour; its unscaled term."""
    touched, total = sampled[i], _ZERO
    for r in range(reverse_offsets[i], reverse_offsets[i + 1]):
        touched |= sampled[reverse_ids[r]]
    if touched:
        toward[:] = _ZERO
        norm = _ZERO
        for d in range(FEATURE_DIM):
            norm += features[i, d] * features[i, d]
        inverse = _ONE / np.sqrt(norm) if norm > _ZERO else _ZERO
        if sampled[i]:
            for k in range(neighbors.shape[1]):
                _add_unit(features, neighbors[i, k], toward)
            for d in range(FEATURE_DIM):
                total += toward[d] * features[i, d]
            total *= inverse
        for r in range(reverse_offsets[i], reverse_offsets[i + 1]):
            if sampled[reverse_ids[r]]:
                _add_unit(features, reverse_ids[r], toward)
        radial = _ZERO
        for d in range(FEATURE_DIM):
            radial += toward[d] * features[i, d]
        radial *= inverse * inverse
        for d in range(FEATURE_DIM):
            gradient[i, d] += scale * inverse * (toward[d] - radial * features[i, d])
    return total


@njit(cache=True, nogil=True, fastmath=_SUMS_IN_ANY_ORDER)
@no_type_check
def _dot(a, b):
    total = _ZERO
    for d in range(a.shape[0]):
        total += a[d] * b[d]
    return total


@njit(cache=True, nogil=True, fastmath=_SUMS_IN_ANY_ORDER)
@no_type_check
def _place_of(products, value):
    """Place of a value that is among the 32 products: the first of them (the last, if none is: NaN)."""
    place = np.int32(COLUMNS)
    for k in range(COLUMNS):
        here = np.int32(k) if products[k] == value else np.int32(COLUMNS)
        place = min(place, here)
    return min(place, np.int32(COLUMNS - 1))


@njit(cache=True, nogil=True, fastmath=_SUMS_IN_ANY_ORDER)
@no_type_check
def _add_guidance(row, products, highest, num_clusters, margin, centers, first_center, home, threshold, scale, toward):
    """Eq. 7 and 8 of one Gaussian and level: scaled gradient of its channels in `toward` [D]; the unscaled term.

    products [ceil(C / 32) * 32] of the channels `row` [D] with the centres, highest: the largest of each 32.
    home: the cluster that pulls, -1: none does, _MOST_SIMILAR: that one, if it exceeds the threshold.
    """
    dim = row.shape[0]
    inverse = _ONE / max(np.sqrt(_dot(row, row)), _TINY)
    top = 0
    for t in range(highest.shape[0]):
        if highest[t] > highest[top]:
            top = t
    best = top * COLUMNS + _place_of(products[top * COLUMNS : (top + 1) * COLUMNS], highest[top])
    term, touched = _ZERO, False
    is_pulled = products[best] * inverse > threshold
    if home != _MOST_SIMILAR:
        is_pulled = home >= 0
        best = np.intp(home) if is_pulled else best
    similarity = products[best] * inverse
    if is_pulled:
        touched = True
        term -= similarity
        for d in range(dim):
            toward[d] = -centers[first_center + best * dim + d]
    share = _ONE / np.float32(num_clusters)
    for t in range(highest.shape[0]):
        if highest[t] * inverse > margin:
            for c in range(t * COLUMNS, min(num_clusters, (t + 1) * COLUMNS)):
                if products[c] * inverse > margin and c != best:
                    if not touched:
                        touched = True
                        toward[:dim] = _ZERO
                    term += share * products[c] * inverse
                    for d in range(dim):
                        toward[d] += share * centers[first_center + c * dim + d]
    if touched:
        radial = _dot(toward[:dim], row) * inverse * inverse
        for d in range(dim):
            toward[d] = scale * inverse * (toward[d] - radial * row[d])
    return term, touched


@njit(parallel=True, cache=True, nogil=True, fastmath=_SUMS_IN_ANY_ORDER)
@no_type_check
def _gradient(
    features,
    shares,
    norm_scale,
    neighbors,
    reverse_offsets,
    reverse_ids,
    sampled,
    spatial_scale,
    levels,
    margins,
    tiles,
    tile_starts,
    centers,
    center_starts,
    homes,
    has_homes,
    threshold,
    gfl_scale,
    gradient,
):
    """Unscaled sums [chunks, 3] of the 3D norm, spatial and GFL terms; levels [L, 3]: start, stop, clusters."""
    num = features.shape[0]
    num_chunks = (num + _CHUNK - 1) // _CHUNK
    sums = np.zeros((num_chunks, 3), np.float64)
    most_tiles = 1
    for level in range(levels.shape[0]):
        most_tiles = max(most_tiles, (levels[level, 2] + COLUMNS - 1) // COLUMNS)
    stride = np.intp(most_tiles * COLUMNS)
    for chunk in prange(num_chunks):
        toward = np.empty(FEATURE_DIM, np.float32)
        first, last = chunk * _CHUNK, min(num, (chunk + 1) * _CHUNK)
        for i in range(first, last):
            for share in range(shares.shape[0]):
                own = features[i, shares[share, 0] : shares[share, 1]]
                norm = np.sqrt(_dot(own, own))
                sums[chunk, 0] += (norm - _ONE) * (norm - _ONE)
                scale = norm_scale * np.float32(2.0) * (norm - _ONE) / norm if norm > _ZERO else _ZERO
                for d in range(shares[share, 0], shares[share, 1]):
                    gradient[i, d] = scale * features[i, d]
            if spatial_scale != _ZERO:
                sums[chunk, 1] += _add_spatial(
                    features, i, neighbors, reverse_offsets, reverse_ids, sampled, spatial_scale, toward, gradient
                )
        if levels.shape[0] == 0:
            continue
        rows = np.zeros(_CHUNK * FEATURE_DIM, np.float32)
        products = np.empty(ROWS * stride, np.float32)
        highest = np.empty((ROWS, most_tiles), np.float32)
        for i in range(first, last):
            for d in range(FEATURE_DIM):
                rows[(i - first) * FEATURE_DIM + d] = features[i, d]
        for level in range(levels.shape[0]):
            start, stop, num_clusters = levels[level, 0], levels[level, 1], levels[level, 2]
            dim = np.intp(stop - start)
            num_tiles = (num_clusters + COLUMNS - 1) // COLUMNS
            for quad in range(first, last, ROWS):
                offset = np.intp((quad - first) * FEATURE_DIM + start)
                for t in range(num_tiles):
                    tile = np.intp(tile_starts[level] + t * dim * COLUMNS)
                    top = store_products(
                        rows,
                        offset,
                        np.intp(FEATURE_DIM),
                        tiles,
                        tile,
                        dim,
                        products,
                        np.intp(t * COLUMNS),
                        stride,
                    )
                    for r in range(ROWS):
                        highest[r, t] = top[r]
                for r in range(min(ROWS, last - quad)):
                    i = quad + r
                    term, touched = _add_guidance(
                        features[i, start:stop],
                        products[r * stride : (r + 1) * stride],
                        highest[r, :num_tiles],
                        num_clusters,
                        margins[level],
                        centers,
                        center_starts[level],
                        homes[level, i] if has_homes[level] else _MOST_SIMILAR,
                        threshold,
                        gfl_scale,
                        toward,
                    )
                    sums[chunk, 2] += term
                    if touched:
                        for d in range(dim):
                            gradient[i, start + d] += toward[d]
    return sums
