"""What several terms share: directions, and values whose gradient is known when they are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

ZERO_NORM = 1e-12
"""A shorter vector counts as zero: it has no direction."""


def unit(features: Float[Tensor, "P D"]) -> Float[Tensor, "P D"]:
    """Directions; a zero vector, which has none, stays zero and gets no gradient (a huge one by `normalize`)."""
    norms = features.norm(dim=-1, keepdim=True)
    return features * ((norms > ZERO_NORM) / norms.clamp_min(ZERO_NORM))


class Attach(torch.autograd.Function):
    """A value that is already known, with its already known gradient."""

    @staticmethod
    def forward(ctx, inputs: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grads[0], None, None
