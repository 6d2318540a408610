"""The total objective of one step (Eq. 13): the terms of features/terms with the weights of the settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from click_gaussian_ns.features.neighbors import Neighbors
from click_gaussian_ns.features.sampling import sample_gaussians
from click_gaussian_ns.features.terms import TERMS
from click_gaussian_ns.features.terms.term import Guide, StepInputs, Term
from click_gaussian_ns.method.research import ResearchConfig
from click_gaussian_ns.raster import matrices, rasterize
from click_gaussian_ns.types import BlendWeights, Level

_OF_PIXELS = tuple(term for term in TERMS if term.of_pixels)
_OF_GAUSSIANS = tuple(term for term in TERMS if not term.of_pixels)


def step_inputs(
    config: ResearchConfig,
    levels: tuple[Level, ...],
    features: Float[Tensor, "N 24"],
    neighbors: Neighbors | None,
    guides: Mapping[str, Guide],
    rng: np.random.Generator,
) -> StepInputs:
    """A step before its pixels are rendered. `guides` are the global features per level."""
    sampled = None
    if config.spatial_weight and neighbors is not None and features.shape[0]:
        sampled = sample_gaussians(features.shape[0], config.spatial_samples, rng)
    return StepInputs(
        levels=levels,
        features=features,
        neighbors=neighbors,
        sampled=sampled,
        guides=guides,
        segment_balance=config.segment_balance,
        gfl_threshold=config.gfl_threshold,
    )


def with_pixels(step: StepInputs, rendered: Float[Tensor, "P 24"], labels: Int[Tensor, "L P"]) -> StepInputs:
    """The step with its sampled pixels."""
    return replace(step, rendered=rendered, labels=labels)


def literal_terms(config: ResearchConfig, step: StepInputs, terms: Iterable[Term] = TERMS) -> dict[str, Tensor]:
    """Weighted terms, each differentiable; those that are switched off, or have nothing to say, are left out."""
    found = {}
    for term in terms:
        weight = getattr(config, term.setting)
        value = term.literal(step) if weight else None
        if value is not None:
            found[term.name] = weight * value
    return found


def gaussian_gradient(
    config: ResearchConfig, step: StepInputs, gradient: Float32[np.ndarray, "N 24"]
) -> dict[str, float]:
    """Weighted values of the terms of the Gaussians' own features on CPU; the gradient of their sum is written."""
    values: dict[str, float] = {}
    passes = list(dict.fromkeys(term.fused for term in _OF_GAUSSIANS if term.fused is not None))
    for place, fused in enumerate(passes):
        part = gradient if place == 0 else np.empty_like(gradient)
        weights = {term.name: getattr(config, term.setting) for term in _OF_GAUSSIANS if term.fused is fused}
        values |= fused(step, weights, part)
        if place:
            gradient += part
    alone = [term for term in _OF_GAUSSIANS if term.fused is None]
    own = replace(step, features=step.features.detach().requires_grad_())
    with torch.enable_grad():
        literal = literal_terms(config, own, alone)
        if literal:
            (added,) = torch.autograd.grad(torch.stack(list(literal.values())).sum(), own.features)
            gradient += added.numpy()
    return values | {name: float(value.detach()) for name, value in literal.items()}


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
    config: ResearchConfig,
    step: StepInputs,
    rows: BlendWeights | None,
    labels: Int[Tensor, "L P"],
    gradient: Float32[np.ndarray, "N 24"],
) -> dict[str, float]:
    """All terms of a step on CPU, with the gradient of their sum written to `gradient`: first the Gaussians' own, then
    what the sampled pixels add. `rows` are the pixels' blending weights; None where no pixel was sampled."""
    values = gaussian_gradient(config, step, gradient)
    if rows is None:
        return values
    rendered = rasterize.blend(rows, step.features.detach()).requires_grad_()
    with torch.enable_grad(), _on_one_thread():
        parts = literal_terms(config, with_pixels(step, rendered, labels), _OF_PIXELS)
        if parts:
            torch.stack(list(parts.values())).sum().backward()
    if rendered.grad is not None:
        matrices.add_gradient(rows, rendered.grad, gradient)
    return {name: float(value.detach()) for name, value in parts.items()} | values
