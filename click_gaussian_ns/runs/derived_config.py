"""Configs derived from a run's own, for the stock commands."""

from __future__ import annotations

import copy
from pathlib import Path

import yaml
from nerfstudio.engine.trainer import TrainerConfig

from click_gaussian_ns.files import write_renamed


def read_run_config(path: Path) -> TrainerConfig:
    """The config.yml that `ns-train` wrote, read as nerfstudio reads it: only of a run that is open already.

    Raises:
        ValueError: it is missing or no config of a run.
    """
    try:
        config = yaml.load(path.read_text(encoding="utf8"), Loader=yaml.Loader)
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read as a run's config ({error})") from error
    if not isinstance(config, TrainerConfig):
        raise ValueError(f"{path}: expected the config.yml that ns-train wrote, got {type(config).__name__}")
    return config


def write_selection_config(run_config: TrainerConfig, selection_file: Path) -> Path:
    """Write beside a selection the config with which the stock `ns-export gaussian-splat` exports only it."""
    config = copy.deepcopy(run_config)
    config.output_dir = Path(config.output_dir).resolve()
    config.load_dir = None
    config.pipeline.model.export_selection = selection_file.resolve()  # pyright: ignore[reportAttributeAccessIssue]
    datamanager = config.pipeline.datamanager
    for owner in (config, datamanager, getattr(datamanager, "dataparser", None)):
        data = getattr(owner, "data", None)
        if isinstance(data, Path):
            owner.data = data.resolve()  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    path = selection_file.parent / "config.yml"
    write_renamed(path, yaml.dump(config).encode())
    return path
