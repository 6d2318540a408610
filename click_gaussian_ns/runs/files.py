"""Runs on disk, read without executing what their config.yml names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from click_gaussian_ns.splats.plain_yaml import read_plain_yaml

CAMERAS_FILE = "cameras.json"
"""Beside a run's config.yml: the cameras of its photos, with which it opens where these are gone."""
_STEP = re.compile(r"step-(\d+)\.ckpt$")


@dataclass(frozen=True)
class RunFile:
    """A run's config.yml and what it says."""

    config_path: Path
    method: str
    data: Path | None
    """Resolved; None where the file does not say which folder it means."""
    num_steps: int
    last_step: int
    """Of its newest checkpoint; -1 where there is none."""
    is_selection: bool = False
    """Whether it is the config of a saved selection, derived from a run's for `ns-export`."""

    @property
    def is_finished(self) -> bool:
        return self.last_step >= self.num_steps - 1


def read_run(config_path: Path) -> RunFile | None:
    """What a run's config.yml says; None where it is not one."""
    try:
        values = read_plain_yaml(config_path)
        datamanager = values["pipeline"]["datamanager"]
        data = datamanager.get("data") or datamanager["dataparser"].get("data")
        model = values["pipeline"].get("model")
        is_selection = isinstance(model, dict) and model.get("export_selection") is not None
        method, num_steps = str(values["method_name"]), int(values["max_num_iterations"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
        return None
    steps = [int(m[1]) for m in map(_STEP.search, map(str, config_path.parent.glob("*/step-*.ckpt"))) if m]
    resolved = _resolved(Path(data), config_path, values) if isinstance(data, (Path, str)) else None
    return RunFile(config_path, method, resolved, num_steps, max(steps, default=-1), is_selection)


def _resolved(path: Path, config_path: Path, values: Mapping[str, Any]) -> Path | None:
    """A path of a run's config.yml. nerfstudio writes it as it was typed: relative to the folder that ns-train ran in.

    Which folder that was is not written down, but the file lies at OUTPUT_DIR/EXPERIMENT/METHOD/TIMESTAMP of it. With
    an absolute output folder it cannot be known, and is not guessed: from here it might name another project's photos.
    """
    if path.is_absolute():
        return path.resolve()
    named = [str(values.get(key)) for key in ("output_dir", "experiment_name", "method_name", "timestamp")]
    place = Path(*named, config_path.name)
    found = Path(os.path.abspath(config_path))
    if place.is_absolute() or found.parts[-len(place.parts) :] != place.parts:
        return None
    return Path(*found.parts[: -len(place.parts)], path).resolve()


def find_runs(output_dir: Path, methods: tuple[str, ...]) -> Iterator[RunFile]:
    """Runs of some methods at <output_dir>/<experiment>/<method>/<timestamp>, the newest first."""
    paths = [path for method in methods for path in output_dir.glob(f"*/{method}/*/config.yml")]
    for path in sorted(paths, key=lambda p: p.stat().st_mtime, reverse=True):
        run = read_run(path)
        if run is not None and run.method in methods:
            yield run
