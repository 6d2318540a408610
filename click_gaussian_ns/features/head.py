"""The trainable features and how they start."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from click_gaussian_ns.features.levels import FEATURE_DIM


def initial_features(
    num_gaussians: int, shares: tuple[slice, ...], generator: torch.Generator
) -> Float[Tensor, "N 24"]:
    """Random features whose channels of each level lie on the unit sphere."""
    features = torch.randn(num_gaussians, FEATURE_DIM, generator=generator)
    for share in shares:
        features[:, share] = torch.nn.functional.normalize(features[:, share], dim=-1)
    return features
