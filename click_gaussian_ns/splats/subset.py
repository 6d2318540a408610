"""Pick some Gaussians out of a `Splats`, by mask, by index, or because they can be drawn at all."""

from __future__ import annotations

import dataclasses
import logging

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from click_gaussian_ns.types import Splats

logger = logging.getLogger(__name__)

FLAT_LOG_SCALE = -20.0
"""Log scale of an axis along which a Gaussian has no extent: 2e-9 world units, far below a pixel in any scene."""
_OPAQUE_LOGIT = 20.0
"""Its sigmoid is 1 in float32."""


def select(splats: Splats, mask_or_ids: Bool[Tensor, " N"] | Int[Tensor, " M"]) -> Splats:
    """The chosen Gaussians, values untouched.

    Args:
        splats: N Gaussians.
        mask_or_ids: a mask [N] that keeps the order, or indices [M] in [0, N), whose order is followed and which may
            repeat.

    Raises:
        ValueError: the mask has another length than N, or an index lies outside [0, N).
    """
    num = splats.num_gaussians
    if mask_or_ids.dtype == torch.bool:
        if mask_or_ids.shape[0] != num:
            raise ValueError(f"a mask of {mask_or_ids.shape[0]} entries cannot select from {num} Gaussians")
    elif mask_or_ids.numel() and (int(mask_or_ids.min()) < 0 or int(mask_or_ids.max()) >= num):
        raise ValueError(
            f"Gaussian indices must lie in [0, {num}), got {int(mask_or_ids.min())} to {int(mask_or_ids.max())}"
        )
    index = mask_or_ids if mask_or_ids.dtype == torch.bool else mask_or_ids.long()
    index = index.to(splats.means.device)
    return Splats(**{field.name: getattr(splats, field.name)[index] for field in dataclasses.fields(splats)})


def drawable(splats: Splats) -> Bool[Tensor, " N"]:
    """True where every parameter is finite and the quaternion is not zero (which would be no rotation)."""
    mask = splats.quats.any(dim=1)
    for field in dataclasses.fields(splats):
        values = getattr(splats, field.name)
        # a NaN or an infinity never leaves a sum finite: most scenes are cleared ten times faster than row by row
        if not torch.isfinite(values.sum(dtype=torch.float64)):
            mask &= torch.isfinite(values).reshape(splats.num_gaussians, -1).all(dim=1)
    return mask


def drop_undrawable(splats: Splats, source: object) -> tuple[Splats, int]:
    """The Gaussians that can be drawn, and how many were dropped (with a warning in the log that names `source`).

    Infinities that mean something are kept, as the nearest number that draws the same: 8 bits of alpha decode to a
    logit of +inf (opaque) or -inf (not there), a flat axis to a log scale of -inf.

    Raises:
        ValueError: none is left.
    """
    splats, num_clamped = _clamped(splats)
    if num_clamped:
        logger.info("%s: %d of %d Gaussians are fully opaque, empty or flat", source, num_clamped, splats.num_gaussians)
    mask = drawable(splats)
    num_dropped = splats.num_gaussians - int(mask.sum())
    if num_dropped == 0:
        return splats, 0
    if num_dropped == splats.num_gaussians:
        raise ValueError(
            f"{source}: all {num_dropped} Gaussians have NaN, infinite or zero-quaternion parameters, none is left. "
            "Did its training diverge? Train it again or use an earlier checkpoint."
        )
    logger.warning(
        "%s: dropped %d of %d Gaussians that have NaN, infinite or zero-quaternion parameters",
        source,
        num_dropped,
        splats.num_gaussians,
    )
    return select(splats, mask), num_dropped


def _clamped(splats: Splats) -> tuple[Splats, int]:
    """Without infinite opacity logits and log scales of -inf, and how many Gaussians had one."""
    infinite = splats.opacity_logits.isinf() | splats.log_scales.isneginf().any(dim=1)
    num = int(infinite.sum())
    if num == 0:
        return splats, 0
    logits = torch.where(
        splats.opacity_logits.isinf(), splats.opacity_logits.sign() * _OPAQUE_LOGIT, splats.opacity_logits
    )
    scales = splats.log_scales.masked_fill(splats.log_scales.isneginf(), FLAT_LOG_SCALE)
    return dataclasses.replace(splats, opacity_logits=logits, log_scales=scales), num


def on_cpu(splats: Splats) -> Splats:
    """The same Gaussians on the CPU; the same object if they are there."""
    if splats.means.device.type == "cpu":
        return splats
    return Splats(**{field.name: getattr(splats, field.name).detach().cpu() for field in dataclasses.fields(splats)})
