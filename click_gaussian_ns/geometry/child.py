"""A training in a process of its own that ends with the process that started it, however that ends.

The two share a pipe in which nothing is written: the child reads it, and finds its end when the parent is gone. The
child's imports are few, so that it looks from the start.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path


def train_in_child(method: str, config_path: Path) -> None:
    """Run `ns-train METHOD --load-config CONFIG` to its end; what becomes of it is told by the run's folder."""
    command = [sys.executable, "-m", __name__, method, "--load-config", str(config_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        try:
            child.wait()
        except BaseException:
            child.terminate()
            raise


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from nerfstudio.scripts.train import entrypoint

    entrypoint()
