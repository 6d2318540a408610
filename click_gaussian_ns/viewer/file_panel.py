"""The part of the panel that saves selections and exports Gaussians."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import viser

from click_gaussian_ns.edit.formats import FORMATS
from click_gaussian_ns.selection.storage import list_selections
from click_gaussian_ns.viewer import files
from click_gaussian_ns.viewer.core import Outcome
from click_gaussian_ns.viewer.session import Session
from click_gaussian_ns.viewer.widgets import Feedback

_NONE = "(none saved)"


class FilePanel:
    """Names are checked by files.py; what is refused is said in the panel."""

    def __init__(self, server: viser.ViserServer, session: Session, feedback: Feedback) -> None:
        self._session, self._feedback = session, feedback
        gui, on = server.gui, feedback.on
        with gui.add_folder("Save and export", expand_by_default=False):
            self._name = gui.add_text("Name", "", hint="For the selection to save.")
            gui.add_button("Save selection").on_click(on(self._save))
            self._saved = gui.add_dropdown("Saved", self._names())
            gui.add_button("Load").on_click(on(self._load))
            gui.add_button("Delete saved").on_click(self._ask_to_delete)
            self._what = gui.add_dropdown("What", files.WHAT, files.WHAT[0])
            self._format = gui.add_dropdown("Format", FORMATS, FORMATS[0], hint="All but .ply round what they keep.")
            self._file_name = gui.add_text("File name", "", hint="Without an ending.")
            gui.add_button("Export file", hint="To the run's folder exports/.").on_click(on(self._export))
            gui.add_button("Download file").on_click(self._download)

    def _names(self) -> list[str]:
        return list_selections(self._session.host.run_dir) or [_NONE]

    def _save(self) -> str:
        told = files.save(self._session, self._name.value)
        self._saved.options = self._names()
        self._saved.value = self._name.value
        return told

    def _load(self) -> Outcome:
        return files.load(self._session, self._chosen())

    def _delete(self) -> str:
        told = files.delete(self._session, self._chosen())
        self._saved.options = self._names()
        return told

    def _ask_to_delete(self, event: viser.GuiEvent) -> None:
        """In the browser that wants it deleted: what is gone is gone."""
        client = event.client
        if client is None or self._saved.value == _NONE:
            self._feedback.run(self._delete, client)
            return
        with client.gui.add_modal(f"Delete the saved selection {self._saved.value!r}?") as modal:
            client.gui.add_markdown("Its files are deleted from the run's folder. This cannot be undone.")
            yes, no = client.gui.add_button("Delete it", color="red"), client.gui.add_button("Keep it")

        def delete(_: viser.GuiEvent) -> None:
            modal.close()
            self._feedback.run(self._delete, client)

        yes.on_click(delete)
        no.on_click(lambda _: modal.close())

    def _chosen(self) -> str:
        if self._saved.value == _NONE:
            raise ValueError("no selection is saved yet")
        return self._saved.value

    def _write(self) -> list[Path]:
        return files.export(self._session, self._what.value, self._file_name.value, self._format.value)

    def _export(self) -> str:
        written = self._write()
        where = written[0] if len(written) == 1 else f"{len(written)} files in {written[0].parent}"
        return f"exported to {where}"

    def _download(self, event: viser.GuiEvent) -> None:
        client = event.client
        if client is None:
            return

        def send() -> str:
            written = self._write()
            if len(written) == 1 and written[0].is_file():
                client.send_file_download(written[0].name, written[0].read_bytes())
                return f"downloading {written[0].name}; it is also at {written[0]}"
            folder = written[0].parent
            with tempfile.TemporaryDirectory() as aside:
                packed = Path(shutil.make_archive(str(Path(aside) / folder.name), "zip", folder))
                client.send_file_download(packed.name, packed.read_bytes())
            return f"downloading {packed.name}; the files are also in {folder}"

        self._feedback.run(send, client)
