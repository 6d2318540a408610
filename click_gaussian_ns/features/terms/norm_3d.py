"""The 3D norm term (Eq. 10): each level's own channels of every Gaussian lie on the unit sphere."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from click_gaussian_ns.features.levels import channel_shares
from click_gaussian_ns.features.terms.one_pass import one_pass
from click_gaussian_ns.features.terms.term import StepInputs, Term


def norm_3d(features: Float[Tensor, "N D"], shares: tuple[slice, ...]) -> Float[Tensor, ""]:
    """Eq. 10: mean over Gaussians of the squared distance of each level's own channels from the unit sphere."""
    return torch.stack([(features[:, share].norm(dim=-1) - 1.0).square().mean() for share in shares]).sum()


def _literal(step: StepInputs) -> Tensor:
    return norm_3d(step.features, channel_shares(step.levels))


NORM_3D = Term(
    "norm_3d",
    *("norm_3d_weight", 0.02, 0.2),
    "Weight of the 3D norm term (Eq. 10), which keeps Gaussians' features on the unit sphere; 0: off.",
    _literal,
    fused=one_pass,
)
