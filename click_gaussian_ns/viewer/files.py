"""What the click tool writes, all of it inside the run's folder: selections, the edit list, exported Gaussians."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Bool
from torch import Tensor

from click_gaussian_ns.edit.export import export_ply
from click_gaussian_ns.edit.formats import FORMATS, convert
from click_gaussian_ns.edit.operations import Edit
from click_gaussian_ns.edit.record import edits_path, read_edits, write_edits
from click_gaussian_ns.selection.pick import members, visible_gaussians
from click_gaussian_ns.selection.storage import (
    IDS_FILE,
    check_name,
    list_selections,
    read_selection,
    selection_dir,
    write_selection,
)
from click_gaussian_ns.types import Selection
from click_gaussian_ns.viewer.core import Outcome
from click_gaussian_ns.viewer.session import Session

WHAT = ("selection", "complement", "every object", "edited scene")
"""What can be exported."""


def exports_dir(run_dir: Path) -> Path:
    """Where the viewer exports to."""
    return run_dir / "exports"


def save(session: Session, name: str) -> str:
    """Save the selection under a new name, with a config for `ns-export`; returns what to tell the user.

    Raises:
        ValueError: a bad name, one that exists, nothing selected, copies among the selected, or a run without config.
    """
    check_name(name)
    run_dir, mask, work = session.host.run_dir, session.selected(), session.work
    if selection_dir(run_dir, name).exists():
        raise ValueError(f"{name!r} exists already: delete it first, or choose another name")
    if not bool(mask.any()):
        raise ValueError("nothing is selected, so there is nothing to save")
    num = session.num_base
    if bool(mask[num:].any()):
        raise ValueError(
            f"{int(mask[num:].sum()):,} of the selected Gaussians are copies, which only the edit list knows: export "
            "the selection instead"
        )
    selection = Selection(work.level, work.cluster_ids, mask[:num])
    try:
        folder = write_selection(run_dir, name, selection, {"made_in": "viewer"})
        session.host.write_export_config(folder / IDS_FILE)
    except (ValueError, OSError):
        shutil.rmtree(selection_dir(run_dir, name), ignore_errors=True)
        raise
    return f"saved {name!r}: {selection.num_selected:,} Gaussians"


def load(session: Session, name: str) -> Outcome:
    """Select what was saved.

    Raises:
        ValueError: a bad name, or none of that name.
    """
    found = read_selection(session.host.run_dir, name, session.num_base)
    return session.select_mask(found.mask, found.level, found.cluster_ids)


def delete(session: Session, name: str) -> str:
    """Delete a saved selection, with the pictures and the config beside it.

    Raises:
        ValueError: a bad name, or none of that name.
    """
    check_name(name)
    run_dir = session.host.run_dir
    if name not in list_selections(run_dir):
        raise ValueError(f"there is no saved selection {name!r}")
    shutil.rmtree(selection_dir(run_dir, name))
    return f"deleted {name!r}"


def export(session: Session, what: str, name: str, suffix: str = ".ply") -> list[Path]:
    """Write Gaussians of the edited scene, in the scene's frame, as `ns-export` does.

    Args:
        session: the tool.
        what: one of WHAT.
        name: file name without ending, or the folder's name for every object.
        suffix: one of edit/formats.py's FORMATS.

    Raises:
        ValueError: a bad name, one that exists, nothing to write, or a format whose library is not installed.
    """
    if suffix not in FORMATS:
        raise ValueError(f"{suffix!r} is no format to export: choose one of {', '.join(FORMATS)}")
    folder = exports_dir(session.host.run_dir)
    target = folder / (check_name(name) if what == "every object" else f"{check_name(name)}{suffix}")
    if target.exists():
        raise ValueError(f"{target.name!r} exists already: choose another name")
    scene, masks = session.scene, _masks(session, what, target, suffix)
    # written aside and renamed as a whole: a failure leaves no half of an export
    aside = folder / f".{target.name}.part"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        for path, chosen in masks.items():
            ply = (aside / path.name).with_suffix(".ply")
            export_ply(ply, scene.splats, chosen, "dataparser", session.host.to_dataparser)
            if suffix != ".ply":
                convert(ply, aside / path.name)
                ply.unlink()
        os.replace(aside if what == "every object" else aside / target.name, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return list(masks)


def _masks(session: Session, what: str, target: Path, suffix: str) -> dict[Path, Bool[Tensor, " M"]]:
    """Rows of the edited scene that each file gets."""
    scene, mask = session.scene, session.selected()
    if what == "every object":
        return _object_masks(session, target, suffix)
    if what == "complement":
        return {target: scene.alive & ~mask}
    if what == "edited scene":
        return {target: scene.alive}
    if not bool(mask.any()):
        raise ValueError("nothing is selected, so there is nothing to export")
    return {target: mask}


def _object_masks(session: Session, folder: Path, suffix: str) -> dict[Path, Bool[Tensor, " M"]]:
    level, scene = session.settings.level, session.scene
    labels = session.host.clusters[level].labels[scene.source_ids.long()]
    drawn = scene.alive & visible_gaussians(scene.splats.opacity_logits)
    masks = {}
    for cluster, _ in session.objects():
        mask = members(labels, [cluster]) & drawn
        if bool(mask.any()):
            masks[folder / f"{level}_{cluster:03d}{suffix}"] = mask
    if not masks:
        raise ValueError(f"the {level} level has no objects: compute the clusters first")
    return masks


class EditFile:
    """Keeps `<run>/edits.json` at the session's edit list."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._saved: Sequence[Edit] = ()

    def restore(self) -> str:
        """Take up the edits of an earlier session; returns what to tell the user ("" if there are none).

        A file that cannot be used is set aside, never overwritten.
        """
        path = edits_path(self._session.host.run_dir)
        if not path.is_file():
            return ""
        try:
            edits = read_edits(path, self._session.num_base)
            if edits:
                self._session.set_edits(edits)
        except ValueError as error:
            aside = path.with_name("edits.unusable.json")
            os.replace(path, aside)
            return f"{error}. It was renamed to {aside.name}"
        self._saved = self._session.work.edits
        return f"{len(edits)} edits of an earlier session are applied (Undo takes them back)" if edits else ""

    def update(self) -> None:
        """Write the list if it has changed."""
        edits = self._session.work.edits
        if edits is not self._saved and (len(edits) or len(self._saved)):
            write_edits(edits_path(self._session.host.run_dir), edits, self._session.num_base)
        self._saved = edits
