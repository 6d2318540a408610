"""The segmenter that needs no weights: nested regions of the splat, or of the photo's colours where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image

from click_gaussian_ns.masks.borders import GraphBuilder
from click_gaussian_ns.masks.config import SuperpixelConfig
from click_gaussian_ns.masks.regions import colors_to_compare, merge_regions
from click_gaussian_ns.masks.segmenter import PART, SUBPART, WHOLE, Segment, ViewGuidance, partition_segments

ALGORITHM = 2
"""Raised whenever the same settings give other segments, so that caches notice."""
_PHOTO_SIDE_PX = 512
_PHOTO_SCALE, _PHOTO_SIGMA, _PHOTO_MIN_SIZE_PX = 20.0, 0.6, 12
"""Of the Felzenszwalb-Huttenlocher segments that a photo's regions start from."""


class SuperpixelSegmenter:
    """Three nested partitions: whole, part and subpart are cut at the coarse, middle and fine threshold."""

    name = "superpixels"
    uses_guidance = True
    gives_levels = True

    def __init__(self, config: SuperpixelConfig, device: torch.device | None = None) -> None:
        """`device` is left alone: this segmenter runs on the CPU."""
        self._config = config

    def fingerprint(self) -> Mapping[str, Any]:
        return {"algorithm": ALGORITHM, **asdict(self._config)}

    def segment(self, image: UInt8[np.ndarray, "H W 3"], guidance: ViewGuidance | None) -> list[Segment]:
        labels = self._from_colors(image) if guidance is None else guidance.labels
        segments: list[Segment] = []
        for level, partition in zip((WHOLE, PART, SUBPART), labels):
            segments += partition_segments(partition, level, standalone=level != PART)
        return segments

    def _from_colors(self, image: UInt8[np.ndarray, "H W 3"]) -> Int[np.ndarray, "3 h w"]:
        """Label images from one photo alone."""
        from skimage.segmentation import felzenszwalb

        photo = Image.fromarray(image)
        photo.thumbnail((_PHOTO_SIDE_PX, _PHOTO_SIDE_PX), Image.Resampling.BOX)
        pixels = np.array(photo)
        starts = felzenszwalb(pixels, scale=_PHOTO_SCALE, sigma=_PHOTO_SIGMA, min_size=_PHOTO_MIN_SIZE_PX)
        builder = GraphBuilder(int(starts.max()) + 1)
        builder.add_view(starts, colors_to_compare(pixels), None)
        thresholds = (self._config.fine, self._config.middle, self._config.coarse)
        merged = merge_regions(builder.build(), thresholds)
        return np.stack([partition[starts] + 1 for partition in reversed(merged)])
