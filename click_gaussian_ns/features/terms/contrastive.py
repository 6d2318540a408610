"""The contrastive terms (Eq. 3-5): pixels of one segment are drawn together, pixels of different segments apart.

<a, b> is cosine similarity. The negative term, over all pairs, comes with its gradient from one pass in blocks: no
tensor of size pixels x pixels is ever held.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from click_gaussian_ns.features.terms.term import StepInputs, Term, summed
from click_gaussian_ns.features.terms.vectors import ZERO_NORM, Attach, unit

_ROWS_PER_BLOCK = 1024
"""Rows of a pair matrix held at once."""


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
    drawn = unit(features)
    if weights is not None:
        drawn = drawn * weights[:, None].to(drawn)
    sums = drawn.new_zeros(int(groups.max()) + 1 if groups.numel() else 0, drawn.shape[1])
    sums = sums.index_add(0, groups.to(drawn.device), drawn)
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
    from click_gaussian_ns.raster.engine import engine_of

    data = features.detach()
    norms = data.norm(dim=-1, keepdim=True).clamp_min(ZERO_NORM)
    directions = data / norms
    repel = _repel_pairs_cpu if engine_of(data).runs_kernels else _repel_pairs_dense
    weights = directions.new_ones(labels.shape) if weights is None else weights.to(data.device)
    pulled = repel(directions, labels.to(data.device), weights, margin)
    scale = 1.0 / max(labels.shape[0], 1) ** 2
    radial = (pulled * directions).sum(-1, keepdim=True)
    gradient = (pulled - radial * directions) * (2.0 * scale / norms)
    gradient[:, :num_detached] = 0.0
    return Attach.apply(features, radial.sum() * scale, gradient)  # pyright: ignore[reportReturnType]


def _repel_pairs_cpu(directions: Tensor, labels: Tensor, weights: Tensor, margin: float) -> Tensor:
    from click_gaussian_ns.features import kernels

    order = torch.argsort(labels, stable=True)
    _, counts = torch.unique_consecutive(labels[order], return_counts=True)
    starts, groups = kernels.block_starts(np.concatenate([[0], counts.cumsum(0).numpy()]))
    of_blocks = weights[order].float().numpy()[starts[:-1]]
    pulled = kernels.repel_pairs(directions[order].float().numpy(), starts, groups, of_blocks, np.float32(margin))
    result = torch.empty_like(directions)
    result[order] = torch.from_numpy(pulled).to(directions.dtype)
    return result


def _repel_pairs_dense(directions: Tensor, labels: Tensor, weights: Tensor, margin: float) -> Tensor:
    parts, weighted = [], directions * weights[:, None]
    for rows, row_labels in zip(directions.split(_ROWS_PER_BLOCK), labels.split(_ROWS_PER_BLOCK)):
        repelled = (rows @ directions.T > margin) & (row_labels[:, None] != labels[None, :])
        parts.append(repelled.to(directions.dtype) @ weighted)
    return torch.cat(parts) * weights[:, None]


def _positive(step: StepInputs) -> Tensor | None:
    return summed([contrastive_positive(p.features, p.segments, p.weights) for p in step.pixels])


def _negative(step: StepInputs) -> Tensor | None:
    return summed(
        [
            contrastive_negative(
                p.features, p.segments, p.level.margin, p.level.detached_stop - p.level.start, p.weights
            )
            for p in step.pixels
        ]
    )


POSITIVE = Term(
    "contrastive_positive",
    *("positive_weight", 1.0, 1.0),
    "Weight of the positive contrastive term (Eq. 3), which pulls the pixels of a segment together; 0: off.",
    _positive,
    of_pixels=True,
)
NEGATIVE = Term(
    "contrastive_negative",
    *("negative_weight", 1.0, 0.1),
    "Weight of the negative contrastive term (Eq. 5), which pushes different segments apart; 0: off. Two parts stay "
    "apart if more than 1 / (1 + weight) of the masks part them: half of them at 1, nine tenths at 0.1 (the paper).",
    _negative,
    of_pixels=True,
)
