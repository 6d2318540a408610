"""A click to a selection: the feature at the pixel, its most similar global cluster, that cluster's Gaussians."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.selection.propagate import MIN_COVERAGE
from click_gaussian_ns.types import Click, GlobalClusters, Level, Selection

OPACITY_LOGIT_MIN = -5.5373
"""logit(1/255) as `ns-export` rounds it: Gaussians below it are never drawn, and never exported."""


def visible_gaussians(opacity_logits: Float[Tensor, "N"]) -> Bool[Tensor, "N"]:
    """Gaussians that a rasterizer can draw at all; only these are ever selected."""
    return opacity_logits >= OPACITY_LOGIT_MIN


@dataclass(frozen=True)
class Prompt:
    """What a click hit."""

    feature: Float[Tensor, " 24"]
    """Rendered feature at the pixel."""
    cluster_id: int
    """Most similar global cluster of the level that was clicked."""
    negative: bool


class NothingThereError(ValueError):
    """A click on nothing."""


def click_features(
    prepared: PreparedView,
    features: Float[Tensor, "N D"],
    clicks: Sequence[Click],
    source_ids: Int[Tensor, " M"] | None = None,
) -> tuple[Float[Tensor, "K D"], Float[Tensor, "K"]]:
    """Rendered feature and alpha at each click.

    `source_ids` gives the row of `features` of each of the view's M Gaussians; without it they are the same.

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
    return rasterize.at_pixels(prepared, features, torch.tensor(pixel_ids, dtype=torch.int64), source_ids)


def locate(
    prepared: PreparedView,
    features: Float[Tensor, "N 24"],
    level: Level,
    clusters: GlobalClusters,
    clicks: Sequence[Click],
    source_ids: Int[Tensor, " M"] | None = None,
) -> tuple[Prompt, ...]:
    """What each click hits.

    Raises:
        ValueError: there are no clusters yet, a click lies outside the image or on nothing.
    """
    if clusters.num_clusters == 0:
        raise ValueError(
            f"the {level.name} level has no clusters to select from: train longer, or lower "
            "--pipeline.model.research.cluster-views-fraction"
        )
    at_clicks, alpha = click_features(prepared, features, clicks, source_ids)
    for click, covered in zip(clicks, alpha.tolist()):
        if covered < MIN_COVERAGE:
            raise NothingThereError(f"there is nothing at ({click.x_px:g}, {click.y_px:g}): click on the object itself")
    hit = (normalize(at_clicks[:, level.channels], dim=-1) @ clusters.centers.to(at_clicks).T).argmax(dim=-1)
    return tuple(
        Prompt(feature, cluster, click.negative) for feature, cluster, click in zip(at_clicks, hit.tolist(), clicks)
    )


def pick(
    prepared: PreparedView,
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
    if clicks and all(click.negative for click in clicks):
        raise ValueError("a selection needs at least one positive point")
    found = clusters[level.name]
    prompts = locate(prepared, features, level, found, clicks)
    hit = [prompt.cluster_id for prompt in prompts if not prompt.negative]
    selection = cluster_selection(found, hit, prepared.splats.opacity_logits)
    return replace(selection, mask=without_dominated(features, selection.mask, prompts))


def without_dominated(
    features: Float[Tensor, "N 24"], mask: Bool[Tensor, "N"], prompts: Sequence[Prompt]
) -> Bool[Tensor, "N"]:
    """The mask less the Gaussians that are at least as similar to a negative prompt as to every positive one.

    Without a positive prompt the mean feature of the mask stands for it.
    """
    negatives = [prompt.feature for prompt in prompts if prompt.negative]
    positives = [prompt.feature for prompt in prompts if not prompt.negative]
    if not negatives or not bool(mask.any()):
        return mask
    features = features.detach()
    if not positives:
        positives = [normalize(features[mask], dim=-1).mean(dim=0)]
    return mask & ~_dominated(features, mask, torch.stack(negatives), torch.stack(positives))


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
    ids = tuple(sorted({int(i) for i in cluster_ids}))
    mask = members(clusters.labels, ids) & visible_gaussians(opacity_logits)
    return Selection(clusters.level, ids, mask)


def members(labels: Int[Tensor, "N"], cluster_ids: Sequence[int]) -> Bool[Tensor, "N"]:
    """Gaussians with one of these labels; a comparison per cluster is far faster than `torch.isin`."""
    mask = torch.zeros_like(labels, dtype=torch.bool)
    for cluster in cluster_ids:
        mask |= labels == cluster
    return mask
