"""Which pixels and Gaussians a training step looks at. Seeded per step, so that a resumed run repeats exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int
from numba import njit
from torch import Tensor

from click_gaussian_ns.types import UNASSIGNED, LevelMaps

_BLOCK = 64
"""Pixels between two stored sums: what a draw walks through at most."""


@dataclass(frozen=True)
class SampledPixels:
    """Pixels of one view with their segment at each level."""

    pixel_ids: Int[Tensor, " P"]
    """row * width + column, ascending; may repeat."""
    labels: Int[Tensor, "L P"]
    """Segment IDs, 0 = unassigned at that level."""


@dataclass(frozen=True)
class PixelTable:
    """By what chance each pixel of a view is drawn, without a number per pixel."""

    shares: Float64[np.ndarray, "L S"]
    """Chance of one pixel of each segment; an unassigned one has 0. The levels' chances add up."""
    block_ends: Float64[np.ndarray, " B"]
    """Running sum of the chances, in the order of the pixels, at the end of every block."""


@njit(cache=True, nogil=True)
@no_type_check
def _block_ends(maps, shares):
    num_levels, num_pixels = maps.shape
    ends = np.empty((num_pixels + _BLOCK - 1) // _BLOCK, np.float64)
    running = 0.0
    for p in range(num_pixels):
        share = 0.0
        for level in range(num_levels):
            share += shares[level, maps[level, p]]
        running += share
        ends[p // _BLOCK] = running
    return ends


@njit(cache=True, nogil=True)
@no_type_check
def _find_pixels(maps, shares, ends, draws):
    """The first pixel at which the running sum exceeds each draw; the last one where none does."""
    num_levels, num_pixels = maps.shape
    found = np.empty(draws.shape[0], np.int64)
    for k in range(draws.shape[0]):
        block = np.searchsorted(ends, draws[k], side="right")
        running = ends[block - 1] if block > 0 else 0.0
        pixel = num_pixels - 1
        for p in range(block * _BLOCK, min(num_pixels, (block + 1) * _BLOCK)):
            share = 0.0
            for level in range(num_levels):
                share += shares[level, maps[level, p]]
            running += share
            if running > draws[k]:
                pixel = p
                break
        found[k] = pixel
    return found


def pixel_table(level_maps: LevelMaps, power: float = 1.0) -> PixelTable:
    """Chances in proportion to (size of the pixel's segment)^-power, averaged over levels.

    power 1 draws every segment equally often (small ones are not starved), 0 every assigned pixel. Pixels that no
    level assigns are never drawn.
    """
    flat = level_maps.maps.reshape(level_maps.maps.shape[0], -1)
    shares = np.zeros((flat.shape[0], int(flat.max(initial=0)) + 1), np.float64)
    for own, labels in zip(shares, flat):
        counts = np.bincount(labels, minlength=own.shape[0])
        counts[UNASSIGNED] = 0
        present = counts > 0
        own[present] = counts[present] ** -float(power)
        own /= max((counts * own).sum(), np.finfo(np.float64).tiny)
    return PixelTable(shares, _block_ends(flat, shares))


def sample_pixels(
    level_maps: LevelMaps,
    num_pixels: int,
    rng: np.random.Generator,
    power: float = 1.0,
    table: PixelTable | None = None,
) -> SampledPixels:
    """Draw pixels by the chances of `pixel_table`, which is made here where it is not given.

    An image with no pixel assigned gives an empty sample.
    """
    table = pixel_table(level_maps, power) if table is None else table
    flat = level_maps.maps.reshape(level_maps.maps.shape[0], -1)
    if flat.shape[1] == 0 or table.block_ends[-1] <= 0.0:
        return SampledPixels(torch.empty(0, dtype=torch.int64), torch.empty((flat.shape[0], 0), dtype=torch.int64))
    draws = np.sort(rng.random(num_pixels)) * table.block_ends[-1]
    pixel_ids = _find_pixels(flat, table.shares, table.block_ends, draws)
    return SampledPixels(torch.from_numpy(pixel_ids), torch.from_numpy(flat[:, pixel_ids].astype(np.int64)))


def sample_gaussians(num_gaussians: int, num_samples: int, rng: np.random.Generator) -> Bool[Tensor, " N"]:
    """A random subset of the Gaussians of the given size (all, if there are not more) as a mask."""
    if num_samples >= num_gaussians:
        return torch.ones(num_gaussians, dtype=torch.bool)
    chosen = np.zeros(num_gaussians, np.bool_)
    chosen[rng.choice(num_gaussians, num_samples, replace=False, shuffle=False)] = True
    return torch.from_numpy(chosen)
