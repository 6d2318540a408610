"""What every segmenter takes and gives: an image (and what the splat knows of the view) -> binary segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int, UInt8

from click_gaussian_ns.masks.config import SuperpixelConfig

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
    """What a splat tells about one view."""

    labels: Int[np.ndarray, "3 H W"]
    """Three nested partitions of the Gaussians as this view sees them, coarse to fine, at any resolution; IDs are the
    same in all views, 0 = no Gaussian is seen."""


@runtime_checkable
class GuidanceSource(Protocol):
    """Guidance for the training views, rendered when asked for."""

    def prepare(self, config: SuperpixelConfig) -> None:
        """Does what is needed before the first view, to these settings; may show a progress bar of its own."""
        ...

    def __call__(self, index: int) -> ViewGuidance: ...

    def fingerprint(self, index: int) -> str:
        """A digest of everything that guidance `index` is computed from; cheap."""
        ...


@runtime_checkable
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
        """Segments of the image, all of one size: the image's, or a smaller one of the same proportions."""
        ...


def encode_masks(masks: Bool[np.ndarray, "N H W"]) -> list[Rle]:
    """Run-length encodings of binary masks."""
    return _encode(np.asfortranarray(np.moveaxis(masks, 0, -1).astype(np.uint8)))


def _encode(columns: UInt8[np.ndarray, "H W N"]) -> list[Rle]:
    """Of masks in Fortran order."""
    from pycocotools import mask as coco

    encoded: Any = coco.encode(columns)
    return [Rle(size=[int(side) for side in rle["size"]], counts=rle["counts"]) for rle in encoded]


def decode_mask(rle: Rle) -> Bool[np.ndarray, "H W"]:
    """The binary mask of a run-length encoding."""
    from pycocotools import mask as coco

    return np.asarray(coco.decode(rle)).astype(bool)  # pyright: ignore[reportArgumentType]


def partition_segments(labels: Int[np.ndarray, "H W"], level: int | None, *, standalone: bool = True) -> list[Segment]:
    """The segments of a label image (0 = none), by ascending label."""
    from scipy.ndimage import find_objects

    ids, dense = np.unique(labels, return_inverse=True)
    dense = dense.reshape(labels.shape) + (0 if ids[0] == 0 else 1)
    segments: list[Segment] = []
    mask = np.zeros(labels.shape, dtype=np.uint8, order="F")
    for number, box in enumerate(find_objects(dense), start=1):
        inside = dense[box] == number
        mask[box] = inside
        (rle,) = _encode(mask[..., None])
        mask[box] = 0
        segments.append(Segment(rle, int(inside.sum()), 1.0, 1.0, level=level, standalone=standalone))
    return segments
