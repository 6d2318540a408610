"""Global feature-guided learning (Eq. 7-9): Gaussians are drawn to a global feature, and away from the others."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from click_gaussian_ns.features.terms.one_pass import one_pass
from click_gaussian_ns.features.terms.term import StepInputs, Term, summed
from click_gaussian_ns.features.terms.vectors import ZERO_NORM, Attach

_ROWS_PER_BLOCK = 65536
"""Gaussians whose similarities to all clusters are held at once."""


def global_feature_guidance(
    features: Float[Tensor, "N D"],
    centers: Float[Tensor, "C D"],
    threshold: float,
    margin: float,
    homes: Int[Tensor, " N"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    """Eq. 7-9 of one level: (loss, its pull part, its push part); the parts carry no gradient.

    Pull: minus the similarity to the most similar cluster where it exceeds `threshold` (tau^g), mean over Gaussians.
    With `homes`, beyond the paper, minus the similarity to the Gaussian's home, however far it has strayed, where it is
    below `threshold`: what is near is left as the pixels made it, which draws borders finer than Gaussians are.
    Push: the similarities above `margin` (tau^l) to the other clusters, mean over Gaussians and all C clusters.
    """
    num = features.shape[0]
    pull, push, gradient = _guide(features.detach(), centers, threshold, margin, homes)
    pull, push = -pull / num, push / num
    return Attach.apply(features, pull + push, gradient / num), pull, push  # pyright: ignore[reportReturnType]


def _guide(
    features: Tensor, centers: Tensor, threshold: float, margin: float, homes: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    pull, push, parts = features.new_zeros(()), features.new_zeros(()), []
    for start in range(0, features.shape[0], _ROWS_PER_BLOCK):
        rows = features[start : start + _ROWS_PER_BLOCK]
        norms = rows.norm(dim=-1, keepdim=True).clamp_min(ZERO_NORM)
        unit = rows / norms
        similarity = unit @ centers.T
        best, best_id = similarity.max(dim=-1, keepdim=True)
        pulled = best > threshold
        if homes is not None:
            home = homes[start : start + rows.shape[0], None].long()
            pulled = home >= 0
            best_id = torch.where(pulled, home, best_id)
            best = similarity.gather(1, best_id)
            pulled &= (best < threshold) & (norms > ZERO_NORM)  # a zero vector has no direction to be turned
        pulled = pulled.to(rows.dtype)
        others = similarity > margin
        others.scatter_(1, best_id, False)
        pull = pull + (pulled * best).sum()
        push = push + (others * similarity).sum() / centers.shape[0]
        toward = others.to(rows.dtype) @ centers / centers.shape[0] - pulled * centers[best_id[:, 0]]
        parts.append((toward - (toward * unit).sum(-1, keepdim=True) * unit) / norms)
    return pull, push, torch.cat(parts)


def _literal(step: StepInputs) -> Tensor | None:
    return summed(
        [
            global_feature_guidance(
                step.features[:, level.channels], guide.centers, step.gfl_threshold, level.margin, guide.homes
            )[0]
            for level, guide in step.guided
        ]
    )


GUIDANCE = Term(
    "gfl",
    *("gfl_weight", 1.0, 10.0),
    "Weight of global feature-guided learning (Eq. 9); 0 switches it off. The paper's is 10.",
    _literal,
    fused=one_pass,
)
