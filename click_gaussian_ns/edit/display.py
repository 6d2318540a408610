"""What is drawn of an edited scene: some Gaussians hidden, some tinted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int32
from torch import Tensor

from click_gaussian_ns.edit.scene import EditedScene
from click_gaussian_ns.types import Splats

_NEVER_DRAWN = -20.0
"""Opacity logit far below 1/255."""
_TINT = (1.0, 0.45, 0.05)
_STRENGTH = 0.6


@dataclass(frozen=True)
class Display:
    """A picture's Gaussians, in the rows of an edited scene."""

    splats: Splats
    """M Gaussians; those that are not shown have an opacity at which none is drawn."""
    source_ids: Int32[Tensor, "M"] | None
    """Row of the trained features of each; None: the same row."""
    tint: Bool[Tensor, "M"] | None
    """Which are highlighted; None: none."""

    def features(self, trained: Float[Tensor, "N D"]) -> Float[Tensor, " M D"]:
        """The trained features of the M Gaussians."""
        return trained if self.source_ids is None else trained[self.source_ids.long()]

    def colors(self, colors: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
        """Colours of the M Gaussians with the highlight in them."""
        return colors if self.tint is None else tinted(colors, self.tint)


def tinted(colors: Float[Tensor, "M 3"], mask: Bool[Tensor, "M"]) -> Float[Tensor, "M 3"]:
    """RGB with the masked ones mixed with the highlight's colour."""
    mixed = (1 - _STRENGTH) * colors + _STRENGTH * colors.new_tensor(_TINT)
    return torch.where(mask[:, None], mixed, colors)


def shown_splats(splats: Splats, shown: Bool[Tensor, "M"]) -> Splats:
    """The same rows, with those that are not shown made too faint to be drawn."""
    if bool(shown.all()):
        return splats
    return replace(splats, opacity_logits=torch.where(shown, splats.opacity_logits, _NEVER_DRAWN))


def row_sources(scene: EditedScene, num_base: int) -> Int32[Tensor, "M"] | None:
    """`source_ids` where there are copies, else None: rows and sources are then the same."""
    return None if scene.num_gaussians == num_base else scene.source_ids
