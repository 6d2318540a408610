"""COLMAP, run in a process of its own, with a progress bar per stage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import click_gaussian_ns
from click_gaussian_ns.masks.progress import progress_bar
from click_gaussian_ns.poses import colmap

_STAGES = {"features": "Features", "matches": "Matching", "poses": "Poses"}


@dataclass(frozen=True)
class Model:
    """What COLMAP says of one of its models."""

    registered: list[str]
    """Names of the photos that it placed."""
    points: int
    error_px: float
    """Mean distance between a point as it was seen and as the model would show it, px."""
    cameras: list[str]
    """What was found for each lens: COLMAP's parameters, in its order."""


def check_installed() -> None:
    """Refuse to begin without pycolmap.

    Raises:
        ValueError: the extra `poses` is not installed.
    """
    if not colmap.is_installed():
        raise ValueError(
            "camera poses are made with pycolmap, which is not installed: run `pip install 'click-gaussian-ns[poses]'`"
        )


def solve(job: colmap.Job, folder: Path) -> tuple[list[Model], Mapping[str, float]]:
    """Do the job.

    Args:
        job: see `colmap.Job`.
        folder: for the job's file and what COLMAP logs.

    Returns:
        the models, that of most photos first; and how long each stage took, s.

    Raises:
        ValueError: COLMAP broke off.
    """
    asked, log = folder / "job.json", folder / "colmap.log"
    asked.write_text(json.dumps(asdict(job)), encoding="utf8")
    place = str(Path(click_gaussian_ns.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))}
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", colmap.__name__, str(asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            text=True,
            encoding="utf8",
        )
        try:
            seconds = _follow(process)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
    summary = Path(job.output) / "summary.json"
    if not summary.is_file():
        # what it left may be the reason: the next call must not stumble over it again
        for file in folder.glob(f"{Path(job.database).name}*"):
            file.unlink()
        raise ValueError(
            f"COLMAP broke off ({_last_line(log)}); all it said is in {log}. Run the same command again: it begins anew"
        )
    return [Model(**model) for model in json.loads(summary.read_text(encoding="utf8"))], seconds


def _follow(process: subprocess.Popen[str]) -> dict[str, float]:
    """Show progress until the process ends; how long each stage took, s."""
    assert process.stdout is not None
    seconds: dict[str, float] = {}
    with progress_bar() as progress:
        tasks = {}
        before = time.monotonic()
        stage = ""
        for line in process.stdout:
            said = json.loads(line)
            if said["stage"] not in tasks:
                before, stage = time.monotonic(), said["stage"]
                tasks[stage] = progress.add_task(_STAGES[stage], total=said["total"])
            progress.update(tasks[stage], completed=said["done"])
            seconds[stage] = time.monotonic() - before
        process.wait()
        if stage:
            seconds[stage] = time.monotonic() - before
    return seconds


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf8", errors="replace").strip().splitlines()
    # a crash ends in a list of addresses
    said = [line for line in lines if not line.startswith((" ", "*** ", "PC:"))]
    return said[-1] if said else "without a word"
