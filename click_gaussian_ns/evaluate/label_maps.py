"""Ground truth that labels every pixel: DIR/{coarse,fine}/<photo stem>.png and DIR/labels.json."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt16

from click_gaussian_ns.evaluate.truth import EvaluatedView, LeftOut, Prompt, Task, fit_to_view, spread
from click_gaussian_ns.masks.mask_files import read_label_map
from click_gaussian_ns.masks.photo_names import places_by_tail
from click_gaussian_ns.types import UNASSIGNED

_LAYOUT = "DIR/{coarse,fine}/<photo stem>.png (16 bits, 0 = background, the same IDs in all photos) and DIR/labels.json"
_MAPS_KEPT = 4


class LabelMapTruth:
    """Objects are shown in the training view where they are largest, and looked for in the test views."""

    dataset = "label-maps"

    def __init__(
        self,
        folder: Path,
        views: Sequence[EvaluatedView],
        level_names: Sequence[str],
        min_pixels: int,
        references: int,
    ) -> None:
        """
        Args:
            folder: see the module's docstring. All test photos need their maps; of the training photos some suffice.
            views: of the scene, training and test.
            level_names: levels that the scene has; those that have a folder are evaluated.
            min_pixels: an object is left out of the views in which it has fewer.
            references: training views that an object is shown in, one after the other; one: where it is largest.

        Raises:
            ValueError: names the file that is missing or does not fit, and says what was expected.
        """
        self._folder, self._views = folder, views
        self._read = lru_cache(_MAPS_KEPT)(self._read_map)
        short = places_by_tail([view.stem for view in views])
        self._alone = {place for tail, place in short.items() if "/" not in tail}
        self._names = _read_names(folder, level_names)
        self.labelled_views = tuple(i for i, view in enumerate(views) if view.split == "test")
        if not self.labelled_views:
            raise ValueError("the run has no test photos: train with a split that holds some back for testing")
        for name in self._names:
            for index in self.labelled_views:
                if not self._path(name, index).is_file():
                    raise ValueError(
                        f"{self._path(name, index)} is missing: every test photo needs its map ({_LAYOUT})"
                    )
        tasks, too_small, lost = [], {}, {}
        for level in self._names:
            tasks_of_level, too_small[level], lost[level] = self._tasks(level, min_pixels, references)
            tasks += tasks_of_level
        self.tasks = tuple(tasks)
        self.left_out = LeftOut(too_small, lost)

    def prompt(self, task: Task) -> Prompt:
        """The object's mask in its reference view."""
        mask = self.mask(task, task.reference)
        return Prompt(mask, ~mask, is_mask=True)

    def mask(self, task: Task, view: int) -> Bool[np.ndarray, "H W"]:
        """The object's true mask in a view."""
        label = next(label for label, name in self._names[task.level].items() if name == task.name)
        return self.label_map(task.level, view) == label

    def label_map(self, level: str, view: int) -> UInt16[np.ndarray, "H W"]:
        """True labels of a view, 0 = background."""
        return self._read(level, view)

    def _tasks(self, level: str, min_pixels: int, num_references: int) -> tuple[list[Task], int, tuple[str, ...]]:
        names = self._names[level]
        sizes = {
            index: self._sizes(level, index) for index in range(len(self._views)) if self._path(level, index).is_file()
        }
        tasks, too_small, lost = [], 0, []
        for label, name in names.items():
            references = [i for i in sizes if self._views[i].split == "train" and sizes[i][label] >= min_pixels]
            scored = tuple(i for i in self.labelled_views if sizes[i][label] >= min_pixels)
            too_small += sum(0 < int(sizes[i][label]) < min_pixels for i in self.labelled_views)
            if references and scored:
                largest = [max(references, key=lambda i: sizes[i][label])]
                shown = largest if num_references == 1 else spread(references, num_references)
                tasks += [Task(level, name, reference, scored) for reference in shown]
            else:
                lost.append(name)
        return tasks, too_small, tuple(lost)

    def _sizes(self, level: str, view: int) -> np.ndarray:
        """Pixels of each label."""
        labels = self.label_map(level, view)
        unknown = set(np.unique(labels).tolist()) - set(self._names[level]) - {UNASSIGNED}
        if unknown:
            raise ValueError(
                f"{self._path(level, view)} has the label {min(unknown)}, which {self._folder / 'labels.json'} does "
                f"not name at the {level} level: name every label but 0"
            )
        return np.bincount(labels.ravel(), minlength=max(self._names[level], default=0) + 1)

    def _path(self, level: str, view: int) -> Path:
        """A photo's map: by its whole name, or by the file's alone where the truth has no folders."""
        whole = self._folder / level / f"{self._views[view].stem}.png"
        return whole if whole.is_file() or view not in self._alone else self._folder / level / whole.name

    def _read_map(self, level: str, view: int) -> UInt16[np.ndarray, "H W"]:
        path = self._path(level, view)
        return fit_to_view(read_label_map(path), self._views[view], path)


def _read_names(folder: Path, level_names: Sequence[str]) -> dict[str, dict[int, str]]:
    """Per level that is to be evaluated: the name of each label."""
    if not folder.is_dir():
        raise ValueError(f"--ground-truth {folder}: no such folder; expected {_LAYOUT}")
    levels = [name for name in level_names if (folder / name).is_dir()]
    if not levels:
        raise ValueError(
            f"--ground-truth {folder} has none of the folders {', '.join(level_names)}: expected {_LAYOUT}; for a "
            "public data set say which with --dataset"
        )
    file = folder / "labels.json"
    try:
        content = json.loads(file.read_bytes())
        found = {level: {int(label): str(name) for label, name in content[level].items()} for level in levels}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} does not name the labels of {' and '.join(levels)} ({type(error).__name__}: {error}): expected "
            '{"coarse": {"1": "cup", ...}, "fine": {"1": "cup/handle", ...}}'
        ) from error
    for level, names in found.items():
        twice = next((name for name, count in Counter(names.values()).items() if count > 1), None)
        if twice is not None:
            raise ValueError(f"{file} names two labels of the {level} level {twice!r}: give each a name of its own")
        if UNASSIGNED in names:
            raise ValueError(f"{file} names label 0 of the {level} level: 0 is background, name every label but that")
    return found
