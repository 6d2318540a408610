"""What a training step on frozen geometry needs besides the model: prepared views, neighbours, pooling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from click_gaussian_ns.features.neighbors import Neighbors, nearest_neighbors
from click_gaussian_ns.plugin.model import ClickGaussianModel
from click_gaussian_ns.plugin.objective import gaussian_terms, pixel_terms
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.types import PinholeView


class FeatureTrainer:
    """The objective of any step, from the model's features. Geometry is frozen: what depends on it is kept."""

    def __init__(self, model: ClickGaussianModel, views: Sequence[PinholeView]) -> None:
        self._model = model
        self._views = views
        self._splats = model.splats
        self._prepared: dict[int, rasterize.PreparedView] = {}
        self._budget_bytes = model.config.view_cache_mb * 2**20
        self._neighbors: Neighbors | None = None
        if model.config.spatial_weight:
            self._neighbors = nearest_neighbors(self._splats.means, model.config.spatial_neighbors).to(model.device)

    def terms(
        self, step: int, view_index: int, pixel_ids: Int[Tensor, "P"], labels: Int[Tensor, "L P"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Weighted terms of the objective at one step; their sum is Eq. 13."""
        model = self._model
        features = model.click_features
        rng = np.random.default_rng((model.config.seed, step, 1))
        terms: dict[str, Tensor] = {}
        if pixel_ids.numel():
            rendered = rasterize.sample(self._prepare(view_index), features, pixel_ids)
            terms |= pixel_terms(model.config, model.levels, rendered, labels)
        guides = model.guides if step >= model.config.gfl_start else {}
        return terms | gaussian_terms(model.config, model.levels, features, self._neighbors, guides, rng)

    def _prepare(self, index: int) -> rasterize.PreparedView:
        """The prepared view, kept while the budget lasts. Views come in random order: evicting would gain nothing."""
        if index in self._prepared:
            return self._prepared[index]
        prepared = rasterize.prepare(self._splats, self._views[index], self._model.config.rasterize_mode)
        if prepared.num_bytes <= self._budget_bytes:
            self._budget_bytes -= prepared.num_bytes
            self._prepared[index] = prepared
        return prepared


def zero_loss(features: Float[Tensor, "N 24"]) -> Float[Tensor, ""]:
    """A loss that teaches nothing, for a step that has no term."""
    return features.sum() * torch.zeros((), device=features.device)
