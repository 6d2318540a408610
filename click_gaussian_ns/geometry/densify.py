"""gsplat's densification with a limit on the number of Gaussians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from nerfstudio.models.splatfacto import DefaultStrategy


@dataclass
class CappedStrategy(DefaultStrategy):
    """DefaultStrategy that never grows beyond `max_gaussians`."""

    max_gaussians: int = 50_000

    @torch.no_grad()
    def _grow_gs(self, params: Any, optimizers: Any, state: dict[str, Any], step: int) -> tuple[int, int]:
        """Of the candidates only those with the largest gradients, as many as there is room for."""
        room = max(self.max_gaussians - len(params["means"]), 0)
        gradients = state["grad2d"] / state["count"].clamp_min(1)
        steep = gradients > self.grow_grad2d
        small = params["scales"].exp().amax(dim=-1) <= self.grow_scale3d * state["scene_scale"]
        splits = steep & ~small
        if step < self.refine_scale2d_stop_iter:
            splits |= state["radii"] > self.grow_scale2d
        added = (steep & small).long() + splits  # one that is small but large on screen is duplicated and split
        if int(added.sum()) > room:
            ranked = torch.where(added > 0, gradients, -1.0).argsort(descending=True, stable=True)
            others = ranked[added[ranked].cumsum(0) > room]
            state["grad2d"][others] = 0.0
            if self.refine_scale2d_stop_iter > 0:
                state["radii"][others] = state["radii"][others].clamp_max(self.grow_scale2d)
        return super()._grow_gs(params, optimizers, state, step)

    def stretched(self, factor: float) -> CappedStrategy:
        """The same with everything that is counted in steps multiplied."""
        names = ("refine_start_iter", "refine_stop_iter", "refine_every", "reset_every", "refine_scale2d_stop_iter")
        scaled = {name: max(1, round(getattr(self, name) * factor)) for name in names if getattr(self, name) > 0}
        return type(self)(**{**vars(self), **scaled})
