"""What people say about objects: names, and which are switched off or locked. Kept with the run, no part of undo."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from click_gaussian_ns.files import write_renamed
from click_gaussian_ns.selection.storage import check_name

OBJECTS_FILE = "objects.json"
ObjectKey = tuple[str, int]
"""Level and cluster."""
_FORMAT, _VERSION = "click-gaussian objects", 1
_LONGEST_NAME = 60
_ANCHORS = 64
"""Gaussians that stand for an object, by which it is found again among other clusters."""
_WORDS = {"coarse": "Object", "fine": "Part"}


@dataclass(frozen=True)
class ObjectBook:
    """Immutable: every change is another book."""

    names: Mapping[ObjectKey, str] = field(default_factory=dict)
    hidden: frozenset[ObjectKey] = frozenset()
    locked: frozenset[ObjectKey] = frozenset()

    @property
    def noted(self) -> frozenset[ObjectKey]:
        """Objects that it says anything about."""
        return self.hidden | self.locked | frozenset(self.names)

    def name(self, level: str, cluster: int) -> str:
        """As given, or a number."""
        return self.names.get((level, cluster), f"{_WORDS.get(level, level)} {cluster}")

    def file_stem(self, level: str, cluster: int) -> str:
        """The object's file is named after it; names that no file may have, or that two objects share, are numbers."""
        name = self.names.get((level, cluster))
        shared = sum(other == name for (of, _), other in self.names.items() if of == level) > 1
        try:
            return f"{level}_{cluster:03d}" if name is None or shared else check_name(name)
        except ValueError:
            return f"{level}_{cluster:03d}"

    def renamed(self, key: ObjectKey, name: str) -> ObjectBook:
        """Another name, in any language; an empty one gives the number back.

        Raises:
            ValueError: it is too long or cannot be shown.
        """
        made = " ".join(name.split())
        if len(made) > _LONGEST_NAME or not made.isprintable():
            raise ValueError(
                f"a name has at most {_LONGEST_NAME} characters, all of which can be shown: choose another"
            )
        kept = {other: known for other, known in self.names.items() if other != key}
        return replace(self, names=kept | ({key: made} if made else {}))

    def switched(self, key: ObjectKey, show: bool) -> ObjectBook:
        return replace(self, hidden=self.hidden - {key} if show else self.hidden | {key})

    def secured(self, key: ObjectKey, lock: bool) -> ObjectBook:
        return replace(self, locked=self.locked | {key} if lock else self.locked - {key})

    def moved(self, to: Mapping[ObjectKey, ObjectKey]) -> ObjectBook:
        """The book after the objects got other numbers; what is not in `to` is forgotten."""
        return ObjectBook(
            {to[key]: name for key, name in self.names.items() if key in to},
            frozenset(to[key] for key in self.hidden if key in to),
            frozenset(to[key] for key in self.locked if key in to),
        )


def anchors(labels: Int[Tensor, " N"], cluster: int) -> list[int]:
    """A few Gaussians of a cluster, spread evenly over its rows."""
    rows = (labels == cluster).nonzero()[:, 0]
    return rows[torch.linspace(0, max(len(rows) - 1, 0), min(len(rows), _ANCHORS)).round().long()].tolist()


def found_again(labels: Int[Tensor, " N"], rows: list[int]) -> int | None:
    """The cluster that most of these Gaussians are in now."""
    now = labels[torch.tensor(rows, dtype=torch.int64, device=labels.device)]
    counts = torch.bincount(now[now >= 0].long())
    if not len(counts) or 2 * int(counts.max()) <= len(rows):
        return None
    return int(counts.argmax())


def write_book(path: Path, book: ObjectBook, labels: Mapping[str, Int[Tensor, " N"]]) -> None:
    """Save it; written aside and renamed."""
    entries = [
        {
            "level": level,
            "name": book.names.get((level, cluster), ""),
            "hidden": (level, cluster) in book.hidden,
            "locked": (level, cluster) in book.locked,
            "gaussians": anchors(labels[level], cluster),
        }
        for level, cluster in sorted(book.noted)
    ]
    record = {"format": _FORMAT, "version": _VERSION, "objects": entries}
    write_renamed(path, (json.dumps(record, ensure_ascii=False) + "\n").encode())


def read_book(path: Path, labels: Mapping[str, Int[Tensor, " N"]]) -> ObjectBook:
    """A saved book, for the clusters as they are now.

    Raises:
        ValueError: it is not one.
    """
    book = ObjectBook()
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
        if (record["format"], record["version"]) != (_FORMAT, _VERSION):
            raise ValueError(f"{record['format']!r}, version {record['version']!r}")
        for entry in record["objects"]:
            level, rows = str(entry["level"]), [int(row) for row in entry["gaussians"]]
            now = labels.get(level)
            if now is None or not rows or not 0 <= min(rows) <= max(rows) < len(now):
                continue
            cluster = found_again(now, rows)
            if cluster is not None:
                key = (level, cluster)
                book = book.renamed(key, str(entry["name"]))
                book = book.switched(key, not entry["hidden"]).secured(key, bool(entry["locked"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a list of objects as the viewer writes it ({error})") from error
    return book
