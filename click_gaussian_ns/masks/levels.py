"""From overlapping segments to one label per pixel and granularity level (paper, supplement B)."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Int, UInt16

from click_gaussian_ns.masks.config import LevelRule, level_names_of
from click_gaussian_ns.masks.runs import paint_runs
from click_gaussian_ns.masks.segmenter import Segment
from click_gaussian_ns.types import UNASSIGNED, LevelMaps

MAX_SEGMENTS = np.iinfo(np.uint16).max
_NO_LEVEL = -1


def level_maps(segments: Sequence[Segment], rule: LevelRule, size: tuple[int, int]) -> LevelMaps:
    """Label maps of one image: the label of a pixel is 1 + the index of the segment that wins it.

    `area`: the largest standalone segment wins at the coarse level, the smallest at the fine one.
    `three-level-score` and `three-level-area`: among the segments of a level (whole, part, subpart), the one with
    the highest predicted IoU, or the smallest, wins. In every rule ties go to the higher predicted IoU, then to the
    higher stability, then to the segment listed first.

    Args:
        segments: all of the same size.
        rule: see above.
        size: (height, width) of the segments, px.

    Raises:
        ValueError: more segments than 16 bits can number, or a three-level rule over segments without levels.
    """
    names = level_names_of(rule)
    if len(segments) > MAX_SEGMENTS:
        raise ValueError(
            f"{len(segments)} segments in one image exceed the {MAX_SEGMENTS} that 16-bit label maps can number: "
            "raise the segmenter's thresholds"
        )
    area = np.array([segment.area for segment in segments], dtype=np.int64)
    iou = np.array([segment.predicted_iou for segment in segments], dtype=np.float64)
    # lexsort's last key counts most; a segment painted later wins, so "better" must sort upwards.
    better = [
        -np.arange(len(segments)),
        np.array([segment.stability for segment in segments], dtype=np.float64),
        iou,
    ]
    if rule == "area":
        standalone = np.array([segment.standalone for segment in segments], dtype=bool)
        orders = [np.lexsort([*better, area]), np.lexsort([*better, -area])]
        orders = [order[standalone[order]] for order in orders]
    else:
        if segments and all(segment.level is None for segment in segments):
            raise ValueError(
                f"the rule {rule} needs segments that know their level (whole, part, subpart), and these do not: "
                "use the generator sam or superpixels, or the rule area"
            )
        level = np.array([_NO_LEVEL if segment.level is None else segment.level for segment in segments])
        order = np.lexsort(better if rule == "three-level-score" else [*better, -area])
        orders = [order[level[order] == index] for index in range(len(names))]
    return LevelMaps(names, np.stack([_paint(segments, order, size) for order in orders]))


def _paint(
    segments: Sequence[Segment], order: Int[np.ndarray, "S"], size: tuple[int, int]
) -> UInt16[np.ndarray, "H W"]:
    """Paints segments over one another in the given order."""
    height, width = size
    columns = np.full(width * height, UNASSIGNED, dtype=np.uint16)
    for index in order:
        paint_runs(np.frombuffer(segments[index].rle["counts"], dtype=np.uint8), np.uint16(index + 1), columns)
    return np.ascontiguousarray(columns.reshape(width, height).T)


def resize_nearest(maps: UInt16[np.ndarray, "L h w"], size: tuple[int, int]) -> UInt16[np.ndarray, "L H W"]:
    """Label maps at another size, (height, width) in px; each pixel takes the label under its centre.

    Where the centre falls on the border of two pixels (to within W / 131072 of one, W px being the new side), either.
    """
    return np.stack([cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT) for labels in maps])
