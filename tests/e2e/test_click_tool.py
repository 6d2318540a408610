"""The click tool on trained runs, without a browser: exports by the stock command."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from commands import run_command

from click_gaussian_ns.runs.open_run import open_run
from click_gaussian_ns.splats.ply import read_ply
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.viewer import files
from click_gaussian_ns.viewer.session import Session

FIELDS = ("means", "quats", "log_scales", "opacity_logits", "sh")


@pytest.fixture
def session(trained: Path) -> Session:
    """The tool on the trained run, as `ns-viewer` opens it, but for the window."""
    run = open_run(trained)
    control = run.pipeline.click_control
    control.viewer = SimpleNamespace(train_lock=threading.Lock(), log_filename=run.run_dir / "viewer.txt")
    return Session(control)


def test_the_stock_export_takes_a_selection_saved_in_the_viewer(session: Session, tmp_path: Path) -> None:
    session.select_object(session.objects()[1][0])
    chosen = session.selected()
    files.save(session, "from the viewer")
    folder = session.host.run_dir / "selections" / "from the viewer"
    run_command("ns-export", "gaussian-splat", "--load-config", folder / "config.yml", "--output-dir", tmp_path)
    exported, expected = read_ply(tmp_path / "splat.ply")[0], select(session.host.splats, chosen)
    for field in FIELDS:
        assert torch.equal(getattr(exported, field), getattr(expected, field)), field
    files.delete(session, "from the viewer")
    assert not folder.exists()
