"""The bundled scene and a short run on it, shared by the end-to-end tests."""

from pathlib import Path

import pytest
from commands import STEPS, run_command, train_args

from click_gaussian_ns.demo.scene import DemoScene, write_scene


@pytest.fixture(scope="session")
def demo_scene(tmp_path_factory: pytest.TempPathFactory) -> DemoScene:
    return write_scene(tmp_path_factory.mktemp("demo") / "scene", num_gaussians=8_000)


@pytest.fixture(scope="session")
def trained(demo_scene: DemoScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.yml of a run with GFL in its last third."""
    output_dir = tmp_path_factory.mktemp("runs")
    schedule = ["--pipeline.model.gfl-start", STEPS * 2 // 3, "--pipeline.model.gfl-update-every", 20]
    run_command(*train_args(demo_scene, output_dir, "--max-num-iterations", STEPS, *schedule))
    return output_dir / "demo" / "click-gaussian" / "run" / "config.yml"
