"""Public data sets in the layouts that their authors publish: LERF-Mask, SPIn-NeRF (multi-view segmentation), NVOS.

Their masks carry no granularity level, so the same objects are looked for at every level of the scene.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, UInt16
from PIL import Image, UnidentifiedImageError

from click_gaussian_ns.evaluate.label_maps import LabelMapTruth
from click_gaussian_ns.evaluate.truth import EvaluatedView, GroundTruth, LeftOut, Prompt, Task, fit_to_view, spread
from click_gaussian_ns.masks.photo_names import places_by_tail

logger = logging.getLogger(__name__)

DatasetName = Literal["label-maps", "lerf-mask", "spin-nerf", "nvos"]
_LERF_LAYOUT = "test_mask/<view>/<object>.png"
_SPIN_LAYOUT = "<photo>.png, black and white, beside <photo>_cutout.png and <photo>_pseudo.png"
_NVOS_LAYOUT = (
    "masks/<scene>/<photo>_mask.png, reference_image/<scene>/<photo>.JPG and scribbles/<scene>/{pos,neg}_*.png"
)
_MASKS_KEPT = 64


@dataclass(frozen=True)
class Scribbles:
    """Strokes on an object and beside it, in one view."""

    view: int
    inside: Path
    outside: Path


@dataclass(frozen=True)
class ShownObject:
    """An object of a data set of binary masks."""

    masks: Mapping[int, Path]
    """Its mask by the place of the view, in the data set's order."""
    scribbles: Scribbles | None = None
    """What is shown of it; None where that is its mask in the first view that has enough pixels of it."""


class BinaryMaskTruth:
    """Objects with a binary mask per view, each shown in one reference view."""

    labelled_views: tuple[int, ...] = ()

    def __init__(
        self,
        dataset: str,
        objects: Mapping[str, ShownObject],
        views: Sequence[EvaluatedView],
        level_names: Sequence[str],
        min_pixels: int,
        references: int,
        unknown: Sequence[Path] = (),
    ) -> None:
        """
        Args:
            dataset: its name.
            objects: by name.
            views: of the scene.
            level_names: levels at which each object is looked for.
            min_pixels: an object is left out of the views in which it has fewer.
            references: views that an object is shown in, one after the other.
            unknown: masks whose photos the run does not have.
        """
        self.dataset, self._objects, self._views = dataset, objects, views
        self._fitted = lru_cache(_MASKS_KEPT)(self._fit)
        scored, too_small, lost = {}, 0, []
        for name, shown in objects.items():
            sizes = {view: int(self._fitted(path, view).sum()) for view, path in shown.masks.items()}
            scored[name] = tuple(view for view, size in sizes.items() if size >= min_pixels)
            too_small += sum(0 < size < min_pixels for size in sizes.values())
            if not scored[name]:
                lost.append(name)
        self.left_out = LeftOut(
            {level: too_small for level in level_names},
            {level: tuple(lost) for level in level_names},
            tuple(path.name for path in unknown),
        )
        self.tasks = tuple(
            Task(level, name, reference, scored[name])
            for level in level_names
            for name, shown in objects.items()
            if scored[name]
            for reference in ([shown.scribbles.view] if shown.scribbles else spread(scored[name], references))
        )

    def prompt(self, task: Task) -> Prompt:
        """The object's mask in its reference view, or the scribbles there."""
        scribbles = self._objects[task.name].scribbles
        if scribbles is None:
            mask = self.mask(task, task.reference)
            return Prompt(mask, ~mask, is_mask=True)
        inside, outside = (self._fitted(path, task.reference) for path in (scribbles.inside, scribbles.outside))
        if not inside.any():
            raise ValueError(f"{scribbles.inside} has no stroke: download it again")
        return Prompt(inside, outside, is_mask=False)

    def mask(self, task: Task, view: int) -> Bool[np.ndarray, "H W"]:
        """The object's true mask in a view that has one."""
        return self._fitted(self._objects[task.name].masks[view], view)

    def label_map(self, level: str, view: int) -> UInt16[np.ndarray, "H W"]:
        """These data sets label single objects."""
        raise LookupError(f"{self.dataset} has no label map at the {level} level for view {view}")

    def _fit(self, path: Path, view: int) -> Bool[np.ndarray, "H W"]:
        return fit_to_view(read_binary_mask(path).astype(np.uint16), self._views[view], path) > 0


def read_binary_mask(path: Path) -> Bool[np.ndarray, "H W"]:
    """A black-and-white picture: inside is brighter than 128 of 255, or not 0 where the brightest value is 1.

    Raises:
        ValueError: missing or unreadable.
    """
    try:
        with Image.open(path) as image:
            values = np.asarray(image.convert("L"))
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as a mask ({error}): download it again") from error
    return values > (128 if values.max(initial=0) > 1 else 0)


def lerf_mask(
    folder: Path, views: Sequence[EvaluatedView], level_names: Sequence[str], min_pixels: int, references: int
) -> BinaryMaskTruth:
    """A scene of LERF-Mask (Gaussian Grouping): <scene>/test_mask/<view>/<object>.png.

    Folder k holds the masks of the photo test_k. An object is shown in the first view that has a mask of it with
    enough pixels; all its views count, that one too, as in the authors' script.
    """
    root = folder / "test_mask"
    folders = sorted((path for path in root.iterdir() if path.is_dir()), key=_natural) if root.is_dir() else []
    if not folders:
        raise ValueError(f"--ground-truth {folder} is no scene of LERF-Mask: expected {folder}/{_LERF_LAYOUT}")
    by_stem = _places(views)
    objects: dict[str, dict[int, Path]] = {}
    unknown: list[Path] = []
    for path in folders:
        view = by_stem.get(path.name, by_stem.get(f"test_{path.name}"))
        if view is None:
            unknown.append(path)
            continue
        for file in sorted(path.glob("*.png")):
            objects.setdefault(file.stem, {})[view] = file
    if len(unknown) == len(folders):
        raise ValueError(
            f"{unknown[0]} holds masks of a photo called {unknown[0].name} or test_{unknown[0].name}, but the run has "
            "neither: train on the photos that LERF-Mask brings along (its folder images)"
        )
    if not objects:
        raise ValueError(f"{root} holds no masks: expected {folder}/{_LERF_LAYOUT}")
    _say_unknown(unknown, len(folders))
    shown = {name: ShownObject(objects[name]) for name in sorted(objects)}
    return BinaryMaskTruth("lerf-mask", shown, views, level_names, min_pixels, references, unknown)


def spin_nerf(
    folder: Path, views: Sequence[EvaluatedView], level_names: Sequence[str], min_pixels: int, references: int
) -> BinaryMaskTruth:
    """A scene of SPIn-NeRF's multi-view segmentation data, e.g. "fern (llff)": one object, a mask per photo.

    A mask belongs to the photo of its name; image013 also to the photo at place 13 in the order of names; 0_name and
    1_name also to the photo "name". The object is shown in the first; all count, that one too (as SA3D does it).
    """
    files = [f for f in sorted(folder.glob("*.png")) if not f.stem.endswith(("_cutout", "_pseudo"))]
    if not files:
        raise ValueError(f"--ground-truth {folder} is no scene of SPIn-NeRF's masks: expected in it {_SPIN_LAYOUT}")
    by_stem = _places(views)
    in_order = sorted(range(len(views)), key=lambda place: views[place].stem)
    masks: dict[int, Path] = {}
    unknown: list[Path] = []
    for file in files:
        indexed, prefixed = re.fullmatch(r"image(\d+)", file.stem), re.fullmatch(r"[01]_(.+)", file.stem)
        if file.stem in by_stem:
            view = by_stem[file.stem]
        elif indexed and int(indexed[1]) < len(in_order):
            view = in_order[int(indexed[1])]
        elif prefixed and prefixed[1] in by_stem:
            view = by_stem[prefixed[1]]
        else:
            unknown.append(file)
            continue
        if view in masks:
            raise ValueError(f"{masks[view]} and {file} are both of the photo {views[view].name}: leave one of them")
        masks[view] = file
    if not masks:
        raise ValueError(
            f"{unknown[0]} belongs to none of the run's {len(views)} photos ({_first_and_last(by_stem)}): train on the "
            "original photos, under their original names"
        )
    _say_unknown(unknown, len(files))
    return BinaryMaskTruth(
        "spin-nerf", {folder.name: ShownObject(masks)}, views, level_names, min_pixels, references, unknown
    )


def _say_unknown(unknown: Sequence[Path], count: int) -> None:
    if unknown:
        names = ", ".join(path.name for path in unknown[:3])
        logger.warning(
            "%d of %d masks are of photos that the run does not have, and are left out: %s", len(unknown), count, names
        )


def nvos(
    folder: Path, views: Sequence[EvaluatedView], level_names: Sequence[str], min_pixels: int, references: int
) -> BinaryMaskTruth:
    """A scene of NVOS: `folder` is labels/llff/masks/<scene>; its scribbles and its reference photo lie beside masks/.

    The object is shown by scribbles in the reference photo, and its mask in the one target photo counts.
    """
    if references > 1:
        raise ValueError(f"--references {references}: NVOS shows its object by scribbles in one photo, leave it out")
    scene, root = folder.name, folder.parent.parent
    target = _only(sorted(folder.glob("*_mask.png")), folder / "<photo>_mask.png")
    photos = (path for path in (root / "reference_image" / scene).glob("*") if path.suffix.lower() in (".jpg", ".png"))
    reference = _only(sorted(photos), root / "reference_image" / scene / "<photo>.JPG")
    scribbles = root / "scribbles" / scene
    positive = _only(sorted(scribbles.glob("pos_*.png")), scribbles / "pos_*.png")
    negative = _only(sorted(scribbles.glob("neg_*.png")), scribbles / "neg_*.png")
    by_stem = _places(views)
    for stem in (reference.stem, target.stem.removesuffix("_mask")):
        if stem not in by_stem:
            raise ValueError(
                f"NVOS {scene} needs the photo {stem}, which the run does not have ({_first_and_last(by_stem)}): train "
                "on the original LLFF photos, under their original names"
            )
    shown = ShownObject(
        {by_stem[target.stem.removesuffix("_mask")]: target}, Scribbles(by_stem[reference.stem], positive, negative)
    )
    return BinaryMaskTruth("nvos", {scene: shown}, views, level_names, min_pixels, references)


_OPENERS: dict[DatasetName, Callable[[Path, Sequence[EvaluatedView], Sequence[str], int, int], GroundTruth]] = {
    "label-maps": LabelMapTruth,
    "lerf-mask": lerf_mask,
    "spin-nerf": spin_nerf,
    "nvos": nvos,
}


def open_ground_truth(
    dataset: DatasetName,
    folder: Path,
    views: Sequence[EvaluatedView],
    level_names: Sequence[str],
    min_pixels: int,
    references: int = 1,
) -> GroundTruth:
    """The ground truth of a scene; for the arguments see `BinaryMaskTruth`.

    Raises:
        ValueError: names what is missing or does not fit, and says what was expected.
    """
    return _OPENERS[dataset](folder, views, level_names, min_pixels, references)


def _places(views: Sequence[EvaluatedView]) -> dict[str, int]:
    stems = [view.stem for view in views]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise ValueError(f"two photos are called {twice}: masks go by the photo's name, so rename one of them")
    return places_by_tail(stems)


def _first_and_last(by_stem: Mapping[str, int]) -> str:
    stems = sorted(by_stem)
    return f"{stems[0]} ... {stems[-1]}" if stems else "none"


def _natural(path: Path) -> tuple[int, str]:
    return (int(path.name), "") if path.name.isdecimal() else (-1, path.name)


def _only(found: Sequence[Path], wanted: Path) -> Path:
    if len(found) != 1:
        raise ValueError(f"NVOS: expected one file {wanted}, found {len(found)}; the layout is {_NVOS_LAYOUT}")
    return found[0]
