"""The 2D norm term (Eq. 11): rendered features have the norm that agreeing Gaussians give."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from click_gaussian_ns.features.terms.term import StepInputs, Term, summed


def norm_2d(features: Float[Tensor, "P D"], radius: float) -> Float[Tensor, ""]:
    """Eq. 11 of one level, on the sampled pixels: mean squared difference of the rendered norm from `radius`."""
    return (features.norm(dim=-1) - radius).square().sum() / max(features.shape[0], 1)


def _literal(step: StepInputs) -> Tensor | None:
    return summed([norm_2d(pixels.features, pixels.level.radius) for pixels in step.pixels])


NORM_2D = Term(
    "norm_2d",
    *("norm_2d_weight", 0.2, 0.2),
    "Weight of the 2D norm term (Eq. 11), which gives rendered features the norm of Gaussians that agree; 0: off.",
    _literal,
    of_pixels=True,
)
