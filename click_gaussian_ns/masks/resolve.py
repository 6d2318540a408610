"""From the name of a generator to its segmenter; a generator's package is imported when it is used."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import torch

from click_gaussian_ns.masks.checkpoints import find_checkpoint, obtain_checkpoint
from click_gaussian_ns.masks.config import MaskConfig, flag, segmenters
from click_gaussian_ns.masks.provenance import provenance
from click_gaussian_ns.masks.sam_cost import seconds_per_photo
from click_gaussian_ns.masks.segmenter import Segmenter

logger = logging.getLogger(__name__)


def resolve_generator(config: MaskConfig, device: torch.device | str = "cpu", photos: Sequence[Path] = ()) -> str:
    """The generator that `auto` stands for here; says so where that is the makeshift.

    With a GPU SAM's weights are downloaded once. Without one SAM takes minutes for a photo: how many is said.

    Args:
        config: see `MaskConfig`.
        device: where SAM would run.
        photos: that are to be segmented.

    Raises:
        ValueError: folder without a folder, or a folder with another generator.
    """
    if config.mask_generator == "folder" and config.mask_dir is None:
        raise ValueError(f"the generator folder needs {flag('mask_dir', 'DIR')}, the folder that holds the masks")
    if config.mask_generator not in ("folder", "auto") and config.mask_dir is not None:
        raise ValueError(
            f"the mask dir {config.mask_dir} is read by the generator folder only, not by {config.mask_generator}: "
            f"use {flag('mask_generator', 'folder')}, or leave the mask dir out"
        )
    if config.mask_generator != "auto":
        return config.mask_generator
    if config.mask_dir is not None:
        return "folder"
    if find_checkpoint(config.sam, config.sam.model) is not None:
        return "sam"
    reason = "there is no GPU"
    if torch.device(device).type == "cuda":
        try:
            obtain_checkpoint(config.sam, config.sam.model)
            return "sam"
        except ValueError as error:
            reason = str(error)
    makeshift = provenance(replace(config, mask_generator="superpixels"))
    logger.warning("No masks are given, and SAM is not used (%s). %s", reason, makeshift.sentence)
    if photos and torch.device(device).type == "cpu":
        _say_cost(photos)
    return "superpixels"


def _say_cost(photos: Sequence[Path]) -> None:
    seconds = seconds_per_photo(photos[0])
    if seconds is not None:
        logger.warning(
            "SAM ViT-B would take about %.0f s per photo on this CPU, %.0f min for all %d (timed on %s): %s %s",
            seconds,
            max(1.0, seconds * len(photos) / 60),
            len(photos),
            photos[0].name,
            flag("mask_generator", "sam"),
            flag("sam.model", "vit_b"),
        )


def make_segmenter(config: MaskConfig, device: torch.device) -> Segmenter:
    """The segmenter of a configuration.

    Raises:
        ValueError: its package or its weights are missing; says what to do.
    """
    generator = resolve_generator(config)
    module, _, name = segmenters(type(config))[generator].partition(":")
    return getattr(import_module(module), name)(getattr(config, generator), device)
