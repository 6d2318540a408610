"""What a term of the objective is, and all that it may read of a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from click_gaussian_ns.features.neighbors import Neighbors
from click_gaussian_ns.types import Level


@dataclass(frozen=True)
class Guide:
    """The global features of one level, and which Gaussians each pulls (Eq. 7-9)."""

    centers: Float[Tensor, "C D"]
    """Normalised."""
    homes: Int[Tensor, " N"] | None
    """The cluster that pulls each Gaussian, below 0 for none; None: the most similar one, as in the paper."""


@dataclass(frozen=True)
class LevelPixels:
    """The sampled pixels that belong to a segment of one level."""

    level: Level
    features: Float[Tensor, "Q D"]
    """Rendered, the level's channels."""
    segments: Int[Tensor, " Q"]
    weights: Float[Tensor, " Q"] | None
    """Of `contrastive.pixel_weights`; None: all are 1."""


@dataclass(frozen=True)
class StepInputs:
    """One training step, as its terms see it."""

    levels: tuple[Level, ...]
    features: Float[Tensor, "N 24"]
    """The Gaussians' own."""
    rendered: Float[Tensor, "P 24"] | None = None
    """Features at the sampled pixels; None where none was sampled."""
    labels: Int[Tensor, "L P"] | None = None
    """Segments of the sampled pixels, 0 = unassigned. On the CPU: to count them on a GPU, the host would wait."""
    neighbors: Neighbors | None = None
    sampled: Bool[Tensor, " N"] | None = None
    """The Gaussians whose spatial terms count; on the CPU, too."""
    guides: Mapping[str, Guide] = field(default_factory=dict)
    """By level; a level without one, or without clusters, has no guidance."""
    segment_balance: float = 0.0
    gfl_threshold: float = 0.9
    """tau^g of Eq. 7."""

    @cached_property
    def pixels(self) -> tuple[LevelPixels, ...]:
        """Of the levels at which any sampled pixel belongs to a segment: with three levels not every pixel does."""
        from click_gaussian_ns.features.terms.contrastive import pixel_weights

        if self.rendered is None or self.labels is None:
            return ()
        found = []
        for level, labels in zip(self.levels, self.labels):
            assigned = (labels > 0).nonzero()[:, 0]
            if assigned.shape[0]:
                # not by an index: the gradient of that sorts
                features = self.rendered.index_select(0, assigned.to(self.rendered.device))[:, level.channels]
                segments = labels[assigned]
                weights = pixel_weights(segments, self.segment_balance) if self.segment_balance else None
                found.append(LevelPixels(level, features, segments, weights))
        return tuple(found)

    @property
    def guided(self) -> tuple[tuple[Level, Guide], ...]:
        """The levels that have global features."""
        of_levels = [(level, self.guides[level.name]) for level in self.levels if level.name in self.guides]
        return tuple((level, guide) for level, guide in of_levels if guide.centers.shape[0] > 0)


FusedPass = Callable[[StepInputs, Mapping[str, float], Float32[np.ndarray, "N 24"]], dict[str, float]]
"""Weighted values of some terms, by name, and the gradient of their sum, written over what the array held."""


@dataclass(frozen=True)
class Term:
    """One term of the objective (Eq. 13)."""

    name: str
    """In logs."""
    setting: str
    """The setting that is its weight, which is made of these (method/research.py); 0 switches the term off."""
    default: float
    """Its weight by default."""
    paper: float
    """Its weight in the paper."""
    help: str
    """What the weight's flag says of itself."""
    literal: Callable[[StepInputs], Tensor | None]
    """Its unweighted value, differentiable; None where the step has nothing for it."""
    of_pixels: bool = False
    """It reads the rendered features: its gradient reaches the Gaussians by W^T. Else it reads their own."""
    fused: FusedPass | None = None
    """The CPU's pass that evaluates it together with others; None: by `literal` there too."""


def summed(parts: list[Tensor]) -> Tensor | None:
    """Of the levels' parts of a term; None if there are none."""
    return torch.stack(parts).sum() if parts else None
