"""Rows of blending weights times features on whatever device the features lie on, in plain PyTorch."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from click_gaussian_ns.types import BlendWeights


def blend(rows: BlendWeights, features: Float[Tensor, "N C"]) -> Float[Tensor, "P C"]:
    """W f, differentiable in the features. The rows are copied to their device; the host waits for nothing."""
    device = features.device
    # told apart on the device: a number per row goes there, not one per entry
    counts, num_entries = rows.row_offsets.diff().to(device), rows.weights.shape[0]
    owner = torch.repeat_interleave(torch.arange(rows.num_rows, device=device), counts, output_size=num_entries)
    return _Product.apply(  # pyright: ignore[reportReturnType]
        features, owner, rows.gaussian_ids.to(device).long(), rows.weights.to(device), rows.num_rows
    )


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: Tensor, owner: Tensor, gaussian_ids: Tensor, weights: Tensor, num_rows: int) -> Tensor:
        ctx.save_for_backward(owner, gaussian_ids, weights)
        ctx.num_gaussians = features.shape[0]
        out = features.new_zeros(num_rows, features.shape[1])
        return out.index_add_(0, owner, features[gaussian_ids] * weights[:, None])

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        owner, gaussian_ids, weights = ctx.saved_tensors
        out = grads[0].new_zeros(ctx.num_gaussians, grads[0].shape[1])
        return out.index_add_(0, gaussian_ids, grads[0][owner] * weights[:, None]), None, None, None, None
