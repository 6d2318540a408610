"""The plain scene that every case is a variant of: each must give its result, or one line that says what is wrong."""

import pytest

from click_gaussian_ns.demo.scene import DemoScene, write_scene
from click_gaussian_ns.demo.variants import Variant


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> DemoScene:
    """16 photos of 160x120 px (10 to train from), label maps, truth and a splat of 3,000 Gaussians."""
    variant = Variant(num_gaussians=3000, width=160, height=120, num_train=10)
    return write_scene(tmp_path_factory.mktemp("mini") / "scene", variant)
