"""The terms on the Gaussians' own features in one pass over them: the fused form of three terms."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32

from click_gaussian_ns.features.terms.term import StepInputs


def one_pass(step: StepInputs, weights: Mapping[str, float], gradient: Float32[np.ndarray, "N 24"]) -> dict[str, float]:
    """Values of the weighted terms norm_3d, spatial and gfl; the gradient of their sum is written to `gradient`."""
    from click_gaussian_ns.features.gaussian_kernel import gaussian_gradient
    from click_gaussian_ns.raster.sparse import float32_array

    sampled = np.empty(0, np.bool_) if step.sampled is None else step.sampled.numpy()
    values = gaussian_gradient(
        float32_array(step.features),
        step.levels,
        weights,
        step.gfl_threshold,
        step.neighbors,
        sampled,
        [step.guides.get(level.name) for level in step.levels],
        gradient,
    )
    said = {"norm_3d": True, "spatial": sampled.size > 0, "gfl": bool(step.guided)}
    return {name: value for name, value in values.items() if weights[name] and said[name]}
