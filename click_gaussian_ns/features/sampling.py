"""Which pixels and Gaussians a training step looks at. Seeded per step, so that a resumed run repeats exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Bool, Int
from numba import njit
from torch import Tensor

from click_gaussian_ns.types import LevelMaps


@dataclass(frozen=True)
class SampledPixels:
    """Pixels of one view with their segment at each level."""

    pixel_ids: Int[Tensor, " P"]
    """row * width + column, ascending; may repeat."""
    labels: Int[Tensor, "L P"]
    """Segment IDs, 0 = unassigned at that level."""


@njit(cache=True, nogil=True)
@no_type_check
def _cumulative_weights(maps, power, cumulative):
    """Running sum over pixels of (size of its segment)^-power, each level scaled to the sum 1."""
    num_levels, num_pixels = maps.shape
    for level in range(num_levels):
        counts = np.zeros(65536, np.int64)
        for p in range(num_pixels):
            counts[maps[level, p]] += 1
        weights = np.zeros(65536, np.float64)
        total = 0.0
        for s in range(1, 65536):
            if counts[s] > 0:
                weights[s] = counts[s] ** (-power)
                total += counts[s] * weights[s]
        for p in range(num_pixels):
            share = weights[maps[level, p]] / total if total > 0.0 else 0.0
            cumulative[p] = share if level == 0 else cumulative[p] + share
    running = 0.0
    for p in range(num_pixels):
        running += cumulative[p]
        cumulative[p] = running


def sample_pixels(
    level_maps: LevelMaps, num_pixels: int, rng: np.random.Generator, power: float = 1.0
) -> SampledPixels:
    """Draw pixels with probability proportional to (size of their segment)^-power, averaged over levels.

    power 1 draws every segment equally often (small ones are not starved), 0 every assigned pixel. Pixels that no
    level assigns are never drawn; an image with none assigned gives an empty sample.
    """
    flat = level_maps.maps.reshape(level_maps.maps.shape[0], -1)
    cumulative = np.empty(flat.shape[1], np.float64)
    _cumulative_weights(flat, float(power), cumulative)
    if flat.shape[1] == 0 or cumulative[-1] <= 0.0:
        return SampledPixels(torch.empty(0, dtype=torch.int64), torch.empty((flat.shape[0], 0), dtype=torch.int64))
    draws = np.sort(rng.random(num_pixels)) * cumulative[-1]
    pixel_ids = np.minimum(np.searchsorted(cumulative, draws, side="right"), flat.shape[1] - 1)
    return SampledPixels(torch.from_numpy(pixel_ids), torch.from_numpy(flat[:, pixel_ids].astype(np.int64)))


def sample_gaussians(num_gaussians: int, num_samples: int, rng: np.random.Generator) -> Bool[Tensor, " N"]:
    """A random subset of the Gaussians of the given size (all, if there are not more) as a mask."""
    if num_samples >= num_gaussians:
        return torch.ones(num_gaussians, dtype=torch.bool)
    chosen = torch.zeros(num_gaussians, dtype=torch.bool)
    chosen[torch.from_numpy(rng.choice(num_gaussians, num_samples, replace=False, shuffle=False))] = True
    return chosen
