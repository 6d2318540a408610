"""COCO's annotations, of one photo or of a whole data set: run lengths, compressed or not, and polygons."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from click_gaussian_ns.files import one_line
from click_gaussian_ns.masks.runs import paint_runs
from click_gaussian_ns.masks.segmenter import PART, SUBPART, WHOLE, Rle, Segment

logger = logging.getLogger(__name__)

_CIRCLE_CORNERS = 64
_EXPECTED = (
    'expected COCO masks: [{"segmentation": {"size": [H, W], "counts": ...}, ...}, ...] or {"annotations": [...]}, or '
    'polygons: [{"segmentation": [[x, y, x, y, ...]], ...}, ...]'
)
_MAX_PIXELS = 2**28
_BEYOND = 1.05
"""Of a photo's sides: polygons may be drawn a little over the edge."""
_FEWEST_COORDINATES = 6
"""Of a polygon."""


def read_coco_json(path: Path, size: tuple[int, int]) -> list[Segment]:
    """A photo's file: a list of annotations, or an object with `annotations` (SA-1B), or LabelMe's `shapes`.

    Args:
        path: the file.
        size: (height, width) of the photo, px: of polygons, where the file does not say.

    Raises:
        ValueError: it is none, or an annotation is damaged.
    """
    content = read_json(path)
    if isinstance(content, dict) and "shapes" in content:
        size = _size_of(content, ("imageHeight", "imageWidth"), size)
        with _refused(path):
            content = _from_labelme(path, content["shapes"])
    elif isinstance(content, dict):
        size = _size_of(content.get("image"), ("height", "width"), size)
    annotations = content.get("annotations") if isinstance(content, dict) else content
    return segments_of_annotations(path, annotations, size)


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """What goes wrong in content of another shape, as one line."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(
            f"{path} is not a list of COCO masks ({type(error).__name__}: {one_line(error)}): {_EXPECTED}"
        ) from error


def read_json(path: Path) -> Any:
    """
    Raises:
        ValueError: it is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is not a list of COCO masks ({type(error).__name__}: {error}): {_EXPECTED}"
        ) from error


def segments_of_annotations(path: Path, annotations: Any, size: tuple[int, int]) -> list[Segment]:
    """
    Args:
        path: the file that they are from, for errors.
        annotations: as read.
        size: (height, width) of the photo, px.

    Raises:
        ValueError: they are no list, or one is damaged.
    """
    if not isinstance(annotations, list):
        raise ValueError(f"{path} is not a list of COCO masks ({type(annotations).__name__}): {_EXPECTED}")
    with _refused(path):
        found = [_from_annotation(annotation, size) for annotation in annotations]
    return [segment for segment in found if segment is not None]


class CocoDataSet:
    """One file with the annotations of all photos, as label tools export it."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            ValueError: it is no such file.
        """
        self.path = path
        content = read_json(path)
        try:
            self.images: dict[str, tuple[int, int]] = {}
            by_id: dict[Any, str] = {}
            for image in content["images"]:
                name = str(image["file_name"]).replace("\\", "/").removeprefix("./")
                if image["id"] in by_id or name in self.images:
                    raise ValueError(f"the image {name} or its id {image['id']} is there twice")
                by_id[image["id"]] = name
                self.images[name] = _size_of(image, ("height", "width"), (0, 0))
            self._annotations: dict[str, list[Any]] = {name: [] for name in self.images}
            for annotation in content["annotations"]:
                self._annotations[by_id[annotation["image_id"]]].append(annotation)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{path} is no COCO data set ({type(error).__name__}: {one_line(error)}): expected `images` with `id` "
                "and `file_name`, and `annotations` with `image_id` and `segmentation`"
            ) from error

    @staticmethod
    def is_one(content: Any) -> bool:
        """Whether JSON is of such a file."""
        return isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" in content

    def segments(self, name: str, size: tuple[int, int]) -> list[Segment]:
        """Of a photo, by its name in the file; `size` is that of the photo where the file does not say."""
        own = self.images[name]
        return segments_of_annotations(self.path, self._annotations[name], own if all(own) else size)


def _size_of(values: Any, keys: Sequence[str], default: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(values, dict) or any(not isinstance(values.get(key), (int, float)) for key in keys):
        return default
    height, width = (int(values[key]) for key in keys)
    return (height, width) if height > 0 and width > 0 else default


def _from_labelme(path: Path, shapes: Iterable[Any]) -> dict[str, Any]:
    annotations, passed_over = [], []
    for shape in shapes:
        points = [[float(value) for value in point] for point in shape["points"]]
        kind = shape.get("shape_type", "polygon")
        if kind == "circle":
            (x, y), edge = points
            turn = np.linspace(0, 2 * np.pi, _CIRCLE_CORNERS, endpoint=False)
            radius = np.hypot(edge[0] - x, edge[1] - y)
            points = np.stack([x + radius * np.cos(turn), y + radius * np.sin(turn)], axis=1).tolist()
        elif kind not in ("polygon", "rectangle"):
            passed_over.append(str(kind))
            continue
        if kind == "rectangle":
            (left, top), (right, bottom) = points
            points = [[left, top], [right, top], [right, bottom], [left, bottom]]
        annotations.append({"segmentation": [[value for point in points for value in point]]})
    if passed_over:
        logger.warning(
            "%s: %d shapes are passed over, of kinds that have no area or are not read: %s",
            path,
            len(passed_over),
            ", ".join(sorted(set(passed_over))),
        )
    return {"annotations": annotations}


def _from_annotation(annotation: dict[str, Any], size: tuple[int, int]) -> Segment | None:
    from pycocotools import mask as coco

    found = annotation["segmentation"]
    compressed = _polygons(found, size) if isinstance(found, list) else _run_lengths(found)
    if compressed is None:
        return None
    level = annotation.get("level")
    if level not in (None, WHOLE, PART, SUBPART):
        raise ValueError(f"level {level} is none of 0 (whole), 1 (part), 2 (subpart)")
    return Segment(
        compressed,
        int(coco.area(compressed)),  # pyright: ignore[reportArgumentType]
        predicted_iou=float(annotation.get("predicted_iou", 1.0)),
        stability=float(annotation.get("stability_score", 1.0)),
        level=None if level is None else int(level),
    )


def _run_lengths(rle: dict[str, Any]) -> Rle:
    from pycocotools import mask as coco

    height, width = (int(side) for side in rle["size"])
    if not 0 < height * width <= _MAX_PIXELS:
        raise ValueError(f"a mask of {width}x{height} px")
    if isinstance(rle["counts"], list):
        uncompressed: Any = rle
        rle = coco.frPyObjects(uncompressed, height, width)
    counts = rle["counts"].encode("ascii") if isinstance(rle["counts"], str) else rle["counts"]
    # COCO's own decoder reads past the end where the runs are too few.
    covered = paint_runs(np.frombuffer(counts, dtype=np.uint8), np.uint16(1), np.empty(height * width, np.uint16))
    if covered != height * width:
        raise ValueError(f"its runs are garbled or do not cover the {width}x{height} pixels")
    return Rle(size=[height, width], counts=counts)


def _polygons(polygons: Sequence[Any], size: tuple[int, int]) -> Rle | None:
    from pycocotools import mask as coco

    height, width = size
    if not 0 < height * width <= _MAX_PIXELS:
        raise ValueError(f"polygons of a photo of {width}x{height} px")
    kept = []
    for polygon in polygons:
        points = np.asarray(polygon, dtype=np.float64)
        if points.ndim != 1 or len(points) % 2 or not np.isfinite(points).all():
            raise ValueError("a polygon that is no list of x, y, x, y, ...")
        corners = points.reshape(-1, 2)
        if (corners.max(axis=0, initial=0) > (_BEYOND * width + 2, _BEYOND * height + 2)).any():
            raise ValueError(
                f"a polygon that leaves the {width}x{height} px of its photo: say the size that it is drawn at"
            )
        if len(points) >= _FEWEST_COORDINATES:
            # COCO's code walks every pixel of an edge, however far outside
            kept.append(points.reshape(-1, 2).clip([-1, -1], [width + 1, height + 1]).ravel().tolist())
    if not kept:
        return None
    merged: Any = coco.merge(coco.frPyObjects(kept, height, width))
    return Rle(size=[height, width], counts=merged["counts"])
