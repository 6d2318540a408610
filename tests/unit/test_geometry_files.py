"""Which run is taken for geometry, what a config.yml may do, and how densification stops."""

import os
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from nerfstudio.configs.method_configs import all_methods
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.scripts.train import main as train

from click_gaussian_ns.geometry.datamanager import SeededDataManager
from click_gaussian_ns.geometry.densify import CappedStrategy
from click_gaussian_ns.geometry.find_or_train import find_geometry, geometry_config
from click_gaussian_ns.geometry.settings import GeometryConfig
from click_gaussian_ns.method.methods import click_gaussian_method, splatfacto_cpu_method
from click_gaussian_ns.runs.derived_config import read_run_config
from click_gaussian_ns.runs.files import read_run
from click_gaussian_ns.scenes.data_layout import guess_dataparser
from click_gaussian_ns.scenes.photo_dataset import PhotoDataManager


def write_run(output_dir: Path, method: str, timestamp: str, data: Path, last_step: int, age_s: float) -> Path:
    """A run folder as ns-train leaves it, with an empty checkpoint."""
    config = splatfacto_cpu_method().config
    config.method_name, config.output_dir, config.timestamp = method, output_dir, timestamp
    config.experiment_name, config.max_num_iterations = "scene", 100
    config.pipeline.datamanager.data = data
    config.save_config()
    folder = config.get_base_dir()
    (folder / "nerfstudio_models").mkdir()
    (folder / "nerfstudio_models" / f"step-{last_step:09d}.ckpt").touch()
    path = folder / "config.yml"
    stamp = path.stat().st_mtime - age_s
    os.utime(path, (stamp, stamp))
    return path


def test_the_newest_finished_run_of_the_same_data(tmp_path: Path) -> None:
    data, other = tmp_path / "photos", tmp_path / "others"
    output_dir = tmp_path / "outputs"
    assert find_geometry(output_dir, data) is None
    old = write_run(output_dir, "splatfacto", "a", data, 99, age_s=300)
    write_run(output_dir, "splatfacto-cpu", "b", data, 60, age_s=200)
    write_run(output_dir, "splatfacto-cpu", "c", other, 99, age_s=100)
    found = find_geometry(output_dir, tmp_path / "x" / ".." / "photos")
    assert found is not None and found.config_path == old and found.is_finished
    new = write_run(output_dir, "splatfacto-cpu", "d", data, 99, age_s=250)
    found = find_geometry(output_dir, data)
    assert found is not None and found.config_path == new


def write_stock_run(monkeypatch: pytest.MonkeyPatch, project: Path, output_dir: Path, data: Path) -> Path:
    """A finished splatfacto run as nerfstudio writes it when ns-train is run in `project`: paths as they were typed."""
    project.mkdir(exist_ok=True)
    monkeypatch.chdir(project)
    config = TrainerConfig(method_name="splatfacto", output_dir=output_dir, timestamp="a", max_num_iterations=100)
    config.experiment_name = "scene"
    config.pipeline.datamanager.data = data
    config.save_config()
    (config.get_base_dir() / "nerfstudio_models").mkdir()
    (config.get_base_dir() / "nerfstudio_models" / "step-000000099.ckpt").touch()
    return (config.get_base_dir() / "config.yml").resolve()


def test_geometry_of_another_project_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both projects write to one output folder, and both call their photos `photos`."""
    shared = tmp_path / "shared"
    path = write_stock_run(monkeypatch, tmp_path / "first", shared, Path("photos"))
    run = read_run(path)
    assert run is not None and run.data is None
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        assert find_geometry(shared, Path("photos")) is None, folder


def test_a_runs_own_geometry_is_found_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    path = write_stock_run(monkeypatch, project, Path("outputs"), Path("../photos"))
    monkeypatch.chdir("/")
    found = find_geometry(project / "outputs", tmp_path / "photos")
    assert found is not None and found.config_path == path
    assert find_geometry(project / "outputs", Path("/photos")) is None


def test_from_here_on_a_config_names_its_photos_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that geometry is found, and runs are opened, wherever a command is run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "splat.ply").touch()
    for method in (splatfacto_cpu_method(), click_gaussian_method()):
        config: Any = method.config
        config.data = config.pipeline.datamanager.data = Path("photos")
        config.pipeline.datamanager.dataparser.data = Path("photos")
        config.experiment_name, config.timestamp = "scene", "a"
        if method.config.method_name == "click-gaussian":
            config.pipeline.model.splat, config.pipeline.datamanager.mask_dir = Path("splat.ply"), Path("masks")
        config.save_config()
        written: Any = read_run_config(tmp_path / "outputs" / "scene" / config.method_name / "a" / "config.yml")
        owners = (written, written.pipeline.datamanager, written.pipeline.datamanager.dataparser)
        assert [owner.data for owner in owners] == [tmp_path / "photos"] * 3
        assert written.output_dir == tmp_path / "outputs"
    assert written.pipeline.model.splat == tmp_path / "splat.ply"
    assert written.pipeline.datamanager.mask_dir == tmp_path / "masks"


@pytest.mark.parametrize("flag", ["num_devices", "num_machines"])
def test_several_devices_are_refused_before_anything_else(tmp_path: Path, flag: str) -> None:
    for method in (splatfacto_cpu_method(), click_gaussian_method()):
        config = method.config
        config.output_dir, config.experiment_name = tmp_path / "outputs", "scene"
        setattr(config.machine, flag, 2)
        with pytest.raises(ValueError, match=rf"--machine.{flag.replace('_', '-')} 2: {config.method_name} trains on"):
            train(config)
    assert not list(tmp_path.iterdir())


def test_reading_a_config_executes_nothing(tmp_path: Path) -> None:
    path, proof = tmp_path / "config.yml", tmp_path / "executed"
    path.write_text(
        f'method_name: splatfacto\nmax_num_iterations: 5\nx: !!python/object/apply:os.system ["touch {proof}"]\n'
        "pipeline: {datamanager: {data: !!python/object/apply:pathlib.PosixPath [/, photos]}}\n"
    )
    run = read_run(path)
    assert run is not None and run.data == Path("/photos")
    assert not proof.exists()
    path.write_text("method_name: [")
    assert read_run(path) is None


def test_geometry_reads_the_same_data_by_the_same_dataparser(tmp_path: Path) -> None:
    config = click_gaussian_method().config
    config.experiment_name = "scene"
    config.pipeline.datamanager.data = tmp_path
    config.pipeline.datamanager.dataparser.center_method = "focus"
    made = geometry_config(
        config, GeometryConfig(num_steps=70, max_side=200, max_gaussians=900), splatfacto_cpu_method().config
    )
    assert made.max_num_iterations == 70
    assert made.pipeline.datamanager.data == tmp_path and made.pipeline.datamanager.max_side == 200
    assert made.pipeline.datamanager.dataparser.center_method == "focus"
    assert made.pipeline.datamanager.dataparser.load_3D_points
    assert not config.pipeline.datamanager.dataparser.load_3D_points
    assert made.pipeline.model.max_gaussians == 900
    assert made.get_base_dir().parent.parent == config.get_base_dir().parent.parent


def test_nerfstudios_own_geometry_reads_photos_as_ours_does(tmp_path: Path) -> None:
    config = click_gaussian_method().config
    config.pipeline.datamanager.data = tmp_path
    made = geometry_config(config, GeometryConfig(), cast(TrainerConfig, all_methods["splatfacto"]))
    assert made.pipeline.datamanager._target is SeededDataManager and issubclass(SeededDataManager, PhotoDataManager)
    assert all_methods["splatfacto"].pipeline.datamanager._target is FullImageDatamanager


def test_no_splat_at_all_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = click_gaussian_method().config
    config.experiment_name, config.output_dir, config.pipeline.model.splat = "scene", tmp_path, Path("none")
    with pytest.raises(SystemExit) as ended:
        config.setup().setup()
    assert ended.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("error: --pipeline.model.splat none: click-gaussian learns features")


def test_data_layouts(tmp_path: Path) -> None:
    assert guess_dataparser(tmp_path) is None
    (tmp_path / "sparse" / "0").mkdir(parents=True)
    assert guess_dataparser(tmp_path) is None
    (tmp_path / "sparse" / "0" / "images.txt").write_text("1 1 0 0 0 0 0 0 1 a.png\n\n")
    found = guess_dataparser(tmp_path)
    assert found is not None and str(found.colmap_path) == "sparse/0"  # pyright: ignore[reportAttributeAccessIssue]
    (tmp_path / "transforms.json").touch()
    assert not hasattr(guess_dataparser(tmp_path), "colmap_path")


def test_densification_stops_at_the_limit() -> None:
    params = torch.nn.ParameterDict(
        {
            "means": torch.zeros(10, 3),
            "quats": torch.ones(10, 4),
            "scales": torch.full((10, 3), -9.0),
            "opacities": torch.zeros(10, 1),
        }
    )
    optimizers = {name: torch.optim.Adam([value]) for name, value in params.items()}
    strategy = CappedStrategy(grow_grad2d=0.5, refine_scale2d_stop_iter=100, max_gaussians=13)
    gradients = torch.arange(10.0)
    state = {"grad2d": gradients, "count": torch.ones(10), "radii": torch.full((10,), 0.01), "scene_scale": 1.0}
    marked = torch.arange(10.0)[:, None].expand(10, 3).clone()
    params["means"].data = marked
    assert sum(strategy._grow_gs(params, optimizers, state, 1)) == 3
    assert len(params["means"]) == 13
    kept, counts = params["means"][:, 0].round().unique(return_counts=True)
    assert kept[counts > 1].tolist() == [7.0, 8.0, 9.0], "the largest gradients"
    assert sum(strategy._grow_gs(params, optimizers, state, 1)) == 0


def test_one_that_is_duplicated_and_split_counts_twice() -> None:
    params = torch.nn.ParameterDict(
        {"means": torch.zeros(4, 3), "quats": torch.ones(4, 4), "scales": torch.full((4, 3), -9.0)}
    )
    optimizers = {name: torch.optim.Adam([value]) for name, value in params.items()}
    strategy = CappedStrategy(grow_grad2d=0.5, refine_scale2d_stop_iter=100, max_gaussians=7)
    state = {
        "grad2d": torch.tensor([1.0, 2.0, 3.0, 4.0]),
        "count": torch.ones(4),
        "radii": torch.full((4,), 0.5),
        "scene_scale": 1.0,
    }
    strategy._grow_gs(params, optimizers, state, 1)
    assert len(params["means"]) == 6


def test_schedules_stretch() -> None:
    strategy = CappedStrategy(refine_start_iter=100, refine_stop_iter=1000, refine_every=50, reset_every=900)
    half = strategy.stretched(0.5)
    assert (half.refine_start_iter, half.refine_stop_iter, half.refine_every, half.reset_every) == (50, 500, 25, 450)
    assert half.refine_scale2d_stop_iter == 0
    assert half.max_gaussians == strategy.max_gaussians
