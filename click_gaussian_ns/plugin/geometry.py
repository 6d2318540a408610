"""Geometry for a click-gaussian run that was given none: a finished run of the same data, or a new one."""

from __future__ import annotations

import copy
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.rich_utils import CONSOLE

from click_gaussian_ns.plugin.geometry_settings import GeometryDataManagerConfig, SplatfactoCpuModelConfig
from click_gaussian_ns.plugin.run_files import RunFile, find_runs
from click_gaussian_ns.plugin.settings import ClickGaussianPipelineConfig, GeometryConfig

METHODS = ("splatfacto", "splatfacto-cpu")


def find_geometry(output_dir: Path, data: Path) -> RunFile | None:
    """The newest finished splatfacto or splatfacto-cpu run of the same data."""
    runs = find_runs(output_dir, METHODS)
    return next((run for run in runs if run.is_finished and run.data == data.resolve()), None)


def find_or_train_geometry(config: TrainerConfig) -> Path:
    """config.yml of geometry for a click-gaussian run; a run is trained, beside it, where there is none.

    Raises:
        ValueError: there is no data, or the training ended without a finished run.
    """
    pipeline = config.pipeline
    assert isinstance(pipeline, ClickGaussianPipelineConfig)
    data = Path(pipeline.datamanager.data or pipeline.datamanager.dataparser.data)
    found = find_geometry(config.output_dir, data)
    if found is not None:
        CONSOLE.log(f"Geometry: {found.config_path}, the newest finished {found.method} run of {data}")
        return found.config_path
    method = "splatfacto" if config.machine.device_type == "cuda" else "splatfacto-cpu"
    CONSOLE.log(
        f"No --pipeline.model.splat, and no finished splatfacto run of {data} below {config.output_dir}: "
        f"training {method} first"
    )
    path = _train(geometry_config(config, pipeline.geometry, method))
    found = find_geometry(config.output_dir, data)
    if found is None or found.config_path.resolve() != path.resolve():
        raise ValueError(
            f"{path}: training the geometry did not finish, its output above says why. Run the command again, or give "
            "--pipeline.model.splat a splatfacto run or a .ply of Gaussians"
        )
    return path


def geometry_config(config: TrainerConfig, geometry: GeometryConfig, method: str) -> TrainerConfig:
    """Settings of the geometry's run: the same data, read by the same dataparser, so that frames agree."""
    if method == "splatfacto":
        from nerfstudio.configs.method_configs import method_configs

        made = cast(TrainerConfig, copy.deepcopy(method_configs["splatfacto"]))
    else:
        from click_gaussian_ns.plugin.methods import splatfacto_cpu_method

        made = splatfacto_cpu_method().config
        made.max_num_iterations = geometry.num_steps
        manager, model = made.pipeline.datamanager, made.pipeline.model
        assert isinstance(manager, GeometryDataManagerConfig) and isinstance(model, SplatfactoCpuModelConfig)
        manager.max_side, model.max_gaussians = geometry.max_side, geometry.max_gaussians
    source, manager = cast(Any, config.pipeline.datamanager), cast(Any, made.pipeline.datamanager)
    parser = copy.deepcopy(source.dataparser)
    if hasattr(parser, "load_3D_points"):
        parser.load_3D_points = True
    manager.dataparser, manager.data = parser, source.data
    made.output_dir, made.experiment_name = config.output_dir, config.experiment_name
    made.timestamp = datetime.now().strftime("%Y-%m-%d_%H%M%S")
    made.machine = copy.deepcopy(config.machine)
    made.vis = "tensorboard"
    made.viewer.quit_on_train_completion = True
    return made


def _train(config: TrainerConfig) -> Path:
    """Run ns-train in a process of its own: nerfstudio's logs and profilers are global, and memory comes back."""
    config.save_config()
    path = config.get_base_dir() / "config.yml"
    command = [sys.executable, "-m", "nerfstudio.scripts.train", str(config.method_name), "--load-config", str(path)]
    subprocess.run(command, check=False)
    return path
