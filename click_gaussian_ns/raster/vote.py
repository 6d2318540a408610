"""Which label of Gaussians covers each pixel most: sharp label maps of a partition of the Gaussians, on CPU."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Int32
from numba import get_num_threads, njit, prange

from click_gaussian_ns.raster.cpu import _any_alive, _blend_entry, _start_tile
from click_gaussian_ns.raster.parallel_kernel import parallel_kernel
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.raster.scalar_math import TILE

_PIXELS = TILE * TILE
_FIRST_SLOTS = 32


def winning_labels(prepared: PreparedView, labels: Int32[np.ndarray, "N"]) -> Int32[np.ndarray, "H W"]:
    """Per pixel, the label whose Gaussians have the largest sum of blending weights; ties go to the nearer one.

    Args:
        prepared: a view on CPU.
        labels: of every Gaussian, >= 0; Gaussians of a negative label do not vote, but they do hide.

    Returns:
        Winning labels; -1 where no voter is seen.
    """
    view = prepared.view
    num_labels = int(labels.max(initial=0)) + 1
    return _vote(*prepared.lists, labels, num_labels, view.width, view.height, prepared.tiles_x, get_num_threads())


@parallel_kernel()
@no_type_check
def _vote(packed, ids, offsets, entries, labels, num_labels, width, height, tiles_x, num_threads):
    winners = np.empty((height, width), np.int32)
    slots = np.full((num_threads, num_labels), -1, np.int32)
    for thread in prange(num_threads):
        for tile in range(thread, offsets.shape[0] - 1, num_threads):
            _vote_tile(packed, ids, offsets, entries, labels, slots[thread], tile, tiles_x, winners)
    return winners


@njit(cache=True, nogil=True)
@no_type_check
def _vote_tile(packed, ids, offsets, entries, labels, slot_of, tile, tiles_x, winners):
    """One tile of the winners; slot_of [num_labels] is all -1 before and after."""
    height, width = winners.shape
    px, py = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
    transmittance, weights = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, np.float32)
    sums = np.zeros((_FIRST_SLOTS, _PIXELS), np.float32)
    seen = np.empty(offsets[tile + 1] - offsets[tile], np.int32)
    num_seen = 0
    x0, y0 = _start_tile(tile, tiles_x, width, height, px, py, transmittance)
    for e in range(offsets[tile], offsets[tile + 1]):
        if (e - offsets[tile]) % 16 == 15 and not _any_alive(transmittance):
            break
        j = entries[e]
        low, high, touched = _blend_entry(packed, j, y0, px, py, transmittance, weights)
        label = labels[ids[j]]
        if touched == 0 or label < 0:
            continue
        slot = slot_of[label]
        if slot < 0:
            slot = np.int32(num_seen)
            slot_of[label] = slot
            seen[slot] = label
            num_seen += 1
            if num_seen > sums.shape[0]:
                longer = np.zeros((2 * sums.shape[0], _PIXELS), np.float32)
                longer[: sums.shape[0]] = sums
                sums = longer
        row = sums[slot]
        for i in range(low, high):
            row[i] += weights[i]
    best = np.zeros(_PIXELS, np.float32)
    winner = np.full(_PIXELS, -1, np.int32)
    for slot in range(num_seen):
        row, label = sums[slot], seen[slot]
        slot_of[label] = -1
        for i in range(_PIXELS):
            better = row[i] > best[i]
            best[i] = row[i] if better else best[i]
            winner[i] = label if better else winner[i]
    for i in range(_PIXELS):
        x, y = x0 + i % TILE, y0 + i // TILE
        if x < width and y < height:
            winners[y, x] = winner[i]
