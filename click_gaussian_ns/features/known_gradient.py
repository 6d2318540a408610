"""Terms whose common gradient is known when they are: autograd has nothing to record, and nothing to add up."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: Tensor, values: Tensor, gradient: np.ndarray) -> Tensor:
        ctx.gradient = gradient
        return values

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None, None]:
        scale = grads[0]
        if not bool((scale == scale[0]).all()):
            raise RuntimeError("these terms have one gradient in common: add them before going back, all of them")
        # a tensor that nobody else holds: autograd takes it over instead of copying it
        gradient = torch.from_numpy(ctx.gradient)
        return gradient if float(scale[0]) == 1.0 else gradient * scale[0], None, None


def with_gradient_of_sum(
    features: Float[Tensor, "N D"], terms: Mapping[str, float], gradient: Float32[np.ndarray, "N D"]
) -> dict[str, Float[Tensor, ""]]:
    """The terms as tensors whose sum, and only that, has `gradient` with respect to the features.

    The gradient becomes `features.grad` as it is, without a copy: it may be written to again only once that was let go.
    """
    if not terms:
        return {}
    values = _Sum.apply(features, features.new_tensor(list(terms.values())), gradient)
    return dict(zip(terms, values.unbind()))  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
