"""Edit lists as JSON: saved with the run, replayed anywhere."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from click_gaussian_ns.edit.operations import EDITS, Edit
from click_gaussian_ns.files import write_renamed
from click_gaussian_ns.selection.packed import PackedMask

EDITS_FILE = "edits.json"
_FORMAT, _VERSION = "click-gaussian edits", 1
_LARGEST = 1e30
"""Numbers beyond it are no lengths of a scene, and may not fit a float."""


def edits_path(run_dir: Path) -> Path:
    """Where a run keeps its edit list."""
    return run_dir / EDITS_FILE


def write_edits(path: Path, edits: Sequence[Edit], num_gaussians: int) -> None:
    """Save an edit list for a scene of `num_gaussians`; written aside and renamed."""
    record = {
        "format": _FORMAT,
        "version": _VERSION,
        "num_gaussians": num_gaussians,
        "frame": "dataparser",
        "edits": [_to_json(edit) for edit in edits],
    }
    write_renamed(path, (json.dumps(record, indent=1) + "\n").encode())


def read_edits(path: Path, num_gaussians: int) -> tuple[Edit, ...]:
    """An edit list for a scene of `num_gaussians`.

    Raises:
        ValueError: the file is missing, is no edit list, or belongs to another scene.
    """
    try:
        record = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as an edit list ({error})") from error
    if not isinstance(record, dict) or record.get("format") != _FORMAT or not isinstance(record.get("edits"), list):
        raise ValueError(f'{path}: not an edit list: expected JSON with "format": "{_FORMAT}", as the viewer writes it')
    if record.get("version") != _VERSION:
        raise ValueError(f"{path}: version {record.get('version')} of the format, but this program reads {_VERSION}")
    if record.get("num_gaussians") != num_gaussians:
        raise ValueError(
            f"{path}: for a scene of {record.get('num_gaussians')} Gaussians, but this run has {num_gaussians}: it "
            "belongs to another run"
        )
    edits = []
    for place, entry in enumerate(record["edits"], start=1):
        try:
            edits.append(_from_json(entry))
        except ValueError as error:
            raise ValueError(f"{path}: edit {place}: {error}") from error
    return tuple(edits)


def _to_json(edit: Edit) -> dict[str, Any]:
    values = {field.name: getattr(edit, field.name) for field in dataclasses.fields(edit)}
    return {"kind": edit.kind, **values, "gaussians": edit.gaussians.to_json()}


def _from_json(entry: Any) -> Edit:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("kind"), str) or entry["kind"] not in EDITS:
        raise ValueError(f"unknown kind; expected one of {', '.join(EDITS)}")
    made = EDITS[entry["kind"]]
    values: dict[str, Any] = {}
    for field in dataclasses.fields(made):
        if field.name not in entry:
            raise ValueError(f"{entry['kind']} lacks {field.name!r}")
        value = entry[field.name]
        if field.name == "gaussians":
            values["gaussians"] = PackedMask.from_json(value if isinstance(value, Mapping) else {})
            continue
        size = {"rotation": 4, "strength": 0, "scale": 0}.get(field.name, 3)
        numbers = value if isinstance(value, list) else [value]
        if isinstance(value, list) != bool(size) or len(numbers) != (size or 1) or not all(map(_is_number, numbers)):
            raise ValueError(f"{field.name} of {entry['kind']} must be {size or 1} number(s), got {value!r:.60}")
        values[field.name] = tuple(map(float, numbers)) if size else float(numbers[0])
    return made(**values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST
