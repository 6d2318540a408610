"""Whether training still helps: label maps that no step sees, against what the features say there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64, Integer
from torch import Tensor

from click_gaussian_ns.evaluate.metrics import contingency, matched_ious
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.selection.propagate import most_similar
from click_gaussian_ns.types import UNASSIGNED, BlendWeights, Level

_PIXELS_PER_VIEW = 10_000
_LEAST_PIXELS = 5
"""Of the pixels that are looked at: of a smaller segment nothing is told."""
_LEAST_GAIN = 1e-3
"""Smaller differences are noise."""
_PATIENCE = 2
"""Looks without a gain after which training stops."""


def pixel_grid(height: int, width: int) -> Int64[np.ndarray, " P"]:
    """Pixels (row * width + column) evenly over a picture, about `_PIXELS_PER_VIEW` of them."""
    step = max(1, round((height * width / _PIXELS_PER_VIEW) ** 0.5))
    rows, columns = np.arange(step // 2, height, step), np.arange(step // 2, width, step)
    return (rows[:, None] * width + columns[None, :]).ravel().astype(np.int64)


@dataclass(frozen=True)
class HeldOutPixels:
    """The pixels of one view that are looked at."""

    rows: BlendWeights
    labels: Integer[np.ndarray, "L P"]
    """Their segments, coarse to fine."""


def agreement(
    views: Sequence[HeldOutPixels],
    features: Float[Tensor, "N 24"],
    levels: Sequence[Level],
    centers: Mapping[str, Float[Tensor, "C D"]],
) -> float:
    """Mean IoU of the segments with the clusters matched to them, one to one in each view; mean over views and levels.

    Not a measure of quality: true objects that masks merged or split count against it. What it says is whether it
    still rises.
    """
    found = []
    for view in views:
        rendered = rasterize.blend(view.rows, features)
        for level, labels in zip(levels, view.labels):
            own = centers[level.name]
            if own.shape[0] == 0:
                continue
            clusters = most_similar(rendered[:, level.channels], own)[0].cpu().numpy()
            pairs = contingency(labels, clusters, int(labels.max(initial=UNASSIGNED)) + 1, own.shape[0])
            sizes = pairs.sum(axis=1)
            large = np.flatnonzero((sizes >= _LEAST_PIXELS) & (np.arange(len(sizes)) != UNASSIGNED))
            if large.size:
                found.append(float(np.mean(matched_ious(pairs[large], sizes[large], pairs.sum(axis=0)))))
    return float(np.mean(found)) if found else 0.0


class Patience:
    """When to stop, and which features to keep: those of the start, until training has gained; then the last that agree
    as well as the best, but for what is noise."""

    def __init__(self, agreement: float, step: int, features: Float[Tensor, "N 24"]) -> None:
        """What training starts from."""
        self.best = self.latest = agreement
        self.kept_step, self.kept = step, features.clone()
        self._has_gained = False
        self._looks_since = 0

    def look(self, step: int, agreement: float, features: Float[Tensor, "N 24"]) -> bool:
        """Take note of what a step left; whether training goes on to no avail."""
        self.latest = agreement
        gains = agreement >= self.best + _LEAST_GAIN
        if gains or (self._has_gained and agreement >= self.best - _LEAST_GAIN):
            self.kept_step = step
            self.kept.copy_(features)
        if gains:
            self.best, self._has_gained, self._looks_since = agreement, True, 0
        else:
            self._looks_since += 1
        return self._looks_since >= _PATIENCE
