"""What the click tool writes, all of it inside the run's folder: selections, the edit list, exported Gaussians."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from pathlib import Path

from jaxtyping import Bool
from torch import Tensor

from click_gaussian_ns.edit.export import export_ply
from click_gaussian_ns.edit.formats import FORMATS, convert
from click_gaussian_ns.edit.operations import Edit
from click_gaussian_ns.edit.record import edits_path, read_edits, write_edits
from click_gaussian_ns.files import folder_aside
from click_gaussian_ns.selection.pick import members, visible_gaussians
from click_gaussian_ns.selection.storage import (
    IDS_FILE,
    check_name,
    list_selections,
    read_selection,
    selection_dir,
    write_selection,
)
from click_gaussian_ns.types import Selection, Splats
from click_gaussian_ns.viewer.book import OBJECTS_FILE, ObjectBook, read_book, write_book
from click_gaussian_ns.viewer.core import Outcome
from click_gaussian_ns.viewer.session import Session

WHAT = ("selection", "complement", "every object", "edited scene")
"""What can be exported."""
_WRITING = threading.Lock()
"""From the question whether a name is free until it is taken: callbacks of two clicks overlap."""


def exports_dir(run_dir: Path) -> Path:
    """Where the viewer exports to."""
    return run_dir / "exports"


def save(session: Session, name: str) -> str:
    """Save the selection under a new name, with a config for `ns-export`; returns what to tell the user.

    Raises:
        ValueError: a bad name, one that exists, nothing selected, copies among the selected, or a run without config.
    """
    check_name(name)
    session.settle()
    with _WRITING:
        return _save(session, name)


def _save(session: Session, name: str) -> str:
    run_dir = session.host.run_dir
    with session.lock:
        mask, work, num = session.selected(), session.work, session.num_base
    if selection_dir(run_dir, name).exists():
        raise ValueError(f"{name!r} exists already: delete it first, or choose another name")
    if not bool(mask.any()):
        raise ValueError("nothing is selected, so there is nothing to save")
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
    session.settle()
    with _WRITING:
        return _export(session, what, target, suffix)


def _export(session: Session, what: str, target: Path, suffix: str) -> list[Path]:
    if target.exists():
        raise ValueError(f"{target.name!r} exists already: choose another name")
    with session.lock:
        scene, masks = session.scene, _masks(session, what, target, suffix)
    # written aside and renamed as a whole: a failure leaves no half of an export
    with folder_aside(target) as aside:
        folder = aside / target.name if what == "every object" else aside
        folder.mkdir(exist_ok=True)
        for path, chosen in masks.items():
            ply = (folder / path.name).with_suffix(".ply")
            export_ply(ply, scene.splats, chosen, "dataparser", session.host.to_dataparser)
            if suffix != ".ply":
                convert(ply, folder / path.name)
                ply.unlink()
        os.replace(aside / target.name, target)
    return list(masks)


def _masks(session: Session, what: str, target: Path, suffix: str) -> dict[Path, Bool[Tensor, " M"]]:
    """Rows of the edited scene that each file gets."""
    mask = session.selected()
    if what == "every object":
        return _object_masks(session, target, suffix)
    if what == "complement":
        return {target: session.switched_on() & ~mask}
    if what == "edited scene":
        return {target: session.switched_on()}
    if not bool(mask.any()):
        raise ValueError("nothing is selected, so there is nothing to export")
    return {target: mask}


def _object_masks(session: Session, folder: Path, suffix: str) -> dict[Path, Bool[Tensor, " M"]]:
    level, scene, book = session.settings.level, session.scene, session.settings.book
    labels = session.host.clusters[level].labels[scene.source_ids.long()]
    drawn = session.switched_on() & visible_gaussians(scene.splats.opacity_logits)
    masks = {}
    for cluster, _ in session.objects():
        mask = members(labels, [cluster]) & drawn
        if bool(mask.any()):
            masks[folder / f"{book.file_stem(level, cluster)}{suffix}"] = mask
    if not masks:
        raise ValueError(f"the {level} level has no objects: compute the clusters first")
    return masks


class EditFile:
    """Keeps `<run>/edits.json` at the session's edit list. Any thread may call it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        """Held from reading the list until it is written, so that the newest list is written last."""
        self._base: Splats | None = None
        """The trained scene whose edits the file was asked for."""
        self._saved: tuple[Edit, ...] = ()

    def restore(self) -> str:
        """Take up the edits of an earlier session; returns what to tell the user ("" if there are none).

        A file that cannot be used is set aside, never overwritten.

        Raises:
            ValueError: there is no geometry yet. The file stays for the next `restore` or `update`.
        """
        with self._lock:
            return self._restore()

    def update(self) -> str:
        """Write the list if it has changed; returns what to tell the user ("" if there is nothing to tell).

        If the trained scene is new, the session has begun anew: what the file holds is taken up, not overwritten.
        """
        with self._lock:
            base, edits = self._session.base_and_edits
            told = ""
            if base is not self._base:
                told = self._restore()
                base, edits = self._session.base_and_edits
            if base is self._base and edits is not self._saved and (edits or self._saved):
                write_edits(edits_path(self._session.host.run_dir), edits, base.num_gaussians)
                self._saved = edits
            return told

    def _restore(self) -> str:
        base, _ = self._session.base_and_edits
        path = edits_path(self._session.host.run_dir)
        edits, told = (), ""
        if path.is_file():
            try:
                edits = read_edits(path, base.num_gaussians)
                if edits:
                    self._session.take_up(edits)
                    told = f"{len(edits)} edits of an earlier session are applied (Undo takes them back, one by one)"
            except ValueError as error:
                edits, aside = (), _free_name(path.with_name("edits.unusable.json"))
                os.replace(path, aside)
                told = f"{error}. It was renamed to {aside.name}"
        self._base, self._saved = base, edits
        return told


class BookFile:
    """Keeps `<run>/objects.json` at what the session says of its objects. Any thread may call it."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._saved: ObjectBook | None = None
        """None: the file has not been looked for yet."""

    def restore(self) -> str:
        """Take up an earlier session's names once there are clusters; returns what to tell ("" if nothing).

        A file that cannot be used is set aside, never overwritten.
        """
        with self._lock:
            return self._restore() if self._saved is None and self._session.has_clusters else ""

    def update(self) -> str:
        """Write the book if it has changed; returns what to tell the user ("" if there is nothing to tell)."""
        told = self.restore()
        with self._lock, self._session.lock:
            book = self._session.settings.book
            if self._saved is not None and book != self._saved:
                write_book(self._path, book, self._labels())
                self._saved = book
        return told

    @property
    def _path(self) -> Path:
        return self._session.host.run_dir / OBJECTS_FILE

    def _labels(self) -> dict[str, Tensor]:
        return {name: found.labels for name, found in self._session.host.clusters.items()}

    def _restore(self) -> str:
        told, book = "", self._session.settings.book
        if self._path.is_file():
            try:
                book = read_book(self._path, self._labels())
                self._session.change(book=book)
            except ValueError as error:
                aside = _free_name(self._path.with_name("objects.unusable.json"))
                os.replace(self._path, aside)
                told = f"{error}. It was renamed to {aside.name}"
        self._saved = book
        return told


def _free_name(path: Path) -> Path:
    """This path, or the first of `stem.2.suffix`, `stem.3.suffix` ... that does not exist."""
    names = (path if i == 1 else path.with_name(f"{path.stem}.{i}{path.suffix}") for i in itertools.count(1))
    return next(name for name in names if not name.exists())
