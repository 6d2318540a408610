"""What every segmenter takes and gives: an image (and what the splat knows of the view) -> binary segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

WHOLE, PART, SUBPART = 0, 1, 2
"""Level indices of segmenters that know levels, coarse to fine."""


class Rle(TypedDict):
    """A binary mask in COCO's compressed run-length encoding (column by column)."""

    size: list[int]
    """[height, width]."""
    counts: bytes


@dataclass(frozen=True)
class Segment:
    """One binary segment of one image."""

    rle: Rle
    area: int
    """Pixels."""
    predicted_iou: float
    """The segmenter's own estimate of its quality; 1 where it has none."""
    stability: float
    """IoU of the masks at a lower and a higher cut-off; 1 where the segmenter has none."""
    level: int | None = None
    """WHOLE, PART or SUBPART where the segmenter knows it."""
    standalone: bool = True
    """Whether the segment belongs to the level-free set. A segmenter with levels removes duplicates once over all
    segments (the level-free set) and once per level; segments only of the latter are not standalone."""


@dataclass(frozen=True)
class ViewGuidance:
    """What a splat tells about one view, at any one resolution."""

    depth: Float[np.ndarray, "H W"]
    """Expected depth along the viewing axis, world units; meaningless where alpha is small."""
    alpha: Float[np.ndarray, "H W"]
    """Opacity in [0, 1]."""
    normals: Float[np.ndarray, "H W 3"]
    """Unit surface normals in one frame for the whole view (camera or world); zeros where unknown."""
    labels: Int[np.ndarray, "K H W"] | None = None
    """Label images of K nested partitions of the Gaussians, coarse to fine, the same IDs in all views; 0 = none."""


class GuidanceSource(Protocol):
    """Guidance for the training views, rendered when asked for."""

    def __call__(self, index: int) -> ViewGuidance: ...

    def fingerprint(self, index: int) -> str:
        """A digest of everything that guidance `index` is computed from; cheap."""
        ...


class Segmenter(Protocol):
    """Turns images into segments. Implementations are deterministic."""

    name: str
    uses_guidance: bool
    gives_levels: bool
    """Whether segments carry a level index."""

    def fingerprint(self) -> Mapping[str, Any]:
        """Every setting that results depend on (JSON values), weights included; names appear in the log."""
        ...

    def segment(self, image: UInt8[np.ndarray, "H W 3"], guidance: ViewGuidance | None) -> list[Segment]:
        """Segments of the image, at its size."""
        ...


def encode_masks(masks: Bool[np.ndarray, "N H W"]) -> list[Rle]:
    """Run-length encodings of binary masks."""
    from pycocotools import mask as coco

    columns = np.asfortranarray(np.moveaxis(masks, 0, -1).astype(np.uint8))
    encoded: Any = coco.encode(columns)
    return [Rle(size=[int(side) for side in rle["size"]], counts=rle["counts"]) for rle in encoded]


def decode_mask(rle: Rle) -> Bool[np.ndarray, "H W"]:
    """The binary mask of a run-length encoding."""
    from pycocotools import mask as coco

    return np.asarray(coco.decode(rle)).astype(bool)  # pyright: ignore[reportArgumentType]


def partition_segments(labels: Int[np.ndarray, "H W"], level: int | None) -> list[Segment]:
    """The segments of a label image (0 = none), by ascending label."""
    ids = np.unique(labels)
    segments: list[Segment] = []
    for label in ids[ids > 0]:
        mask = labels == label
        (rle,) = encode_masks(mask[None])
        segments.append(Segment(rle, int(mask.sum()), predicted_iou=1.0, stability=1.0, level=level))
    return segments
