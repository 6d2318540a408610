"""Ready-made masks of any tool: label maps, binary masks, or COCO run-length masks, checked before use."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt16
from PIL import Image, UnidentifiedImageError

from click_gaussian_ns.masks.config import LevelRule, level_names_of
from click_gaussian_ns.masks.levels import level_maps
from click_gaussian_ns.masks.runs import paint_runs
from click_gaussian_ns.masks.segmenter import PART, SUBPART, WHOLE, Rle, Segment, encode_masks
from click_gaussian_ns.types import LevelMaps

Layout = Literal["label-maps", "binary-masks", "coco-json"]
_LAYOUTS = "DIR/{coarse,fine}/STEM.png label maps, DIR/STEM/*.png binary masks, or DIR/STEM.json COCO masks"
_LABEL_MODES = ("I;16", "I;16L", "I;16B", "I", "L", "P")


@dataclass(frozen=True)
class MaskFolder:
    """A folder of masks for the given views, known to fit them."""

    names: tuple[str, ...]
    decode: Callable[[int], LevelMaps]
    """Label maps of a view, as large as its photo or its training view."""
    num_segments: list[int]
    """Segments of each view that win a pixel, at the level that has most of them."""


def open_mask_folder(
    folder: Path,
    image_paths: Sequence[Path],
    sizes: Sequence[tuple[int, int]],
    photo_sizes: Sequence[tuple[int, int]],
    rule: LevelRule,
    advance: Callable[[], None] = lambda: None,
) -> MaskFolder:
    """Opens a folder of masks and checks every file of it that the views need.

    Args:
        folder: one of three layouts, told by what it holds: label maps `{coarse,fine}/<stem>.png` (16-bit, with
            `middle` for the three-level rules), binary masks `<stem>/*.png` (zero and non-zero, one file a segment),
            or COCO run-length masks `<stem>.json` (a list of annotations, or an object with `annotations`).
        image_paths: photos of the views; the stems name the mask files.
        sizes: (height, width) of the training views, px.
        photo_sizes: (height, width) of the photos, px. A mask must be as large as the one or the other.
        rule: how overlapping segments become levels; label maps have their levels already.
        advance: called once for every view that was checked.

    Raises:
        ValueError: names the file that is missing or does not fit, and says what was expected.
    """
    layout = _tell_layout(folder, image_paths)
    check_names(folder, image_paths)
    names = level_names_of(rule)
    reader = {
        "label-maps": lambda stem: _read_label_maps(folder, stem, names),
        "binary-masks": lambda stem: _levels_of(folder / stem, _read_binary_masks, rule),
        "coco-json": lambda stem: _levels_of(folder / f"{stem}.json", _read_coco_json, rule),
    }[layout]

    def decode(index: int) -> LevelMaps:
        maps = reader(image_paths[index].stem)
        return maps if maps.maps.size else LevelMaps(names, np.zeros((len(names), *sizes[index]), np.uint16))

    num_segments: list[int] = []
    for index, path in enumerate(image_paths):
        maps = decode(index).maps
        if maps.shape[1:] not in (tuple(sizes[index]), tuple(photo_sizes[index])):
            (height, width), (photo_height, photo_width) = sizes[index], photo_sizes[index]
            expected = f"{photo_width}x{photo_height} px, as {path}"
            if (height, width) != (photo_height, photo_width):
                expected += f", or {width}x{height} px, as its training view"
            raise ValueError(
                f"the masks of {path.stem} in {folder} are {maps.shape[2]}x{maps.shape[1]} px: expected {expected}; "
                "make the masks from these photos"
            )
        num_segments.append(max(int(np.count_nonzero(np.bincount(labels.ravel())[1:])) for labels in maps))
        advance()
    if not any(num_segments):
        raise ValueError(f"{folder} holds no segment for any of the {len(image_paths)} photos: all masks are empty")
    return MaskFolder(names, decode, num_segments)


def check_names(folder: Path, image_paths: Sequence[Path]) -> None:
    """
    Raises:
        ValueError: two photos have one stem, so that one's masks would stand for the other's too.
    """
    stems = [path.stem for path in image_paths]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise ValueError(f"two photos are called {twice}: masks in {folder} go by name, so rename one of the photos")


def _tell_layout(folder: Path, image_paths: Sequence[Path]) -> Layout:
    if not folder.is_dir():
        raise ValueError(f"the mask folder {folder} does not exist: expected {_LAYOUTS}")
    stems = {path.stem for path in image_paths}
    layouts: list[tuple[Layout, set[str]]] = [
        ("label-maps", {path.stem for path in folder.glob("coarse/*.png")}),
        ("binary-masks", {path.name for path in folder.iterdir() if path.is_dir()} - {"coarse", "middle", "fine"}),
        ("coco-json", {path.stem for path in folder.glob("*.json")}),
    ]
    for layout, found in layouts:
        if found & stems:
            return layout
    _, found = max(layouts, key=lambda entry: len(entry[1]))
    first = image_paths[0].name
    if found:
        raise ValueError(
            f"{folder} holds masks of other images ({', '.join(sorted(found)[:3])}, ...), none of "
            f"{first} and the other {len(image_paths) - 1} photos: masks go by the photo's name without its extension"
        )
    raise ValueError(f"{folder} holds no masks: expected {_LAYOUTS}, for {first} and the other photos")


def _read_label_maps(folder: Path, stem: str, names: tuple[str, ...]) -> LevelMaps:
    maps = [read_label_map(folder / name / f"{stem}.png") for name in names]
    for name, labels in zip(names[1:], maps[1:]):
        if labels.shape != maps[0].shape:
            raise ValueError(
                f"{folder / name / f'{stem}.png'} is {labels.shape[1]}x{labels.shape[0]} px, but the coarse map of "
                f"the same photo is {maps[0].shape[1]}x{maps[0].shape[0]} px: all levels must have one size"
            )
    return LevelMaps(names, np.stack(maps))


def read_label_map(path: Path) -> UInt16[np.ndarray, "H W"]:
    """A label map: greyscale (or indexed) PNG of 16 or 8 bits, 0 = unassigned.

    Raises:
        ValueError: missing, unreadable, or of another pixel format.
    """
    image = _open_mask(path)
    if image.mode not in _LABEL_MODES:
        raise ValueError(
            f"{path} has {image.mode} pixels: expected a greyscale PNG of 16 bits whose values are segment IDs "
            "(0 = unassigned); a coloured picture of segments cannot be used"
        )
    labels = np.asarray(image)
    if labels.dtype.itemsize > 2 and labels.max(initial=0) > np.iinfo(np.uint16).max:
        raise ValueError(f"{path} has segment IDs above 65535: renumber them")
    return labels.astype(np.uint16)


def _open_mask(path: Path) -> Image.Image:
    if not path.is_file():
        raise ValueError(f"{path} is missing: every training photo needs its masks ({_LAYOUTS})")
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}): export the mask again") from error


def _levels_of(origin: Path, read: Callable[[Path], list[Segment]], rule: LevelRule) -> LevelMaps:
    """Label maps of overlapping segments; of size 0 where a file holds no segment, and so no size."""
    segments = read(origin)
    height, width = segments[0].rle["size"] if segments else (0, 0)
    for number, segment in enumerate(segments):
        if segment.rle["size"] != [height, width]:
            raise ValueError(
                f"{origin}: mask {number} is {segment.rle['size'][1]}x{segment.rle['size'][0]} px, "
                f"but mask 0 is {width}x{height} px: all masks of a photo must have one size"
            )
    try:
        return level_maps(segments, rule, (height, width))
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from error


def _read_binary_masks(folder: Path) -> list[Segment]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is missing: every training photo needs its folder of binary masks")
    segments: list[Segment] = []
    for path in sorted(folder.glob("*.png")):
        image = _open_mask(path)
        if image.mode not in ("1", "L", "P", "I;16", "I"):
            raise ValueError(f"{path} has {image.mode} pixels: expected a black-and-white mask (0 = outside)")
        mask = np.asarray(image) > 0
        (rle,) = encode_masks(mask[None])
        segments.append(Segment(rle, int(mask.sum()), predicted_iou=1.0, stability=1.0))
    return segments


def _read_coco_json(path: Path) -> list[Segment]:
    if not path.is_file():
        raise ValueError(f"{path} is missing: every training photo needs its file of COCO run-length masks")
    try:
        content = json.loads(path.read_bytes())
        annotations = content["annotations"] if isinstance(content, dict) else content
        return [_from_annotation(annotation) for annotation in annotations]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{path} is not a list of COCO run-length masks ({type(error).__name__}: {error}): expected "
            '[{"segmentation": {"size": [H, W], "counts": ...}, ...}, ...] or {"annotations": [...]}'
        ) from error


def _from_annotation(annotation: dict[str, Any]) -> Segment:
    from pycocotools import mask as coco

    rle = annotation["segmentation"]
    height, width = (int(side) for side in rle["size"])
    if isinstance(rle["counts"], list):
        rle = coco.frPyObjects(rle, height, width)
    counts = rle["counts"].encode("ascii") if isinstance(rle["counts"], str) else rle["counts"]
    compressed = Rle(size=[height, width], counts=counts)
    # COCO's own decoder reads past the end where the runs are too few.
    covered = paint_runs(np.frombuffer(counts, dtype=np.uint8), np.uint16(1), np.empty(height * width, np.uint16))
    if covered != height * width:
        raise ValueError(f"its runs are garbled or do not cover the {width}x{height} pixels")
    area = int(coco.area(compressed))  # pyright: ignore[reportArgumentType]
    level = annotation.get("level")
    if level not in (None, WHOLE, PART, SUBPART):
        raise ValueError(f"level {level} is none of 0 (whole), 1 (part), 2 (subpart)")
    return Segment(
        compressed,
        area,
        predicted_iou=float(annotation.get("predicted_iou", 1.0)),
        stability=float(annotation.get("stability_score", 1.0)),
        level=None if level is None else int(level),
    )
