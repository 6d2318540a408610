"""The terms on the Gaussians' own features (Eq. 7-10 and 12) in one pass on CPU, with one gradient for their sum.

The same sums as the literal forms in features/terms, to which tests hold it. There each reads all features and writes a
gradient of its own; at a million Gaussians that is what a step's time was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float32
from numba import njit, prange

from click_gaussian_ns.features.levels import FEATURE_DIM, channel_shares
from click_gaussian_ns.features.neighbors import Neighbors
from click_gaussian_ns.features.register_tiles import COLUMNS, ROWS, add_row_24, products_above
from click_gaussian_ns.features.spatial_kernel import add_spatial_gradient
from click_gaussian_ns.features.terms.term import Guide
from click_gaussian_ns.raster.parallel_kernel import parallel_kernel
from click_gaussian_ns.raster.scalar_math import lowest_bit
from click_gaussian_ns.types import Level

_CHUNK = 64
_MOST_SHARES = 3
_NO_HOME, _MOST_SIMILAR = np.int32(-1), np.int32(-2)
"""Instead of the cluster that pulls a Gaussian: none, or the one most similar to it."""
_SUMS_IN_ANY_ORDER = {"reassoc", "contract", "nsz"}
"""What vectorising a sum takes; infinities and NaN stay what they are."""
_TINY = np.float32(1e-12)
_ZERO = np.float32(0.0)
_ONE = np.float32(1.0)
_TWO = np.float32(2.0)


def gaussian_gradient(
    features: Float32[np.ndarray, "N 24"],
    levels: tuple[Level, ...],
    weights: Mapping[str, float],
    gfl_threshold: float,
    neighbors: Neighbors | None,
    sampled: np.ndarray,
    guides: Sequence[Guide | None],
    gradient: Float32[np.ndarray, "N 24"],
) -> dict[str, float]:
    """Writes the gradient of the weighted sum of the terms norm_3d, spatial and gfl; returns their weighted values.

    Args:
        features: of all Gaussians.
        levels: coarse to fine, two or three.
        weights: of the terms, by name; 0 leaves one out.
        gfl_threshold: tau^g of Eq. 7: the most similar cluster pulls above it, a Gaussian's home below it.
        neighbors: None leaves the spatial term out.
        sampled: bool [N], the Gaussians whose spatial terms count.
        guides: per level; None or no clusters leaves the level's GFL term out.
        gradient: what it held before is lost.

    Raises:
        ValueError: another number of levels.
    """
    num = features.shape[0]
    shares = channel_shares(levels)
    if not 2 <= len(shares) <= _MOST_SHARES:
        raise ValueError(f"the one pass over the Gaussians takes 2 or {_MOST_SHARES} levels, got {len(shares)}")
    guided = [
        (level, guide)
        for level, guide in zip(levels, guides)
        if weights["gfl"] and guide is not None and guide.centers.shape[0] > 0
    ]
    centers = [guide.centers.float().numpy() for _, guide in guided]
    tiles = [_tiles(c) for c in centers]
    rows = [_rows(c, level) for c, (level, _) in zip(centers, guided)]
    homes = np.full((len(guided), num), _MOST_SIMILAR, np.int32)
    for own, (_, guide) in zip(homes, guided):
        if guide.homes is not None:
            own[:] = guide.homes.numpy()
            own[own < 0] = _NO_HOME
    has_spatial = neighbors is not None and bool(weights["spatial"])
    inverse_norms = np.empty(num if has_spatial else 0, np.float32)
    sums = _gradient(
        features,
        np.intp(shares[0].stop),
        np.float32(weights["norm_3d"] / max(num, 1)),
        np.array([(level.start, level.stop, len(c)) for (level, _), c in zip(guided, centers)], np.int64).reshape(
            -1, 3
        ),
        np.array([level.margin for level, _ in guided], np.float32),
        *_joined(tiles),
        *_joined(rows),
        homes,
        np.float32(gfl_threshold),
        np.float32(weights["gfl"] / max(num, 1)),
        inverse_norms,
        gradient,
    )
    spatial = 0.0
    if neighbors is not None and has_spatial:
        scale = np.float32(-weights["spatial"] / max(int(sampled.sum()) * neighbors.ids.shape[1], 1))
        relation = (neighbors.order, neighbors.places, neighbors.reverse_offsets, neighbors.reverse_places)
        arrays = [part.numpy() for part in relation]
        inputs: tuple[Any, ...] = (features, *arrays, sampled, inverse_norms, scale, gradient)
        of_chunks = add_spatial_gradient(*inputs)
        spatial = float(of_chunks.sum()) * float(scale)
    norm_3d, gfl = sums.sum(axis=0).tolist()
    return {
        "norm_3d": norm_3d * weights["norm_3d"] / max(num, 1),
        "spatial": spatial,
        "gfl": gfl * weights["gfl"] / max(num, 1),
    }


def _tiles(centers: np.ndarray) -> np.ndarray:
    """Centres [C, D] as tiles [ceil(C / 32), D, 32], padded with zeros."""
    num_tiles = -(-centers.shape[0] // COLUMNS)
    padded = np.zeros((num_tiles * COLUMNS, centers.shape[1]), np.float32)
    padded[: centers.shape[0]] = centers
    return padded.reshape(num_tiles, COLUMNS, -1).transpose(0, 2, 1)


def _rows(centers: np.ndarray, level: Level) -> np.ndarray:
    """Centres [C, D] as features [C, 24] that are 0 in all channels but the level's."""
    rows = np.zeros((centers.shape[0], FEATURE_DIM), np.float32)
    rows[:, level.channels] = centers
    return rows


def _joined(arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All numbers of some arrays, and where those of each begin."""
    flat = [np.empty(0, np.float32), *[array.ravel() for array in arrays]]
    return np.concatenate(flat), np.cumsum([0, *[array.size for array in arrays]]).astype(np.int64)


@njit(inline="always")
@no_type_check
def _add_norm(features, i, first, width, scale, gradient):
    """Eq. 10 of one share of the channels: its gradient is written; its squared norm and unscaled term."""
    square = _ZERO
    for d in range(width):
        square += features[i, first + d] * features[i, first + d]
    norm = np.sqrt(square)
    outward = scale * _TWO * (norm - _ONE) / norm if norm > _ZERO else _ZERO
    for d in range(width):
        gradient[i, first + d] = outward * features[i, first + d]
    return square, (norm - _ONE) * (norm - _ONE)


@njit(cache=True, nogil=True, fastmath=_SUMS_IN_ANY_ORDER)
@no_type_check
def _similarity(features, i, rows, offset):
    """Inner product of a feature with a row of `_rows`."""
    total = _ZERO
    for d in range(FEATURE_DIM):
        total += features[i, d] * rows[offset + d]
    return total


@njit(cache=True, nogil=True, fastmath=_SUMS_IN_ANY_ORDER)
@no_type_check
def _most_similar(features, i, words, first_word, num_words, rows, first_row, lowest):
    """The cluster most similar to a feature among those whose bits are set in `words`, and how similar it is, times the
    feature's norm; -1 and `lowest` if there is none. Bits of clusters that are not above `lowest` are cleared."""
    best, highest = np.intp(-1), lowest
    for t in range(num_words):
        left = words[first_word + t]
        while left != 0:
            k = lowest_bit(left)
            product = _similarity(features, i, rows, first_row + (np.intp(t * COLUMNS) + k) * FEATURE_DIM)
            if product > highest or best < 0:
                best, highest = np.intp(t * COLUMNS) + k, product
            if not product > lowest:
                words[first_word + t] &= ~(np.uint32(1) << np.uint32(k))
            left &= left - np.uint32(1)
    return best, highest


@njit(inline="always")
@no_type_check
def _add_guidance(
    features,
    i,
    inverse,
    words,
    first_word,
    num_words,
    rows,
    first_row,
    share,
    start,
    stop,
    home,
    margin,
    threshold,
    scale,
    toward,
    gradient,
):
    """Eq. 7 and 8 of one Gaussian and level: its scaled gradient is added; its unscaled term.

    The bits of `words` are the clusters above the margin; where the most similar one pulls, those above the threshold
    too, should that be lower. inverse: of the feature's norm; share: of a cluster; toward [24]: scratch. Inlined and
    without slices: calls and references cost more than the arithmetic.
    """
    above = np.uint32(0)
    for t in range(num_words):
        above |= words[first_word + t]
    best, is_pulled = np.intp(home), False
    if home >= 0:
        product = _similarity(features, i, rows, first_row + best * FEATURE_DIM)
        is_pulled = product * inverse < threshold and inverse < _ONE / _TINY  # a zero vector has no direction
    elif above != 0:
        best, highest = _most_similar(features, i, words, first_word, num_words, rows, first_row, margin / inverse)
        is_pulled = home == _MOST_SIMILAR and highest * inverse > threshold
    term = _ZERO
    if above != 0 or is_pulled:
        toward[:] = _ZERO
        words[first_word + best // COLUMNS] &= ~(np.uint32(1) << np.uint32(best % COLUMNS))
        for t in range(num_words):
            left = words[first_word + t]
            while left != 0:
                row = first_row + (np.intp(t * COLUMNS) + lowest_bit(left)) * FEATURE_DIM
                add_row_24(toward, np.intp(0), rows, row)
                left &= left - np.uint32(1)
        pull = _ONE if is_pulled else _ZERO
        row = first_row + best * FEATURE_DIM
        for d in range(FEATURE_DIM):
            toward[d] = share * toward[d] - pull * rows[row + d]
        # in a loop that writes nothing: one that also writes is compiled twice, with its sum in two orders, and which
        # runs depends on how near its arrays happen to lie in memory
        dot = _ZERO
        for d in range(FEATURE_DIM):
            dot += toward[d] * features[i, d]
        term = dot * inverse
        radial = term * inverse
        for d in range(FEATURE_DIM):
            outward = radial if (d >= start) and (d < stop) else _ZERO
            gradient[i, d] += scale * inverse * (toward[d] - outward * features[i, d])
    return term


@parallel_kernel(fastmath=_SUMS_IN_ANY_ORDER)
@no_type_check
def _gradient(
    features,
    width,
    norm_scale,
    levels,
    margins,
    tiles,
    tile_starts,
    rows,
    row_starts,
    homes,
    threshold,
    gfl_scale,
    inverse_norms,
    gradient,
):
    """Writes the gradient of the 3D norm and GFL terms, and inverse_norms, unless that is empty.

    Returns unscaled sums [chunks, 2] of the two terms. width: channels of each share; levels [L, 3]: start, stop,
    clusters. The channels of a level are whole shares.
    """
    num = features.shape[0]
    num_chunks = (num + _CHUNK - 1) // _CHUNK
    sums = np.zeros((num_chunks, 2), np.float64)
    most_tiles = 1
    for level in range(levels.shape[0]):
        most_tiles = max(most_tiles, (levels[level, 2] + COLUMNS - 1) // COLUMNS)
    for chunk in prange(num_chunks):
        first, last = chunk * _CHUNK, min(num, (chunk + 1) * _CHUNK)
        squares = np.empty((_CHUNK, _MOST_SHARES), np.float32)
        total = 0.0
        for i in range(first, last):
            own = squares[i - first]
            whole = _ZERO
            # a width that is known when this is compiled: the sums then stay in vector registers
            if width == 12:
                for share in range(2):
                    own[share], term = _add_norm(features, i, share * 12, 12, norm_scale, gradient)
                    whole, total = whole + own[share], total + term
            elif width == 8:
                for share in range(3):
                    own[share], term = _add_norm(features, i, share * 8, 8, norm_scale, gradient)
                    whole, total = whole + own[share], total + term
            if inverse_norms.shape[0] > 0:
                inverse_norms[i] = _ONE / np.sqrt(whole) if whole > _ZERO else _ZERO
        sums[chunk, 0] = total
        if levels.shape[0] == 0:
            continue
        block = np.zeros(_CHUNK * FEATURE_DIM, np.float32)
        toward, limits = np.empty(FEATURE_DIM, np.float32), np.zeros(ROWS, np.float32)
        inverses = np.empty(ROWS, np.float32)
        words = np.empty(ROWS * most_tiles, np.uint32)
        total = 0.0
        for i in range(first, last):
            for d in range(FEATURE_DIM):
                block[(i - first) * FEATURE_DIM + d] = features[i, d]
        for level in range(levels.shape[0]):
            start, stop, num_clusters = levels[level, 0], levels[level, 1], levels[level, 2]
            dim = np.intp(stop - start)
            num_tiles = (num_clusters + COLUMNS - 1) // COLUMNS
            for quad in range(first, last, ROWS):
                num_rows = min(ROWS, last - quad)
                for r in range(num_rows):
                    square = _ZERO
                    for share in range(start // width, stop // width):
                        square += squares[quad - first + r, share]
                    norm = max(np.sqrt(square), _TINY)
                    inverses[r] = _ONE / norm
                    lowest = margins[level]
                    if homes[level, quad + r] == _MOST_SIMILAR:
                        lowest = min(lowest, threshold)
                    limits[r] = lowest * norm
                for t in range(num_tiles):
                    found = products_above(
                        block,
                        np.intp((quad - first) * FEATURE_DIM + start),
                        np.intp(FEATURE_DIM),
                        tiles,
                        np.intp(tile_starts[level] + t * dim * COLUMNS),
                        dim,
                        limits,
                        np.intp(0),
                    )
                    for r in range(ROWS):
                        words[r * most_tiles + t] = found[r]
                for r in range(num_rows):
                    total += _add_guidance(
                        features,
                        quad + r,
                        inverses[r],
                        words,
                        r * most_tiles,
                        num_tiles,
                        rows,
                        np.intp(row_starts[level]),
                        _ONE / np.float32(num_clusters),
                        start,
                        stop,
                        homes[level, quad + r],
                        margins[level],
                        threshold,
                        gfl_scale,
                        toward,
                        gradient,
                    )
        sums[chunk, 1] = total
    return sums
