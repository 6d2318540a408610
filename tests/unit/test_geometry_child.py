"""Geometry that is trained in a process of its own does not outlive the command that wanted it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

PARENT = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where tests run in the background
from click_gaussian_ns.geometry.child import train_in_child
train_in_child("splatfacto-cpu", Path(sys.argv[1]))
"""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_geometry_stops_with_the_command(tmp_path: Path, sent: signal.Signals) -> None:
    config = tmp_path / "config.yml"
    os.mkfifo(config)  # the child waits for its settings for ever
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(config)], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60.0
    while not (children := psutil.Process(parent.pid).children()) and time.monotonic() < end:
        time.sleep(0.05)
    (child,) = children
    try:
        parent.send_signal(sent)
        parent.wait(60.0)
        _, alive = psutil.wait_procs([child], timeout=60.0)
        assert not alive
    finally:
        if child.is_running():
            child.kill()


def test_geometry_reaches_its_end(tmp_path: Path) -> None:
    """Nothing is sent: the child ends by itself, here as its settings are missing."""
    done = subprocess.run(
        [sys.executable, "-c", PARENT, str(tmp_path / "none.yml")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "none.yml" in done.stderr
