"""Geometry for a click-gaussian run that was given none: a finished run of the same data, or a new one."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.rich_utils import CONSOLE

from click_gaussian_ns.geometry.child import train_in_child
from click_gaussian_ns.geometry.datamanager import SeededDataManager
from click_gaussian_ns.geometry.settings import GeometryConfig, GeometryDataManagerConfig, SplatfactoCpuModelConfig
from click_gaussian_ns.runs.files import RunFile, find_runs

METHODS = ("splatfacto", "splatfacto-cpu")


def find_geometry(output_dir: Path, data: Path) -> RunFile | None:
    """The newest finished splatfacto or splatfacto-cpu run of the same data."""
    runs = find_runs(output_dir, METHODS)
    return next((run for run in runs if run.is_finished and run.data == data.resolve()), None)


def find_or_train_geometry(config: TrainerConfig, geometry: GeometryConfig, method: TrainerConfig) -> Path:
    """config.yml of geometry for a click-gaussian run; a run is trained, beside it, where there is none.

    Args:
        config: of the click-gaussian run.
        geometry: how geometry is trained without a GPU.
        method: the registered settings of the method that trains it, splatfacto or splatfacto-cpu.

    Raises:
        ValueError: there is no data, or the training ended without a finished run.
    """
    manager = cast(Any, config.pipeline.datamanager)
    data = Path(manager.data or manager.dataparser.data)
    found = find_geometry(config.output_dir, data)
    if found is not None:
        CONSOLE.log(f"Geometry: {found.config_path}, the newest finished {found.method} run of {data}")
        return found.config_path
    CONSOLE.log(
        f"No --pipeline.model.splat, and no finished splatfacto run of {data} below {config.output_dir}: "
        f"training {method.method_name} first"
    )
    path = _train(geometry_config(config, geometry, method))
    found = find_geometry(config.output_dir, data)
    if found is None or found.config_path.resolve() != path.resolve():
        raise ValueError(
            f"{path}: training the geometry did not finish, its output above says why. Run the command again, or give "
            "--pipeline.model.splat a splatfacto run or a .ply of Gaussians"
        )
    return path


def geometry_config(config: TrainerConfig, geometry: GeometryConfig, method: TrainerConfig) -> TrainerConfig:
    """Settings of the geometry's run: the same data, read by the same dataparser, so that frames agree."""
    made = copy.deepcopy(method)
    manager, model = made.pipeline.datamanager, made.pipeline.model
    if isinstance(manager, GeometryDataManagerConfig) and isinstance(model, SplatfactoCpuModelConfig):
        made.max_num_iterations = geometry.num_steps
        manager.max_side, model.max_gaussians = geometry.max_side, geometry.max_gaussians
    source, manager = cast(Any, config.pipeline.datamanager), cast(Any, made.pipeline.datamanager)
    if manager._target is FullImageDatamanager:
        # nerfstudio's own method: photos are read, and the background starts, as in ours
        manager._target = SeededDataManager
    parser = copy.deepcopy(source.dataparser)
    if hasattr(parser, "load_3D_points"):
        parser.load_3D_points = True
    manager.dataparser, manager.data = parser, source.data
    made.output_dir, made.experiment_name = config.output_dir, config.experiment_name
    made.timestamp = datetime.now().strftime("%Y-%m-%d_%H%M%S")
    made.machine = replace(config.machine, device_type=method.machine.device_type)
    made.vis = "tensorboard"
    made.viewer.quit_on_train_completion = True
    return made


def _train(config: TrainerConfig) -> Path:
    """Run ns-train in a process of its own: nerfstudio's logs and profilers are global, and memory comes back."""
    config.save_config()
    path = config.get_base_dir() / "config.yml"
    train_in_child(str(config.method_name), path)
    return path
