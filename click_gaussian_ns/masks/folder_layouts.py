"""How tools lay out masks on disk: one table. A layout finds a photo's files by its names, and reads them as levels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import UInt16

from click_gaussian_ns.masks.coco_files import CocoDataSet, read_coco_json, read_json
from click_gaussian_ns.masks.config import LevelRule, level_names_of
from click_gaussian_ns.masks.levels import level_maps
from click_gaussian_ns.masks.mask_files import (
    label_stack,
    oriented,
    read_array,
    read_binary_masks,
    read_label_map,
    segments_of,
)
from click_gaussian_ns.masks.photo_names import places_by_tail, without_ending
from click_gaussian_ns.masks.segmenter import Segment

Maps = Sequence[UInt16[np.ndarray, "H W"]]
"""One per level, coarse to fine; they may differ in size."""
_STACKS = (".npy", ".npz", ".pt", "_s.npy")


class Layout(ABC):
    """Of one folder (or, of a data set, its file)."""

    expected: ClassVar[str]
    """In words, for messages."""
    note = ""
    """What the user should know; empty if nothing."""

    def __init__(self, folder: Path, rule: LevelRule) -> None:
        self.folder = folder
        self.rule: LevelRule = rule
        self.levels = level_names_of(rule)

    @abstractmethod
    def find(self, names: Sequence[str]) -> Any | None:
        """What there is of a photo, to be read; None if nothing.

        Args:
            names: of the photo, the best first, each without its ending and with it: with its folders, and without.
        """

    @abstractmethod
    def read(self, found: Any, size: tuple[int, int]) -> Maps:
        """Label maps of a photo of `size` (height, width), px.

        Raises:
            ValueError: names the file that is damaged or of another kind.
        """

    def check(self, found: Sequence[Any | None]) -> None:  # noqa: B027 (most layouts have nothing to check)
        """
        Raises:
            ValueError: what was found of all photos cannot be meant.
        """

    def first(self, names: Sequence[str], endings: Sequence[str], below: str = "") -> Path | None:
        cases = [case for ending in endings for case in (ending, ending.upper())]
        paths = (self.folder / below / f"{name}{ending}" for name in names for ending in cases)
        return next((path for path in paths if path.is_file()), None)

    def levelled(self, origin: Path, segments: Sequence[Segment], size: tuple[int, int]) -> Maps:
        """Overlapping segments as levels; where there are none, nothing is assigned."""
        height, width = segments[0].rle["size"] if segments else size
        for number, segment in enumerate(segments):
            if segment.rle["size"] != [height, width]:
                raise ValueError(
                    f"{origin}: mask {number} is {segment.rle['size'][1]}x{segment.rle['size'][0]} px, "
                    f"but mask 0 is {width}x{height} px: all masks of a photo must have one size"
                )
        try:
            return list(level_maps(segments, self.rule, (height, width)).maps)
        except ValueError as error:
            raise ValueError(f"{origin}: {error}") from error


class LevelFolders(Layout):
    """Ours, and that of the ground truth."""

    expected: ClassVar[str] = "label maps {coarse,fine}/NAME.png"

    def __init__(self, folder: Path, rule: LevelRule) -> None:
        super().__init__(folder, rule)
        self._there = [level for level in self.levels if (folder / level).is_dir()]
        if len(self._there) == 1:
            self.note = f"only {self._there[0]}/ is there: its label maps serve all levels"

    def find(self, names: Sequence[str]) -> dict[str, Path] | None:
        found = {level: self.first(names, (".png",), level) for level in self._there}
        return {level: path for level, path in found.items() if path is not None} or None

    def check(self, found: Sequence[Any | None]) -> None:
        for level in self._there:
            if not any(entry is not None and level in entry for entry in found):
                raise ValueError(
                    f"{self.folder / level} holds no label map NAME.png of any photo, and another level's folder does: "
                    "put them there as PNGs, or remove the folder"
                )

    def read(self, found: dict[str, Path], size: tuple[int, int]) -> Maps:
        if 1 < len(self._there) < len(self.levels):
            lacking = next(level for level in self.levels if level not in self._there)
            raise ValueError(f"{self.folder / lacking} is missing: expected label maps of {', '.join(self.levels)}")
        maps = {level: read_label_map(path) for level, path in found.items()}
        if len(self._there) == 1:
            return list(maps.values()) * len(self.levels)
        return [maps.get(level, np.zeros(size, np.uint16)) for level in self.levels]


class FlatMaps(Layout):
    """Gaussian Grouping's object_mask, and anything that numbers things."""

    expected: ClassVar[str] = "label maps NAME.png"

    def find(self, names: Sequence[str]) -> Path | None:
        return self.first(names, (".png",))

    def read(self, found: Path, size: tuple[int, int]) -> Maps:
        return [read_label_map(found)] * len(self.levels)


class BinaryFolders(Layout):
    """SAM's amg.py."""

    expected: ClassVar[str] = "binary masks NAME/*.png"

    def find(self, names: Sequence[str]) -> Path | None:
        paths = (self.folder / name for name in names)
        levels = ("coarse", "middle", "fine")
        return next((path for path in paths if path.name not in levels and any(path.glob("*.png"))), None)

    def read(self, found: Path, size: tuple[int, int]) -> Maps:
        return self.levelled(found, read_binary_masks(found), size)


class JsonFiles(Layout):
    """SAM's amg.py, SA-1B, LabelMe."""

    expected: ClassVar[str] = "COCO masks NAME.json"

    def find(self, names: Sequence[str]) -> Path | None:
        return self.first(names, (".json",))

    def read(self, found: Path, size: tuple[int, int]) -> Maps:
        return self.levelled(found, read_coco_json(found, size), size)


class Stacks(Layout):
    """SAGA's sam_masks, LangSplat's language_features, and other arrays."""

    expected: ClassVar[str] = "arrays NAME.npy, .npz or .pt"

    def find(self, names: Sequence[str]) -> Path | None:
        return self.first(names, _STACKS)

    def read(self, found: Path, size: tuple[int, int]) -> Maps:
        array = oriented(found, read_array(found), size)
        maps = label_stack(found, array, len(self.levels))
        return self.levelled(found, segments_of(array > 0), size) if maps is None else maps


class DataSet(Layout):
    """One file for all photos, as label tools export it."""

    expected: ClassVar[str] = "one COCO data set *.json"

    def __init__(self, folder: Path, rule: LevelRule) -> None:
        super().__init__(folder, rule)
        self._sets = [CocoDataSet(path) for path in self._files() if CocoDataSet.is_one(read_json(path))]
        images = [(data, image) for data in self._sets for image in data.images]
        # ends of names that several images share say nothing
        self._places: dict[str, tuple[CocoDataSet, str]] = {}
        for called in ([without_ending(image) for _, image in images], [image for _, image in images]):
            self._places |= {tail: images[place] for tail, place in places_by_tail(called).items()}

    def _files(self) -> list[Path]:
        if self.folder.is_file():
            return [self.folder]
        files = sorted(self.folder.glob("*.json"))
        # more are a file per photo
        return files if len(files) <= _MOST_SETS else []

    def find(self, names: Sequence[str]) -> tuple[CocoDataSet, str] | None:
        return next((self._places[name] for name in names if name in self._places), None)

    def read(self, found: tuple[CocoDataSet, str], size: tuple[int, int]) -> Maps:
        data, image = found
        return self.levelled(data.path, data.segments(image, size), size)


_MOST_SETS = 3
LAYOUTS: tuple[type[Layout], ...] = (LevelFolders, FlatMaps, BinaryFolders, JsonFiles, Stacks, DataSet)
"""Of two that have as many photos the first is taken."""
EXPECTED = ", ".join(layout.expected for layout in LAYOUTS[:-1]) + f", or {LAYOUTS[-1].expected}"
