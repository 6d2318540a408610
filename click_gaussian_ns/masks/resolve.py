"""From the name of a generator to its segmenter; a generator's package is imported when it is used."""

from __future__ import annotations

import logging

import torch

from click_gaussian_ns.masks.checkpoints import find_checkpoint
from click_gaussian_ns.masks.config import Generator, MaskConfig
from click_gaussian_ns.masks.segmenter import Segmenter

logger = logging.getLogger(__name__)


def resolve_generator(config: MaskConfig) -> Generator:
    """The generator that `auto` stands for here, with a warning where that is the makeshift.

    Raises:
        ValueError: folder without a folder, or a folder with another generator.
    """
    if config.mask_generator == "folder" and config.mask_dir is None:
        raise ValueError("--mask-generator folder needs --mask-dir DIR, the folder that holds the masks")
    if config.mask_generator not in ("folder", "auto") and config.mask_dir is not None:
        raise ValueError(
            f"--mask-dir is read by --mask-generator folder only, not by {config.mask_generator}: leave one of them out"
        )
    if config.mask_generator != "auto":
        return config.mask_generator
    if config.mask_dir is not None:
        return "folder"
    if find_checkpoint(config.sam, config.sam.model) is not None:
        return "sam"
    logger.warning(
        "No masks are given and no weights of SAM are at hand: using superpixels, which know surfaces and colours but "
        "no objects. For better segments use --mask-generator sam (downloads 2.4 GB once) or --mask-dir"
    )
    return "superpixels"


def make_segmenter(config: MaskConfig, device: torch.device) -> Segmenter:
    """The segmenter of a configuration.

    Raises:
        ValueError: its package or its weights are missing; says what to do.
    """
    generator = resolve_generator(config)
    if generator == "sam":
        from click_gaussian_ns.masks.sam import SamSegmenter

        return SamSegmenter(config.sam, device)
    if generator == "sam2":
        from click_gaussian_ns.masks.sam2 import Sam2Segmenter

        return Sam2Segmenter(config.sam2, device)
    from click_gaussian_ns.masks.superpixels import SuperpixelSegmenter

    return SuperpixelSegmenter(config.superpixels)
