"""Run-time shape and type checks for every test (from Python 3.11 on), and the fixtures that tests share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxtyping import install_import_hook

if sys.version_info >= (3, 11):
    # the last jaxtyping for Python 3.10 wraps kernels, too, whatever `no_type_check` says, and numba cannot cache those
    install_import_hook("click_gaussian_ns", "beartype.beartype")

import pytest
import torch
from commands import NUM_GAUSSIANS, STEPS, run_command, train_args
from pretend_cuda import pretend_cuda

from click_gaussian_ns.demo.scene import DemoScene, write_scene
from click_gaussian_ns.demo.variants import Variant


@pytest.fixture(autouse=True)
def _gpu_or_a_pretended_one(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests marked `gpu` run everywhere: where there is no GPU, on a pretended device (their plumbing alone)."""
    if "gpu" not in request.keywords or torch.cuda.is_available():
        yield
        return
    with pretend_cuda():
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real captures that lie beside the checkout (`../shared/data`), or $CLICK_GAUSSIAN_SHARED_DATA."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("CLICK_GAUSSIAN_SHARED_DATA", default))
    assert path.is_dir(), f"{path} is missing: set CLICK_GAUSSIAN_SHARED_DATA to the folder of captures"
    return path


@pytest.fixture(scope="session")
def demo_scene(tmp_path_factory: pytest.TempPathFactory) -> DemoScene:
    """The bundled scene."""
    return write_scene(tmp_path_factory.mktemp("demo") / "scene", Variant(num_gaussians=NUM_GAUSSIANS))


@pytest.fixture(scope="session")
def trained(demo_scene: DemoScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """config.yml of a short run on it; end-to-end and browser tests share it."""
    output_dir = tmp_path_factory.mktemp("runs")
    run_command(*train_args(demo_scene, output_dir, "--max-num-iterations", STEPS))
    return output_dir / "demo" / "click-gaussian" / "run" / "config.yml"
