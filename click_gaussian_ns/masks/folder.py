"""Ready-made masks of any tool: which layout a folder has, and whether its masks fit the photos."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from click_gaussian_ns.masks.config import LevelRule, level_names_of
from click_gaussian_ns.masks.folder_layouts import EXPECTED, LAYOUTS, Layout
from click_gaussian_ns.masks.images import same_proportions
from click_gaussian_ns.masks.levels import resize_nearest
from click_gaussian_ns.masks.photo_names import photo_names, places_by_tail, without_ending
from click_gaussian_ns.types import LevelMaps

logger = logging.getLogger(__name__)

_LISTED = 3


@dataclass(frozen=True)
class MaskFolder:
    """A folder of masks for the given views, known to fit them."""

    names: tuple[str, ...]
    decode: Callable[[int], LevelMaps]
    """Label maps of a view, as large as it."""
    num_segments: list[int | None]
    """Segments of each view that win a pixel, at the level that has most of them; None where there are no masks."""


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
        folder: in one of the LAYOUTS, told by what it holds; or a COCO data set's file. Masks go by the photo's path
            below the folder that holds all photos, or by its file name alone where that is enough, without the ending
            or with it.
        image_paths: photos of the views.
        sizes: (height, width) of the training views, px.
        photo_sizes: (height, width) of the photos, px. A mask must have their proportions, or the training view's.
        rule: how overlapping segments become levels; label maps have their levels already.
        advance: called once for every view that was checked.

    Raises:
        ValueError: names the file that does not fit, and says what was expected.
    """
    names = photo_names(image_paths)
    check_names(folder, names)
    called = _callings(names)
    layout, found = _choose(folder, rule, called, names)
    levels = level_names_of(rule)

    def decode(index: int) -> LevelMaps:
        if found[index] is None:
            return LevelMaps(levels, np.zeros((len(levels), *sizes[index]), np.uint16))
        maps = layout.read(found[index], photo_sizes[index])
        for labels in maps:
            own = (labels.shape[0], labels.shape[1])
            if not any(same_proportions(own, size) for size in (photo_sizes[index], sizes[index])):
                height, width = photo_sizes[index]
                raise ValueError(
                    f"the masks of {names[index]} in {folder} are {own[1]}x{own[0]} px: expected "
                    f"{width}x{height} px, or another size of these proportions; make the masks from these photos"
                )
        fitted = [
            labels if labels.shape == sizes[index] else resize_nearest(labels[None], sizes[index])[0] for labels in maps
        ]
        return LevelMaps(levels, np.stack(fitted))

    num_segments: list[int | None] = []
    for index in range(len(names)):
        maps = decode(index).maps
        count = max(int(np.count_nonzero(np.bincount(labels.ravel())[1:])) for labels in maps)
        num_segments.append(None if found[index] is None else count)
        advance()
    if not any(num_segments):
        raise ValueError(f"{folder} holds no segment for any of the {len(names)} photos: all masks are empty")
    _report(folder, layout, names, found)
    return MaskFolder(levels, decode, num_segments)


def check_names(folder: Path, names: Sequence[str]) -> None:
    """
    Args:
        folder: of the masks, for the error.
        names: of photos, see `photo_names`.

    Raises:
        ValueError: two photos differ in their endings alone, so that one's masks would stand for the other's too.
    """
    counts = Counter(without_ending(name) for name in names)
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        raise ValueError(f"two photos are called {twice}: masks in {folder} go by name, so rename one of the photos")


def _callings(names: Sequence[str]) -> list[list[str]]:
    """All ways to call each photo, the longest first; without ending and with it."""
    found: list[list[str]] = [[] for _ in names]
    for wanted in ([without_ending(name) for name in names], list(names)):
        for tail, place in places_by_tail(wanted).items():
            found[place].append(tail)
            if wanted[place] == names[place]:
                # tools write the ending of a photo in small letters
                stem = tail[: len(tail) - len(Path(tail).suffix)]
                found[place].append(stem + Path(tail).suffix.lower())
    return [sorted(called, key=lambda tail: -tail.count("/")) for called in found]


def _choose(
    folder: Path, rule: LevelRule, called: Sequence[Sequence[str]], names: Sequence[str]
) -> tuple[Layout, list[Any | None]]:
    """The layout that most photos have masks in, and what there is of each photo."""
    if not folder.exists():
        raise ValueError(f"the mask folder {folder} does not exist: expected {EXPECTED}")
    best: tuple[Layout, list[Any | None]] | None = None
    most = 0
    for make in LAYOUTS:
        if make is LAYOUTS[-1] and best is not None:
            break  # files of a whole scene, which are read to see what they are: only where nothing else fits
        layout = make(folder, rule)
        found = [layout.find(ways) for ways in called]
        count = sum(entry is not None for entry in found)
        if count > most:
            best, most = (layout, found), count
    if best is None:
        raise ValueError(_nothing_fits(folder, names))
    best[0].check(best[1])
    return best


def _nothing_fits(folder: Path, names: Sequence[str]) -> str:
    """What is in the folder, and what was expected."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()] if folder.is_dir() else [folder]
    if not files:
        return f"{folder} holds no masks: expected {EXPECTED}, for {names[0]} and the other photos"
    stems = {without_ending(name) for name in names} | {without_ending(name).rpartition("/")[2] for name in names}
    if any(path.suffix.lower() in (".jpg", ".jpeg") and path.stem in stems for path in files):
        return (
            f"{folder} holds masks as JPEG ({files[0].name}, ...), which blurs segment IDs: export them as PNG, in one "
            f"of these layouts: {EXPECTED}"
        )
    kinds = Counter(path.suffix.lower() or "no ending" for path in files)
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(_LISTED))
    examples = ", ".join(str(path.relative_to(folder)) for path in files[:_LISTED]) if folder.is_dir() else folder.name
    return (
        f"{folder} holds masks of other images, or of another layout ({told}: {examples}, ...), none of {names[0]} and "
        f"the other {len(names) - 1} photos: expected {EXPECTED}, where NAME is the photo's"
    )


def _report(folder: Path, layout: Layout, names: Sequence[str], found: Sequence[Any | None]) -> None:
    if layout.note:
        logger.warning("%s: %s", folder, layout.note)
    missing = [name for name, entry in zip(names, found) if entry is None]
    levels = [len(entry) if isinstance(entry, dict) else 0 for entry in found]
    partial = [name for name, count in zip(names, levels) if 0 < count < max(levels)]
    for lacking, what, effect in (
        (missing, "masks", "these views teach nothing"),
        (partial, "masks of a level", "these views teach nothing at that level"),
    ):
        if lacking:
            listed = ", ".join(lacking[:_LISTED]) + (" ..." if len(lacking) > _LISTED else "")
            logger.warning(
                "%s: %s of %d of %d photos are missing (%s): %s", folder, what, len(lacking), len(names), listed, effect
            )
