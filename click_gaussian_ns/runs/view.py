"""A run in nerfstudio's viewer, wherever its folder lies: `ns-viewer` looks for it where it was trained."""

from __future__ import annotations

from pathlib import Path

from nerfstudio.scripts.viewer import run_viewer

from click_gaussian_ns.runs.files import read_run
from click_gaussian_ns.runs.open_run import open_run

_LOG_FILE = "viewer_log_filename.txt"
"""nerfstudio's name; the click tool takes the folder that it is in for the run's."""


def view_run(config_path: Path, host: str, port: int) -> None:
    """Open a run in the viewer, and stay there. What is selected and edited is kept in the run's own folder.

    Args:
        config_path: the run's config.yml.
        host: address to listen on.
        port: the same.

    Raises:
        ValueError: see `open_run`.
    """
    run = open_run(config_path)
    found = read_run(config_path)
    assert found is not None
    config = run.config
    config.vis = "viewer"
    config.viewer.websocket_host, config.viewer.websocket_port = host, port
    # joined to the folder where the run was trained: an absolute path wins
    config.viewer.relative_log_filename = str(run.run_dir / _LOG_FILE)
    run_viewer._start_viewer(config, run.pipeline, found.last_step)
