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


def make_paths_absolute(config: TrainerConfig) -> None:
    """Make a run's settings mean the same wherever its config.yml is read; a splat that is not there is left alone."""
    datamanager, model = config.pipeline.datamanager, config.pipeline.model
    named = (
        *((config, name) for name in ("output_dir", "data", "load_dir", "load_checkpoint")),
        *((datamanager, name) for name in ("data", "mask_dir", "mask_cache_dir")),
        *((getattr(datamanager, "dataparser", None), name) for name in ("data", "views_dir")),
        (model, "splat"),
    )
    for owner, name in named:
        path = getattr(owner, name, None)
        if isinstance(path, Path) and (name != "splat" or path.exists()):
            setattr(owner, name, path.resolve())


def write_selection_config(run_config: TrainerConfig, selection_file: Path) -> Path:
    """Write beside a selection the config with which the stock `ns-export gaussian-splat` exports only it."""
    config = copy.deepcopy(run_config)
    make_paths_absolute(config)
    config.load_dir = None
    config.pipeline.model.export_selection = selection_file.resolve()  # pyright: ignore[reportAttributeAccessIssue]
    path = selection_file.parent / "config.yml"
    write_renamed(path, yaml.dump(config).encode())
    return path
