"""The spatial term (Eq. 12): neighbouring Gaussians have similar features."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

from click_gaussian_ns.features.neighbors import Neighbors
from click_gaussian_ns.features.terms.one_pass import one_pass
from click_gaussian_ns.features.terms.term import StepInputs, Term
from click_gaussian_ns.features.terms.vectors import unit


def spatial(features: Float[Tensor, "N D"], neighbors: Neighbors, sampled: Bool[Tensor, " N"]) -> Float[Tensor, ""]:
    """Eq. 12: minus the mean similarity of the sampled Gaussians' features to those of their K nearest in 3D."""
    num_pairs = max(int(sampled.sum()) * neighbors.ids.shape[1], 1)
    chosen = sampled.nonzero()[:, 0].to(features.device)
    directions, nearest = unit(features), neighbors.ids[chosen].long()
    # not by an index: the gradient of that sorts
    of_nearest = directions.index_select(0, nearest.reshape(-1)).reshape(*nearest.shape, directions.shape[1])
    return -(directions.index_select(0, chosen)[:, None] * of_nearest).sum() / num_pairs


def _literal(step: StepInputs) -> Tensor | None:
    if step.neighbors is None or step.sampled is None:
        return None
    return spatial(step.features, step.neighbors, step.sampled)


SPATIAL = Term(
    "spatial",
    *("spatial_weight", 0.1, 0.5),
    "Weight of the spatial term (Eq. 12), which pulls neighbouring Gaussians together; 0: off. The paper's is 0.5.",
    _literal,
    fused=one_pass,
)
