"""Geometry trained without a GPU, and scenes without photos, through the commands that a user runs."""

import json
import re
from pathlib import Path

import pytest
import torch
from commands import run_command
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

from click_gaussian_ns.demo.scene import DemoScene
from click_gaussian_ns.geometry.find_or_train import find_geometry
from click_gaussian_ns.geometry.settings import GeometryDataManagerConfig
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.splats.cameras import intrinsics, view_from_opengl
from click_gaussian_ns.splats.checkpoint import find_run
from click_gaussian_ns.splats.ply import read_ply
from click_gaussian_ns.splats.scene import load_splats

GEOMETRY_STEPS = 400
QUIET = ("--vis", "tensorboard", "--viewer.quit-on-train-completion", "True")


@pytest.fixture(scope="module")
def from_photos(demo_scene: DemoScene, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Output folder and log of one command, given photos with poses and no splat."""
    output_dir = tmp_path_factory.mktemp("one_command")
    told = run_command(
        *("ns-train", "click-gaussian", "--output-dir", output_dir, "--experiment-name", "demo", *QUIET),
        *("--timestamp", "run", "--max-num-iterations", 30, "--pipeline.datamanager.num-pixels", 500),
        *("--pipeline.geometry.num-steps", GEOMETRY_STEPS, "--pipeline.geometry.max-side", 120),
        *("--pipeline.geometry.max-gaussians", 6000),
        *("--pipeline.datamanager.mask-generator", "folder", "--pipeline.datamanager.mask-dir", demo_scene.mask_dir),
        *("nerfstudio-data", "--data", demo_scene.data),
    )
    return output_dir, told


def test_one_command_trains_geometry_first(from_photos: tuple[Path, str], demo_scene: DemoScene) -> None:
    output_dir, told = from_photos
    told = re.sub(r"\s+", " ", told)
    assert "No --pipeline.model.splat, and no finished splatfacto run of" in told
    found = re.search(r"Eval photos: mean PSNR ([\d.]+) dB, SSIM ([\d.]+); ([\d,]+) Gaussians", told)
    assert found, told[-3000:]
    assert float(found[1]) > 17, "from random Gaussians, at 120 px, in 400 steps"
    assert int(found[3].replace(",", "")) <= 6000
    geometry = find_geometry(output_dir, demo_scene.data)
    assert geometry is not None and geometry.method == "splatfacto-cpu"
    clicks = find_run(output_dir / "demo" / "click-gaussian" / "run").checkpoint
    trained = load_splats(geometry.config_path, "dataparser", torch.eye(4)[:3], 1.0).splats
    state = torch.load(clicks, weights_only=True)["pipeline"]
    assert torch.equal(state["_model.gauss_params.means"], trained.means), "the same frame, the same Gaussians"
    assert str(geometry.config_path.parent.name) in (clicks.parents[1] / "config.yml").read_text()


def test_the_capture_is_told_at_the_end_and_again(from_photos: tuple[Path, str], tmp_path: Path) -> None:
    output_dir, told = from_photos
    line = re.search(
        r"Capture: photos trained on are shown with ([\d.]+) dB; test photos with ([\d.]+) dB", _flat(told)
    )
    assert line and float(line[1]) > 17 and float(line[2]) > 17, told[-3000:]
    config = output_dir / "demo" / "click-gaussian" / "run" / "config.yml"
    again = run_command("click-gaussian", "capture", "--load-config", config, "--report", tmp_path / "page.html")
    assert line[0] in _flat(again)
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 16 and line[0] in page, "eight photos, and how they are shown"


def test_the_background_starts_far_away_and_only_in_training(shared_data: Path) -> None:
    config = GeometryDataManagerConfig(data=shared_data / "desk_photos", dataparser=NerfstudioDataParserConfig())
    config.max_side = 64
    config.dataparser.load_3D_points = True
    training, opened = (config.setup(test_mode=mode, device="cpu") for mode in ("val", "test"))
    seeds, points = training.train_dataparser_outputs.metadata["points3D_xyz"], training.sfm_points
    assert torch.equal(seeds[: len(points)], points) and torch.equal(points, opened.sfm_points)
    middle = points.median(dim=0).values
    assert len(seeds) > len(points) + 100, "rooms before cameras are told by SfM's points alone"
    assert float((seeds[len(points) :] - middle).norm(dim=1).min()) > float(
        (points - middle).norm(dim=1).quantile(0.95)
    )
    assert len(training.train_dataparser_outputs.metadata["points3D_rgb"]) == len(seeds)
    assert len(opened.train_dataparser_outputs.metadata["points3D_xyz"]) == len(points)


def _flat(told: str) -> str:
    """Without the place in the code that nerfstudio's log has at the right of a line."""
    return re.sub(r"\s+", " ", re.sub(r"\s+\w+\.py:\d+", "", told))


def test_stock_export_of_a_cpu_run_renders_the_same(
    from_photos: tuple[Path, str], demo_scene: DemoScene, tmp_path: Path
) -> None:
    geometry = find_geometry(from_photos[0], demo_scene.data)
    assert geometry is not None
    run_command("ns-export", "gaussian-splat", "--load-config", geometry.config_path, "--output-dir", tmp_path)
    exported, _ = read_ply(tmp_path / "splat.ply")
    trained = load_splats(geometry.config_path, "dataparser", torch.eye(4)[:3], 1.0).splats
    pose = torch.eye(4)
    pose[2, 3] = 1.5
    view = view_from_opengl(pose, intrinsics(150.0, 150.0, 80.0, 60.0), 160, 120)
    ours, theirs = (rasterize.render(rasterize.prepare(splats, view)) for splats in (trained, exported))
    assert float(ours.alpha.mean()) > 0.2
    error = float((ours.image.clamp(0, 1) - theirs.image.clamp(0, 1)).square().mean())
    assert error < 1e-5, "PSNR above 50 dB"


def test_a_cpu_run_resumes(from_photos: tuple[Path, str], demo_scene: DemoScene, tmp_path: Path) -> None:
    geometry = find_geometry(from_photos[0], demo_scene.data)
    assert geometry is not None
    start = find_run(geometry.config_path).checkpoint
    told = run_command(
        *("ns-train", "splatfacto-cpu", "--output-dir", tmp_path, "--experiment-name", "demo", *QUIET),
        *("--timestamp", "on", "--load-checkpoint", start, "--max-num-iterations", 20),
        *("--pipeline.datamanager.max-side", 120, "nerfstudio-data", "--data", demo_scene.data),
    )
    assert f"step {GEOMETRY_STEPS}: PSNR" in re.sub(r"\s+", " ", told) or "Eval photos" in told
    end = find_run(tmp_path / "demo" / "splatfacto-cpu" / "on").checkpoint
    before, after = (torch.load(path, weights_only=True) for path in (start, end))
    assert after["step"] == GEOMETRY_STEPS + 19
    names = ("means", "scales", "quats", "features_dc", "features_rest", "opacities")
    for name in names:
        key = f"_model.gauss_params.{name}"
        assert before["pipeline"][key].shape == after["pipeline"][key].shape
        assert not torch.equal(before["pipeline"][key], after["pipeline"][key]), f"{name} does not train on"
        moments = after["optimizers"][name]["state"][0]
        assert moments["exp_avg"].shape == after["pipeline"][key].shape
        assert int(moments["step"]) == GEOMETRY_STEPS + 20


def test_a_bare_ply_becomes_clickable(demo_scene: DemoScene, tmp_path: Path) -> None:
    views, before = tmp_path / "views", set(demo_scene.data.iterdir())
    run_command(
        *("ns-train", "click-gaussian", "--output-dir", tmp_path / "runs", "--experiment-name", "bare", *QUIET),
        *("--timestamp", "run", "--max-num-iterations", 60, "--pipeline.datamanager.num-pixels", 1000),
        *("--pipeline.datamanager.mask-generator", "superpixels"),
        *("--pipeline.datamanager.mask-cache-dir", tmp_path / "masks"),
        *("splat-data", "--data", demo_scene.splat, "--num-views", 10, "--num-test-views", 2),
        *("--width", 160, "--height", 120, "--views-dir", views),
    )
    assert len(list(views.glob("*.png"))) == len(json.loads((views / "views.json").read_text())["camera_to_worlds"])
    assert set(demo_scene.data.iterdir()) == before, "nothing is written to the user's folder"
    config = tmp_path / "runs" / "bare" / "click-gaussian" / "run" / "config.yml"
    told = run_command(
        *("click-gaussian", "segment", "--load-config", config, "--camera", 0, "--point", 80, 60, "--name", "middle")
    )
    assert re.search(r"middle: fine clusters \[\d+\], [\d,]+ of [\d,]+ Gaussians", re.sub(r"\s+", " ", told)), told
