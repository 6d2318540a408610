"""What SAM's and SAM 2's automatic mask generators share: the level of every mask, duplicates, memory.

Both packages ship the same generator class: a grid of points is decoded to three masks each (subpart, part, whole),
which are filtered, and duplicates are removed. The class forgets which of the three a mask was; the mix-in keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torchvision.ops import batched_nms

from click_gaussian_ns.masks.config import AutomaticMaskConfig
from click_gaussian_ns.masks.memory import free_memory_bytes
from click_gaussian_ns.masks.segmenter import SUBPART, Rle, Segment

NUM_LEVELS = 3
NEUTRAL_SETTINGS = ("checkpoint", "download", "points_per_batch")
"""Settings that do not change results: the weights' own digest stands for their file."""
_NO_SUPPRESSION = 2.0
_MAX_POINTS_PER_BATCH = 256
_BYTES_PER_MASK_PIXEL = 16
"""Logits, two cut-offs of the stability score, and the boolean mask."""


def generator_settings(config: AutomaticMaskConfig) -> dict[str, Any]:
    """The arguments of a generator class that a configuration sets (suppression is done by the mix-in)."""
    return {
        "points_per_side": config.points_per_side,
        "pred_iou_thresh": config.pred_iou_thresh,
        "stability_score_thresh": config.stability_score_thresh,
        "stability_score_offset": config.stability_score_offset,
        "box_nms_thresh": _NO_SUPPRESSION,
        "crop_nms_thresh": _NO_SUPPRESSION,
        "crop_n_layers": config.crop_n_layers,
        "crop_overlap_ratio": config.crop_overlap_ratio,
        "crop_n_points_downscale_factor": config.crop_n_points_downscale_factor,
        "output_mode": "uncompressed_rle",
    }


class LevelAware:
    """Mix-in, left of a generator class made with `generator_settings`."""

    predictor: Any
    _predicted: tuple[torch.Tensor, ...] | None
    """The three masks of the points being decoded."""
    _level: int
    """Which of the three is asked for."""
    points_per_batch: int
    crop_n_layers: int
    crop_overlap_ratio: float
    _process_crop: Callable[..., Any]
    postprocess_small_regions: Callable[..., Any]
    _crop_boxes: Callable[..., tuple[list[list[int]], list[int]]]
    """The package's own generate_crop_boxes."""

    def record_levels(self, predict_name: str) -> None:
        """Makes the predictor's method of this name answer for one of the three masks at a time."""
        predict = getattr(self.predictor, predict_name)

        def predict_one_level(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, ...]:
            outputs = predict(*args, **kwargs) if self._predicted is None else self._predicted
            self._predicted = outputs
            return tuple(output[:, self._level : self._level + 1] for output in outputs)

        setattr(self.predictor, predict_name, predict_one_level)

    def _process_batch(self, *args: Any, **kwargs: Any) -> Any:
        self._predicted = None
        merged = None
        for self._level in range(NUM_LEVELS):
            found = super()._process_batch(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
            found["levels"] = torch.full((len(found["rles"]),), SUBPART - self._level)
            if merged is None:
                merged = found
            else:
                merged.cat(found)
        self._predicted = None
        return merged

    @torch.no_grad()
    def segments(self, image: UInt8[np.ndarray, "H W 3"], config: AutomaticMaskConfig) -> list[Segment]:
        """Segments of an image: the generator's own set, and those that are no duplicates within their level."""
        height, width = image.shape[:2]
        crops, layers = self._crop_boxes((height, width), self.crop_n_layers, self.crop_overlap_ratio)
        data: Any = None
        for number, (crop, layer) in enumerate(zip(crops, layers)):
            found = self._process_crop(image, crop, layer, (height, width))
            found["crop_boxes"] = found["crop_boxes"].reshape(-1, 4)
            found["crops"] = torch.full((len(found["rles"]),), number)
            if data is None:
                data = found
            else:
                data.cat(found)
        data["candidates"] = torch.arange(len(data["rles"]))
        standalone = self._without_duplicates(data, config)
        levels = [
            self._without_duplicates(_subset(data, data["levels"] == level), config) for level in range(NUM_LEVELS)
        ]
        levelled = {int(candidate) for found in levels for candidate in found["candidates"]}
        kept = {int(candidate) for candidate in standalone["candidates"]}
        segments = [
            _to_segment(standalone, i, levelled=int(standalone["candidates"][i]) in levelled, standalone=True)
            for i in range(len(kept))
        ]
        for found in levels:
            segments += [
                _to_segment(found, i, levelled=True, standalone=False)
                for i in range(len(found["rles"]))
                if int(found["candidates"][i]) not in kept
            ]
        return [segment for segment in segments if segment.area > 0]

    def _without_duplicates(self, data: Any, config: AutomaticMaskConfig) -> Any:
        """Suppression as the generator class does it: within each crop by quality, then between crops."""
        kept = _subset(data, torch.ones(len(data["rles"]), dtype=torch.bool))
        keep = batched_nms(
            kept["boxes"].float(), kept["iou_preds"], kept["crops"].to(kept["boxes"].device), config.box_nms_thresh
        )
        # batched_nms ranks over all crops; the class goes crop by crop, which is the order of its output.
        keep = keep[torch.sort(kept["crops"].to(keep.device)[keep], stable=True).indices]
        kept.filter(keep)
        if len(torch.unique(data["crops"])) > 1:
            crop_boxes = kept["crop_boxes"].float()
            crop_areas = (crop_boxes[:, 2] - crop_boxes[:, 0]) * (crop_boxes[:, 3] - crop_boxes[:, 1])
            boxes = kept["boxes"].float()
            one = torch.zeros(len(boxes), device=boxes.device)
            kept.filter(batched_nms(boxes, 1 / crop_areas.to(boxes.device), one, config.crop_nms_thresh))
        kept.to_numpy()
        if config.min_mask_region_area > 0:
            threshold = max(config.box_nms_thresh, config.crop_nms_thresh)
            kept = self.postprocess_small_regions(kept, config.min_mask_region_area, threshold)
        return kept

    def segments_within_memory(
        self, image: UInt8[np.ndarray, "H W 3"], config: AutomaticMaskConfig, device: torch.device
    ) -> list[Segment]:
        """`segments`, in batches of points that fit the free memory; halved where a GPU runs out all the same."""
        self.points_per_batch = config.points_per_batch or points_that_fit(image.shape[0] * image.shape[1], device)
        while True:
            try:
                return self.segments(image, config)
            except torch.cuda.OutOfMemoryError:
                if self.points_per_batch == 1:
                    raise
                self.points_per_batch //= 2
                torch.cuda.empty_cache()


def points_that_fit(num_pixels: int, device: torch.device) -> int:
    """How many points to decode at once, in half of the device's free memory."""
    if device.type == "cuda":
        free_bytes = torch.cuda.mem_get_info(device)[0]
    else:
        free_bytes = free_memory_bytes()
    per_point = NUM_LEVELS * num_pixels * _BYTES_PER_MASK_PIXEL
    return int(np.clip(free_bytes / 2 / per_point, 1, _MAX_POINTS_PER_BATCH))


def _subset(data: Any, keep: torch.Tensor) -> Any:
    subset = type(data)(**dict(data.items()))
    subset.filter(keep)
    return subset


def _to_segment(data: Any, index: int, *, levelled: bool, standalone: bool) -> Segment:
    from pycocotools import mask as coco

    height, width = (int(side) for side in data["rles"][index]["size"])
    rle = coco.frPyObjects(data["rles"][index], height, width)
    return Segment(
        Rle(size=[height, width], counts=rle["counts"]),
        area=int(coco.area(rle)),
        predicted_iou=float(data["iou_preds"][index]),
        stability=float(data["stability_score"][index]),
        level=int(data["levels"][index]) if levelled else None,
        standalone=standalone,
    )
