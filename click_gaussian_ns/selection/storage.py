"""Selections on disk: `<run>/selections/<name>/` with the Gaussian IDs, and a readable account of what was clicked."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from click_gaussian_ns.files import read_npy, write_renamed, written_aside
from click_gaussian_ns.types import Selection

IDS_FILE = "selection.npy"
ACCOUNT_FILE = "selection.json"
_MAX_BYTES = 120
"""Of a name in UTF-8: file systems take 255, and files are named after it with more."""
_MARKS = "._- ()"
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
"""Devices of Windows, with any ending."""


def check_name(name: str) -> str:
    """The name as it is stored (Unicode's composed form), if it is safe as a folder's name on every system.

    Raises:
        ValueError: it is not made of letters, digits, spaces and ._-() of any script, has none of the first two at its
            beginning, ends with a space or dot, is too long, or is a device's name.
    """
    made = unicodedata.normalize("NFC", name)
    kinds = [unicodedata.category(character)[0] for character in made]
    # L and N: letters and digits; M: what is put on them, in scripts that have no composed form
    allowed = all(kind in "LNM" or character in _MARKS for character, kind in zip(made, kinds))
    too_long = len(made.encode("utf8", "replace")) > _MAX_BYTES
    device = made.partition(".")[0].strip().lower() in _RESERVED
    if not kinds or kinds[0] not in "LN" or not allowed or made.endswith((" ", ".")) or too_long or device:
        shown = name if len(name) <= 40 else name[:40] + "..."
        raise ValueError(
            f"{shown!r} cannot name a selection: use letters, digits, spaces or ._-() that begin with a letter or "
            f"digit and end with neither space nor dot, {_MAX_BYTES} bytes at most, no device name (con, nul, com1)"
        )
    return made


def selections_dir(run_dir: Path) -> Path:
    """Where a run keeps its selections."""
    return run_dir / "selections"


def selection_dir(run_dir: Path, name: str) -> Path:
    """Folder of one selection; the name is checked."""
    return selections_dir(run_dir) / check_name(name)


def list_selections(run_dir: Path) -> list[str]:
    """Names of the saved selections, sorted."""
    folder = selections_dir(run_dir)
    return sorted(path.parent.name for path in folder.glob(f"*/{IDS_FILE}")) if folder.is_dir() else []


def write_selection(run_dir: Path, name: str, selection: Selection, account: Mapping[str, Any]) -> Path:
    """Save a selection; returns its folder. Files are written aside and renamed, so none is ever half there."""
    folder = selection_dir(run_dir, name)
    ids = np.flatnonzero(selection.mask.cpu().numpy()).astype(np.int32)
    with written_aside(folder / IDS_FILE) as temporary, temporary.open("wb") as file:
        np.save(file, ids)
    record = {
        "name": folder.name,
        "level": selection.level,
        "cluster_ids": list(selection.cluster_ids),
        "num_selected": int(ids.shape[0]),
        "num_gaussians": int(selection.mask.shape[0]),
        **account,
    }
    write_renamed(folder / ACCOUNT_FILE, (json.dumps(record, indent=2) + "\n").encode())
    return folder


def read_selection(run_dir: Path, name: str, num_gaussians: int) -> Selection:
    """A saved selection of this run.

    Raises:
        ValueError: there is none of that name, or it belongs to another scene.
    """
    folder = selection_dir(run_dir, name)
    if not (folder / IDS_FILE).is_file():
        known = ", ".join(list_selections(run_dir)) or "none"
        raise ValueError(f"{folder} holds no selection. Saved in this run: {known}")
    mask = read_selection_mask(folder / IDS_FILE, num_gaussians)
    try:
        record = json.loads((folder / ACCOUNT_FILE).read_text())
        return Selection(str(record["level"]), tuple(int(i) for i in record["cluster_ids"]), mask)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{folder / ACCOUNT_FILE}: not a saved selection's account ({error}): save it again"
        ) from error


def read_selection_mask(path: Path, num_gaussians: int) -> Bool[Tensor, " N"]:
    """Gaussian IDs of a selection file as a mask.

    Raises:
        ValueError: the file is missing, is no array of IDs, or its IDs exceed the scene.
    """
    ids = read_npy(path, "Expected a .npy of Gaussian IDs")
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{path}: expected a one-dimensional array of Gaussian IDs, got {ids.dtype} {ids.shape}")
    if ids.size and (ids.min() < 0 or ids.max() >= num_gaussians):
        raise ValueError(
            f"{path}: selects Gaussian {int(ids.max())} but the scene has {num_gaussians}: it belongs to another run"
        )
    mask = torch.zeros(num_gaussians, dtype=torch.bool)
    mask[torch.from_numpy(ids.astype(np.int64))] = True
    return mask
