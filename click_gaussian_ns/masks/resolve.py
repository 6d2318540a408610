"""From the name of a generator to its segmenter; a generator's package is imported when it is used."""

from __future__ import annotations

import logging
from importlib import import_module

import torch

from click_gaussian_ns.masks.checkpoints import find_checkpoint
from click_gaussian_ns.masks.config import MaskConfig, flag, segmenters
from click_gaussian_ns.masks.segmenter import Segmenter

logger = logging.getLogger(__name__)


def resolve_generator(config: MaskConfig) -> str:
    """The generator that `auto` stands for here, with a warning where that is the makeshift.

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
    logger.warning(
        "No masks are given and no weights of SAM are at hand: using superpixels, which know surfaces and colours but "
        "no objects. For better segments use %s, which downloads 2.4 GB once, or %s",
        flag("mask_generator", "sam"),
        flag("mask_dir", "DIR"),
    )
    return "superpixels"


def make_segmenter(config: MaskConfig, device: torch.device) -> Segmenter:
    """The segmenter of a configuration.

    Raises:
        ValueError: its package or its weights are missing; says what to do.
    """
    generator = resolve_generator(config)
    module, _, name = segmenters(type(config))[generator].partition(":")
    return getattr(import_module(module), name)(getattr(config, generator), device)
