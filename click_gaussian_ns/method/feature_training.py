"""What a training step on frozen geometry needs besides the model: prepared views, neighbours, pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from click_gaussian_ns.clusters.agreed_labels import AgreedLabels
from click_gaussian_ns.features.known_gradient import with_gradient_of_sum
from click_gaussian_ns.features.neighbors import Neighbors, nearest_neighbors
from click_gaussian_ns.method.model import ClickGaussianModel
from click_gaussian_ns.method.objective import literal_terms, step_gradient, step_inputs, with_pixels
from click_gaussian_ns.raster import cpu_engine, matrices, rasterize
from click_gaussian_ns.raster.engine import engine_of
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.splats.subset import on_cpu
from click_gaussian_ns.types import BlendWeights, PinholeView


@dataclass(frozen=True)
class StepPixels:
    """The sampled pixels of a step, on the CPU."""

    rows: BlendWeights | None
    """Their blending weights; None where no pixel was sampled."""
    labels: Int[Tensor, "L P"]


class FeatureTrainer:
    """The objective of any step, from the model's features. Geometry is frozen: what depends on it is kept."""

    def __init__(self, model: ClickGaussianModel, views: Sequence[PinholeView]) -> None:
        self._model = model
        self._views = views
        self._splats = on_cpu(model.splats)
        self._prepared: dict[int, PreparedView] = {}
        self._budget_bytes = model.config.view_cache_mb * 2**20
        self._neighbors: Neighbors | None = None
        self._gradient: np.ndarray | None = None
        self.agreed_labels: AgreedLabels | None = None
        """Put in place of the segments' labels, once there are clusters of segments."""
        if model.config.research.spatial_weight:
            self._neighbors = nearest_neighbors(self._splats.means, model.config.research.spatial_neighbors).to(
                model.device
            )

    def pixels(self, view_index: int, pixel_ids: Int[Tensor, "P"], labels: Int[Tensor, "L P"]) -> StepPixels:
        """What the CPU does for a step: any thread may call it, one at a time."""
        rows = matrices.blend_weights(self._prepare(view_index), pixel_ids) if pixel_ids.numel() else None
        if rows is not None and self.agreed_labels is not None:
            labels = self.agreed_labels.of(view_index, labels, rows)
        return StepPixels(rows, labels)

    def terms(self, step: int, pixels: StepPixels) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms of the objective at one step (Eq. 13); where kernels run, only their sum has a gradient."""
        model, features = self._model, self._model.click_features
        rng = np.random.default_rng((model.config.seed, step, 1))
        inputs = step_inputs(model.config.research, model.levels, features, self._neighbors, model.guides, rng)
        rows, labels = pixels.rows, pixels.labels
        if not engine_of(features).runs_kernels:
            if rows is not None:
                inputs = with_pixels(inputs, rasterize.blend(rows, features), labels)
            return literal_terms(model.config.research, inputs)
        if features.grad is not None or self._gradient is None:
            # a gradient that is kept, as when several steps are accumulated, must not be written over
            self._gradient = np.empty(features.shape, np.float32)
        values = step_gradient(model.config.research, inputs, rows, labels, self._gradient)
        return with_gradient_of_sum(features, values, self._gradient)

    def keep(self, index: int, prepared: PreparedView) -> None:
        """Take over a view that was prepared for something else, while the budget lasts.

        Where it would not last for all views as large as this one, only their order and lists are kept: projecting
        again is much less work than sorting and binning.
        """
        if prepared.num_bytes > self._budget_bytes / max(len(self._views) - len(self._prepared), 1):
            prepared = cpu_engine.without_projection(prepared)
        if index not in self._prepared and prepared.num_bytes <= self._budget_bytes:
            self._budget_bytes -= prepared.num_bytes
            self._prepared[index] = prepared

    def _prepare(self, index: int) -> PreparedView:
        """The prepared view, kept while the budget lasts. Views come in random order: evicting would gain nothing."""
        if index in self._prepared:
            return cpu_engine.with_projection(self._prepared[index])
        prepared = rasterize.prepare(self._splats, self._views[index], self._model.rasterize_mode)
        self.keep(index, prepared)
        return prepared


def zero_loss(features: Float[Tensor, "N 24"]) -> Float[Tensor, ""]:
    """A loss that teaches nothing, for a step that has no term."""
    return features.sum() * torch.zeros((), device=features.device)
