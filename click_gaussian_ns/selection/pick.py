"""A click to a selection: the feature at the pixel, its most similar global cluster, that cluster's Gaussians."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.types import Click, GlobalClusters, Level, Selection

OPACITY_LOGIT_MIN = -5.5373
"""logit(1/255) as `ns-export` rounds it: Gaussians below it are never drawn, and never exported."""
_MIN_ALPHA = 0.5
"""A pixel that is covered less than this shows the background."""


def visible_gaussians(opacity_logits: Float[Tensor, "N"]) -> Bool[Tensor, "N"]:
    """Gaussians that a rasterizer can draw at all; only these are ever selected."""
    return opacity_logits >= OPACITY_LOGIT_MIN


def click_features(
    prepared: rasterize.PreparedView, features: Float[Tensor, "N D"], clicks: Sequence[Click]
) -> tuple[Float[Tensor, "K D"], Float[Tensor, "K"]]:
    """Rendered feature and alpha at each click.

    Raises:
        ValueError: a click lies outside the image.
    """
    view = prepared.view
    pixel_ids = []
    for click in clicks:
        column, row = math.floor(click.x_px), math.floor(click.y_px)
        if not (0 <= column < view.width and 0 <= row < view.height):
            raise ValueError(
                f"point ({click.x_px:g}, {click.y_px:g}) lies outside the image, which is {view.width} x {view.height} "
                "pixels (x from the left, y from the top)"
            )
        pixel_ids.append(row * view.width + column)
    pixels = torch.tensor(pixel_ids, dtype=torch.int64, device=features.device)
    if features.is_cuda:
        with_one = torch.cat([features.detach(), torch.ones_like(features[:, :1])], dim=1)
        sampled = rasterize.sample(prepared, with_one, pixels)
        return sampled[:, :-1], sampled[:, -1]
    rows = rasterize.blend_weights(prepared, pixels)
    counts = rows.row_offsets[1:] - rows.row_offsets[:-1]
    owner = torch.repeat_interleave(torch.arange(len(clicks)), counts)
    alpha = torch.zeros(len(clicks)).index_add_(0, owner, rows.weights)
    return rasterize.blend(rows, features.detach()), alpha


def pick(
    prepared: rasterize.PreparedView,
    features: Float[Tensor, "N 24"],
    level: Level,
    clusters: Mapping[str, GlobalClusters],
    clicks: Sequence[Click],
) -> Selection:
    """The Gaussians of all clusters that positive clicks hit, less what negative clicks say is something else.

    Negative clicks dominate: a Gaussian of those clusters whose whole 24-channel feature is at least as similar to a
    negative click as to every positive one is dropped, so that "not this part" works on a coarse selection too.

    Raises:
        ValueError: there are no clusters yet, no positive click, a click outside the image or on nothing.
    """
    found = clusters[level.name]
    if found.num_clusters == 0:
        raise ValueError(
            f"the {level.name} level has no clusters to select from: train longer, or lower "
            "--pipeline.model.cluster-views-fraction"
        )
    if all(click.negative for click in clicks):
        raise ValueError("a selection needs at least one positive point")
    at_clicks, alpha = click_features(prepared, features, clicks)
    for click, covered in zip(clicks, alpha.tolist()):
        if covered < _MIN_ALPHA:
            raise ValueError(f"there is nothing at ({click.x_px:g}, {click.y_px:g}): click on the object itself")
    negative = torch.tensor([click.negative for click in clicks], device=features.device)
    hit = (normalize(at_clicks[:, level.channels], dim=-1) @ found.centers.to(at_clicks).T).argmax(dim=-1)
    selection = cluster_selection(found, hit[~negative].tolist(), prepared.splats.opacity_logits)
    if not negative.any():
        return selection
    dropped = _dominated(features.detach(), selection.mask, at_clicks[negative], at_clicks[~negative])
    return replace(selection, mask=selection.mask & ~dropped)


def _dominated(
    features: Float[Tensor, "N 24"],
    candidates: Bool[Tensor, "N"],
    negatives: Float[Tensor, "J 24"],
    positives: Float[Tensor, "K 24"],
) -> Bool[Tensor, "N"]:
    unit = normalize(features[candidates], dim=-1)
    to_negative = (unit @ normalize(negatives, dim=-1).T).amax(dim=-1)
    to_positive = (unit @ normalize(positives, dim=-1).T).amax(dim=-1)
    dominated = torch.zeros_like(candidates)
    dominated[candidates] = to_negative >= to_positive
    return dominated


def cluster_selection(
    clusters: GlobalClusters, cluster_ids: Sequence[int], opacity_logits: Float[Tensor, "N"]
) -> Selection:
    """The Gaussians of the given clusters."""
    ids = sorted({int(i) for i in cluster_ids})
    wanted = torch.tensor(ids, dtype=clusters.labels.dtype, device=clusters.labels.device)
    mask = torch.isin(clusters.labels, wanted) & visible_gaussians(opacity_logits)
    return Selection(clusters.level, tuple(ids), mask)
