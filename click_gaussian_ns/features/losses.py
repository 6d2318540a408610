"""The terms of the objective (Eq. 3-13), one pure function each, for the features of one level where levels matter.

<a, b> is cosine similarity throughout. The terms over all pairs come with their gradient from one pass in blocks:
no tensor of size pixels x pixels, or Gaussians x clusters x channels, is ever held.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from click_gaussian_ns.features import kernels
from click_gaussian_ns.features.neighbors import Neighbors
from click_gaussian_ns.raster.engine import engine_of

_ROWS_PER_BLOCK = 1024
"""Rows of a pair matrix held at once."""
_ZERO_NORM = 1e-12


@dataclass(frozen=True)
class Guide:
    """The global features of one level, and which Gaussians each pulls."""

    centers: Float[Tensor, "C D"]
    """Normalised."""
    homes: Int[Tensor, " N"] | None
    """The cluster that pulls each Gaussian, below 0 for none; None: the most similar one, as in the paper."""


class _Attach(torch.autograd.Function):
    """A value that is already known, with its already known gradient."""

    @staticmethod
    def forward(ctx, inputs: Tensor, value: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx, *grads: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * grads[0], None, None


def _unit(features: Float[Tensor, "P D"]) -> Float[Tensor, "P D"]:
    """Directions; a zero vector, which has none, stays zero and gets no gradient (a huge one by `normalize`)."""
    norms = features.norm(dim=-1, keepdim=True)
    return features * ((norms > _ZERO_NORM) / norms.clamp_min(_ZERO_NORM))


def pixel_weights(labels: Int[Tensor, " P"], balance: float) -> Float32[Tensor, " P"]:
    """Weight of each sampled pixel in the two contrastive terms, where a pair counts by the product of its two.

    (Size of its segment in the sample)^(-balance / 2), scaled so that the pairs within segments weigh as much in all as
    without. At 0 all weights are 1, as in the paper, and a segment pulls each of its pixels in proportion to its size:
    what is small or thin gives way to its neighbours. At 1 every segment pulls its pixels equally.
    """
    _, groups, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    sizes = counts.float()
    scale = sizes.square().sum() / sizes.pow(2.0 - balance).sum()
    return (scale.sqrt() * sizes.pow(-balance / 2.0))[groups]


def contrastive_positive(
    features: Float[Tensor, "P D"], labels: Int[Tensor, " P"], weights: Float[Tensor, " P"] | None = None
) -> Float[Tensor, ""]:
    """Eq. 3 of one level: minus the mean over all P x P pairs of the similarity of those in the same segment.

    Evaluated as minus the sum of squared segment sums of unit features, O(P D).

    Args:
        features: rendered at the sampled pixels.
        labels: their segments.
        weights: of `pixel_weights`; 1 by default.
    """
    _, groups = torch.unique(labels, return_inverse=True)
    unit = _unit(features)
    if weights is not None:
        unit = unit * weights[:, None].to(unit)
    sums = unit.new_zeros(int(groups.max()) + 1 if groups.numel() else 0, unit.shape[1])
    sums = sums.index_add(0, groups, unit)
    return -sums.square().sum() / max(labels.shape[0], 1) ** 2


def contrastive_negative(
    features: Float[Tensor, "P D"],
    labels: Int[Tensor, " P"],
    margin: float,
    num_detached: int = 0,
    weights: Float[Tensor, " P"] | None = None,
) -> Float[Tensor, ""]:
    """Eq. 4 of one level: mean over all P x P pairs of the similarities above `margin` across different segments.

    Args:
        features: rendered at the sampled pixels.
        labels: their segments.
        margin: tau^l.
        num_detached: so many channels take part in the similarity but get no gradient: sg(F^c) in the fine term.
        weights: of `pixel_weights`; 1 by default.
    """
    data = features.detach()
    norms = data.norm(dim=-1, keepdim=True).clamp_min(_ZERO_NORM)
    unit = data / norms
    repel = _repel_pairs_cpu if engine_of(data).runs_kernels else _repel_pairs_dense
    pulled = repel(unit, labels, torch.ones_like(labels, dtype=unit.dtype) if weights is None else weights, margin)
    scale = 1.0 / max(labels.shape[0], 1) ** 2
    radial = (pulled * unit).sum(-1, keepdim=True)
    gradient = (pulled - radial * unit) * (2.0 * scale / norms)
    gradient[:, :num_detached] = 0.0
    return _Attach.apply(features, radial.sum() * scale, gradient)  # pyright: ignore[reportReturnType]


def _repel_pairs_cpu(unit: Tensor, labels: Tensor, weights: Tensor, margin: float) -> Tensor:
    order = torch.argsort(labels, stable=True)
    _, counts = torch.unique_consecutive(labels[order], return_counts=True)
    starts, groups = kernels.block_starts(np.concatenate([[0], counts.cumsum(0).numpy()]))
    of_blocks = weights[order].float().numpy()[starts[:-1]]
    pulled = kernels.repel_pairs(unit[order].float().numpy(), starts, groups, of_blocks, np.float32(margin))
    result = torch.empty_like(unit)
    result[order] = torch.from_numpy(pulled).to(unit.dtype)
    return result


def _repel_pairs_dense(unit: Tensor, labels: Tensor, weights: Tensor, margin: float) -> Tensor:
    parts, weighted = [], unit * weights[:, None]
    for rows, row_labels in zip(unit.split(_ROWS_PER_BLOCK), labels.split(_ROWS_PER_BLOCK)):
        repelled = (rows @ unit.T > margin) & (row_labels[:, None] != labels[None, :])
        parts.append(repelled.to(unit.dtype) @ weighted)
    return torch.cat(parts) * weights[:, None]


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
    return _Attach.apply(features, pull + push, gradient / num), pull, push  # pyright: ignore[reportReturnType]


def _guide(
    features: Tensor, centers: Tensor, threshold: float, margin: float, homes: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    pull, push, parts = features.new_zeros(()), features.new_zeros(()), []
    for start in range(0, features.shape[0], 64 * _ROWS_PER_BLOCK):
        rows = features[start : start + 64 * _ROWS_PER_BLOCK]
        norms = rows.norm(dim=-1, keepdim=True).clamp_min(_ZERO_NORM)
        unit = rows / norms
        similarity = unit @ centers.T
        best, best_id = similarity.max(dim=-1, keepdim=True)
        pulled = best > threshold
        if homes is not None:
            home = homes[start : start + rows.shape[0], None].long()
            pulled = home >= 0
            best_id = torch.where(pulled, home, best_id)
            best = similarity.gather(1, best_id)
            pulled &= (best < threshold) & (norms > _ZERO_NORM)  # a zero vector has no direction to be turned
        pulled = pulled.to(rows.dtype)
        others = similarity > margin
        others.scatter_(1, best_id, False)
        pull = pull + (pulled * best).sum()
        push = push + (others * similarity).sum() / centers.shape[0]
        toward = others.to(rows.dtype) @ centers / centers.shape[0] - pulled * centers[best_id[:, 0]]
        parts.append((toward - (toward * unit).sum(-1, keepdim=True) * unit) / norms)
    return pull, push, torch.cat(parts)


def norm_3d(features: Float[Tensor, "N D"], shares: tuple[slice, ...]) -> Float[Tensor, ""]:
    """Eq. 10: mean over Gaussians of the squared distance of each level's own channels from the unit sphere."""
    return torch.stack([(features[:, share].norm(dim=-1) - 1.0).square().mean() for share in shares]).sum()


def norm_2d(features: Float[Tensor, "P D"], radius: float) -> Float[Tensor, ""]:
    """Eq. 11 of one level, on the sampled pixels: mean squared difference of the rendered norm from `radius`."""
    return (features.norm(dim=-1) - radius).square().sum() / max(features.shape[0], 1)


def spatial(features: Float[Tensor, "N D"], neighbors: Neighbors, sampled: Bool[Tensor, " N"]) -> Float[Tensor, ""]:
    """Eq. 12: minus the mean similarity of the sampled Gaussians' features to those of their K nearest in 3D."""
    num_pairs = max(int(sampled.sum()) * neighbors.ids.shape[1], 1)
    chosen = sampled.nonzero()[:, 0]
    unit = _unit(features)
    return -(unit[chosen, None, :] * unit[neighbors.ids[chosen].long()]).sum() / num_pairs
