"""Runs on disk, read without executing what their config.yml names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_STEP = re.compile(r"step-(\d+)\.ckpt$")


@dataclass(frozen=True)
class RunFile:
    """A run's config.yml and what it says."""

    config_path: Path
    method: str
    data: Path | None
    """Resolved."""
    num_steps: int
    last_step: int
    """Of its newest checkpoint; -1 where there is none."""

    @property
    def is_finished(self) -> bool:
        return self.last_step >= self.num_steps - 1


class _PlainLoader(yaml.SafeLoader):
    """Objects become dictionaries, paths become paths; nothing is imported or called."""


def _plain(loader: _PlainLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        parts = loader.construct_sequence(node, deep=True)
        return Path(*parts) if suffix.startswith("object/apply:pathlib.") else parts
    return suffix


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _plain)


def read_run(config_path: Path) -> RunFile | None:
    """What a run's config.yml says; None where it is not one."""
    try:
        values = yaml.load(config_path.read_text(), Loader=_PlainLoader)  # a SafeLoader
        datamanager = values["pipeline"]["datamanager"]
        data = datamanager.get("data") or datamanager["dataparser"].get("data")
        method, num_steps = str(values["method_name"]), int(values["max_num_iterations"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
        return None
    steps = [int(m[1]) for m in map(_STEP.search, map(str, config_path.parent.glob("*/step-*.ckpt"))) if m]
    resolved = Path(data).resolve() if isinstance(data, (Path, str)) else None
    return RunFile(config_path, method, resolved, num_steps, max(steps, default=-1))


def find_runs(output_dir: Path, methods: tuple[str, ...]) -> Iterator[RunFile]:
    """Runs of some methods at <output_dir>/<experiment>/<method>/<timestamp>, the newest first."""
    paths = [path for method in methods for path in output_dir.glob(f"*/{method}/*/config.yml")]
    for path in sorted(paths, key=lambda p: p.stat().st_mtime, reverse=True):
        run = read_run(path)
        if run is not None and run.method in methods:
            yield run
