"""What photos are called: their path below the folder that holds them all, as `cam0/000.png`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

PHOTO_ENDINGS = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}
"""In lower case."""


def photo_names(paths: Sequence[Path]) -> list[str]:
    """Names of photos, unique, with endings; `/` parts folders on every system.

    Args:
        paths: of all photos of a scene, or of those that belong together.
    """
    whole = [Path(os.path.abspath(path)) for path in paths]
    if not whole:
        return []
    root = os.path.commonpath([path.parent for path in whole])
    return [path.relative_to(root).as_posix() for path in whole]


def without_ending(name: str) -> str:
    """A photo's name without its file ending: files made of it are called so."""
    return str(PurePosixPath(name).with_suffix(""))


def places_by_tail(names: Sequence[str]) -> dict[str, int]:
    """Every way to call a photo that means one alone: its name, or the end of it without folders, as `000.png`.

    Returns:
        Places among the names. A whole name comes before another's end; what several photos are called is left out.
    """
    tails: dict[str, set[int]] = {}
    for place, name in enumerate(names):
        parts = name.split("/")
        for start in range(len(parts)):
            tails.setdefault("/".join(parts[start:]), set()).add(place)
    alone = {tail: next(iter(places)) for tail, places in tails.items() if len(places) == 1}
    counts = Counter(names)
    return alone | {name: place for place, name in enumerate(names) if counts[name] == 1}
