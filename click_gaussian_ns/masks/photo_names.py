"""What photos are called: their path below the folder that holds them all, as `cam0/000.png`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath


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
