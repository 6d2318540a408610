"""Settings of the mask stage: plain dataclasses whose docstrings become the command line's help."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

LevelRule = Literal["area", "three-level-score", "three-level-area"]
Engine = Literal["local", "ray"]


@dataclass
class AutomaticMaskConfig:
    """What SAM's and SAM 2's automatic mask generators have in common."""

    checkpoint: Path | None = None
    """Weights file. If it is left out, the official file is looked for in the cache folder of checkpoints
    (~/.cache/click-gaussian-ns/checkpoints, or $CLICK_GAUSSIAN_CHECKPOINTS)."""
    download: bool = True
    """Download the official weights where they are missing (by the generator `auto`: with a GPU only)."""
    points_per_side: int = 32
    """Points along one side of the prompt grid: its square is the number of prompts per image."""
    points_per_batch: int | None = None
    """Prompts decoded at once; by default as many as the free memory holds (results do not change)."""
    pred_iou_thresh: float = 0.88
    """Segments whose quality the model predicts below this are dropped, in [0, 1]."""
    stability_score_thresh: float = 0.95
    """Segments less stable than this are dropped: IoU of the masks at a raised and a lowered cut-off, in [0, 1]."""
    stability_score_offset: float = 1.0
    """How far the cut-off moves for the stability score, in logits."""
    box_nms_thresh: float = 0.7
    """Of two segments whose boxes overlap by more than this IoU, the better one stays."""
    crop_n_layers: int = 0
    """Layers of zoomed-in crops that are segmented too; layer i has (2^i)^2 crops."""
    crop_nms_thresh: float = 0.7
    """As box_nms_thresh, between segments of different crops."""
    crop_overlap_ratio: float = 512 / 1500
    """By how much of the image's length crops overlap."""
    crop_n_points_downscale_factor: int = 1
    """Points per side of crop layer i are divided by this factor to the power of i."""
    min_mask_region_area: int = 0
    """Holes and islands smaller than this many pixels are removed from every segment (0: none are)."""


@dataclass
class SamConfig(AutomaticMaskConfig):
    """Segment Anything (the `segment-anything` package)."""

    model: Literal["vit_h", "vit_l", "vit_b", "from-checkpoint"] = "vit_h"
    """Size of the image encoder; `from-checkpoint` builds whatever architecture the weights have."""


@dataclass
class Sam2Config(AutomaticMaskConfig):
    """Segment Anything 2.1 (the `sam2` package, extra `[sam2]`)."""

    model: Literal["large", "base_plus", "small", "tiny"] = "large"
    """Size of the Hiera image encoder."""
    pred_iou_thresh: float = 0.8
    """Segments whose quality the model predicts below this are dropped, in [0, 1]."""


@dataclass
class SuperpixelConfig:
    """The segmenter that needs no weights. Thresholds: thousandths of the image's side times squared difference."""

    fine: float = 12.0
    """Regions more alike than this unite at the fine level. A smaller value gives more and smaller segments."""
    middle: float = 40.0
    """As fine, for the middle one of three levels."""
    coarse: float = 90.0
    """As fine, for the coarse level."""
    max_side: int = 768
    """Longer side, in pixels, at which label images of a splat are rendered at most."""
    max_views: int = 120
    """Most views of a splat that are looked at to divide it, evenly chosen."""


@dataclass
class GeneratorConfigs:
    """The registry of generators: the name of a field is the generator's, its value are the generator's settings.

    The metadata says who segments: "module:Class" of a `Segmenter` that is made of (settings, device), imported when
    it is used.
    """

    sam: SamConfig = field(
        default_factory=SamConfig, metadata={"segmenter": "click_gaussian_ns.masks.sam:SamSegmenter"}
    )
    """Settings of the generator `sam`."""
    sam2: Sam2Config = field(
        default_factory=Sam2Config, metadata={"segmenter": "click_gaussian_ns.masks.sam2:Sam2Segmenter"}
    )
    """Settings of the generator `sam2`."""
    superpixels: SuperpixelConfig = field(
        default_factory=SuperpixelConfig,
        metadata={"segmenter": "click_gaussian_ns.masks.superpixels:SuperpixelSegmenter"},
    )
    """Settings of the generator `superpixels`."""


def segmenters(configs: type[GeneratorConfigs] = GeneratorConfigs) -> dict[str, str]:
    """The module and class of each generator's segmenter, as "module:Class"."""
    return {f.name: f.metadata["segmenter"] for f in fields(configs) if "segmenter" in f.metadata}


if TYPE_CHECKING:
    Generator = str
else:
    Generator = Literal[("auto", *segmenters(), "folder")]
"""What `mask_generator` can be."""


@dataclass
class MaskConfig(GeneratorConfigs):
    """How training images become label maps of two (or three) granularity levels."""

    mask_generator: Generator = "auto"
    """Where segments come from. auto: folder if a mask_dir is given, else sam if its weights are at hand or there is a
    GPU (they are downloaded once), else superpixels."""
    mask_dir: Path | None = None
    """Folder of ready-made masks, by the photos' names: label maps DIR/{coarse,fine}/NAME.png (16-bit, 0 = unassigned)
    or DIR/NAME.png, binary masks DIR/NAME/*.png, COCO masks DIR/NAME.json, arrays DIR/NAME.npy, .npz or .pt; or one
    COCO data set."""
    mask_levels: LevelRule = "area"
    """How segments become levels. area: coarse = the largest, fine = the smallest segment over a pixel;
    three-level-score and three-level-area: the model's own three levels (whole, part, subpart), where the best
    or the smallest segment wins a pixel."""
    max_side: int = 1600
    """Images with a longer side are segmented downscaled to it, in pixels."""
    mask_cache_dir: Path | None = None
    """Where segments are kept between runs (default: ~/.cache/click-gaussian-ns/masks)."""
    engine: Engine = "local"
    """Where photos are segmented. local: on this machine; ray: on a Ray cluster, its GPUs or CPUs (extra `[ray]`)."""
    resident_mb: int = 256
    """Memory for decoded label maps, MB. What does not fit is decoded again when it is needed."""


def level_names_of(rule: LevelRule) -> tuple[str, ...]:
    """Names of the levels that a rule makes, coarse to fine."""
    return ("coarse", "fine") if rule == "area" else ("coarse", "middle", "fine")


_MASKS_COMMAND = {"mask_generator": "generator", "mask_levels": "levels"}
"""Settings that `click-gaussian masks` calls otherwise."""


def flag(setting: str, value: object = "") -> str:
    """A setting of `MaskConfig` as both commands call it, for messages; `sam.checkpoint` is a setting of a setting."""
    ours, nerfstudios = (name.replace("_", "-") for name in (_MASKS_COMMAND.get(setting, setting), setting))
    given = f" {value}" if value else ""
    return f"--{ours}{given} (ns-train: --pipeline.datamanager.{nerfstudios}{given})"
