"""The total objective of one step (Eq. 13), term by term."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from click_gaussian_ns.features import losses
from click_gaussian_ns.features.gaussian_kernel import Weights, gaussian_gradient
from click_gaussian_ns.features.levels import channel_shares
from click_gaussian_ns.features.neighbors import Neighbors
from click_gaussian_ns.features.sampling import sample_gaussians
from click_gaussian_ns.method.settings import ClickGaussianModelConfig
from click_gaussian_ns.raster import matrices, rasterize
from click_gaussian_ns.types import BlendWeights, Level


def pixel_terms(
    config: ClickGaussianModelConfig,
    levels: Sequence[Level],
    rendered: Float[Tensor, "P 24"],
    labels: Int[Tensor, "L P"],
) -> dict[str, Tensor]:
    """Weighted contrastive (Eq. 3-5) and 2D norm (Eq. 11) terms of the sampled pixels, summed over levels."""
    terms: dict[str, list[Tensor]] = {"contrastive_positive": [], "contrastive_negative": [], "norm_2d": []}
    for level, level_labels in zip(levels, labels):
        # with three levels a pixel may belong to a segment of one and to none of another
        assigned = level_labels > 0
        features = rendered[assigned][:, level.channels]
        if features.shape[0] == 0:
            continue
        segments = level_labels[assigned]
        weights = losses.pixel_weights(segments, config.segment_balance) if config.segment_balance else None
        terms["contrastive_positive"].append(losses.contrastive_positive(features, segments, weights))
        if config.negative_weight:
            num_detached = level.detached_stop - level.start
            negative = losses.contrastive_negative(features, segments, level.margin, num_detached, weights)
            terms["contrastive_negative"].append(config.negative_weight * negative)
        if config.norm_2d_weight:
            terms["norm_2d"].append(config.norm_2d_weight * losses.norm_2d(features, level.radius))
    return {name: torch.stack(values).sum() for name, values in terms.items() if values}


def gaussian_terms(
    config: ClickGaussianModelConfig,
    levels: tuple[Level, ...],
    features: Float[Tensor, "N 24"],
    neighbors: Neighbors | None,
    guides: Mapping[str, losses.Guide],
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Weighted 3D norm (Eq. 10), spatial (Eq. 12) and GFL (Eq. 7-9) terms of the Gaussians' own features.

    `guides` are the global features per level; a level without any has no GFL term.
    """
    terms: dict[str, Tensor] = {}
    if config.norm_3d_weight:
        terms["norm_3d"] = config.norm_3d_weight * losses.norm_3d(features, channel_shares(levels))
    if config.spatial_weight and neighbors is not None:
        chosen = sample_gaussians(features.shape[0], config.spatial_samples, rng).to(features.device)
        terms["spatial"] = config.spatial_weight * losses.spatial(features, neighbors, chosen)
    guided = [
        losses.global_feature_guidance(
            features[:, level.channels],
            guides[level.name].centers,
            config.gfl_threshold,
            level.margin,
            guides[level.name].homes,
        )[0]
        for level in levels
        if config.gfl_weight and level.name in guides and guides[level.name].centers.shape[0] > 0
    ]
    if guided:
        terms["gfl"] = config.gfl_weight * torch.stack(guided).sum()
    return terms


def gaussian_values(
    config: ClickGaussianModelConfig,
    levels: tuple[Level, ...],
    features: Float[Tensor, "N 24"],
    neighbors: Neighbors | None,
    guides: Mapping[str, losses.Guide],
    rng: np.random.Generator,
    gradient: Float32[np.ndarray, "N 24"],
) -> dict[str, float]:
    """The values of `gaussian_terms`, with the gradient of their sum written to `gradient`, by one kernel on CPU."""
    weights = Weights(config.norm_3d_weight, config.spatial_weight, config.gfl_weight, config.gfl_threshold)
    if config.spatial_weight and neighbors is not None:
        sampled = sample_gaussians(features.shape[0], config.spatial_samples, rng).numpy()
    else:
        sampled = np.empty(0, np.bool_)
    of_levels = [guides.get(level.name) for level in levels]
    norm_3d, spatial, gfl = gaussian_gradient(
        features.detach().float().contiguous().numpy(), levels, weights, neighbors, sampled, of_levels, gradient
    )
    terms = {}
    if config.norm_3d_weight:
        terms["norm_3d"] = norm_3d
    if sampled.size:
        terms["spatial"] = spatial
    if config.gfl_weight and any(guide is not None and guide.centers.shape[0] > 0 for guide in of_levels):
        terms["gfl"] = gfl
    return terms


@contextmanager
def _on_one_thread() -> Iterator[None]:
    """PyTorch without its helpers, for many small operations between kernels.

    The kernels' own helpers spin for milliseconds after each kernel: PyTorch's would wait for their cores, at every
    operation, for longer than it takes. On a machine that does something else too, 8 ms each was seen.
    """
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def step_gradient(
    config: ClickGaussianModelConfig,
    levels: tuple[Level, ...],
    features: Float[Tensor, "N 24"],
    rows: BlendWeights | None,
    labels: Int[Tensor, "L P"],
    neighbors: Neighbors | None,
    guides: Mapping[str, losses.Guide],
    rng: np.random.Generator,
    gradient: Float32[np.ndarray, "N 24"],
) -> dict[str, float]:
    """All terms of a step on CPU, with the gradient of their sum written to `gradient`: first the Gaussians' own, then
    what the sampled pixels add. `rows` are the pixels' blending weights; None where no pixel was sampled."""
    terms = gaussian_values(config, levels, features, neighbors, guides, rng, gradient)
    if rows is None:
        return terms
    rendered = rasterize.blend(rows, features.detach()).requires_grad_()
    with torch.enable_grad(), _on_one_thread():
        parts = pixel_terms(config, levels, rendered, labels)
        if parts:
            torch.stack(list(parts.values())).sum().backward()
    if rendered.grad is not None:
        matrices.add_gradient(rows, rendered.grad, gradient)
    return {name: float(value.detach()) for name, value in parts.items()} | terms
