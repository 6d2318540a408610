"""The model that trains geometry on CPU: exposures of photos, and what stands before cameras."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from nerfstudio.data.scene_box import SceneBox
from small_model import front_camera

from click_gaussian_ns.geometry.model import SplatfactoCpuModel
from click_gaussian_ns.geometry.rooms import camera_rooms
from click_gaussian_ns.geometry.settings import SplatfactoCpuModelConfig
from click_gaussian_ns.scenes.views import camera_view

POINTS = torch.rand(400, 3, generator=torch.Generator().manual_seed(0)) - 0.5


@pytest.fixture
def model() -> SplatfactoCpuModel:
    box = SceneBox(aabb=torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    colors = torch.full((400, 3), 128, dtype=torch.uint8)
    settings: dict[str, Any] = {"num_train_data": 2, "metadata": {}, "seed_points": (POINTS, colors)}
    return SplatfactoCpuModelConfig(background_color="black", num_downscales=0).setup(scene_box=box, **settings)


def picture(model: SplatfactoCpuModel, photo: int | None) -> torch.Tensor:
    camera = front_camera()
    camera.metadata = {} if photo is None else {"cam_idx": photo}
    return model.get_outputs(camera)["rgb"].detach()


def test_a_photo_is_met_in_its_own_exposure_and_pictures_have_none(model: SplatfactoCpuModel) -> None:
    with torch.no_grad():
        model.exposures.offsets[1, :, :3] = torch.eye(3)
    model.optimizers = {}
    model.train()
    plain = picture(model, 0)
    assert float(plain.max()) > 0.1
    assert torch.allclose(picture(model, 1), 2 * plain)
    model.eval()
    assert torch.allclose(picture(model, 1), picture(model, None)), "a test photo has a number, too"


def test_exposures_are_learned_and_held_to_the_identity(model: SplatfactoCpuModel) -> None:
    assert list(model.get_param_groups()["exposures"]) == [model.exposures.offsets]
    batch = {"image": torch.zeros(120, 160, 3), "image_idx": 1}
    outputs = {"rgb": torch.zeros(120, 160, 3), "background": torch.zeros(3)}
    model.train()
    assert float(model.get_loss_dict(outputs, batch)["exposure"].detach()) == 0
    with torch.no_grad():
        model.exposures.offsets[1] = 0.1
    assert float(model.get_loss_dict(outputs, batch)["exposure"].detach()) > 0
    model.eval()
    assert "exposure" not in model.get_loss_dict(outputs, batch)


def test_what_gets_before_a_camera_is_drawn_no_more(model: SplatfactoCpuModel) -> None:
    view = camera_view(front_camera())
    with torch.no_grad():
        model.gauss_params["means"][7] = torch.tensor([0.0, 0.0, -2.6])
    model._clear(camera_rooms(POINTS, [view]))
    faint = model.opacities[:, 0].sigmoid() < 1 / 255
    assert faint.nonzero()[:, 0].tolist() == [7]


def test_checkpoints_of_earlier_versions_have_no_exposures(model: SplatfactoCpuModel) -> None:
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("exposures")}
    model.load_state_dict(state)
    assert bool((model.exposures.offsets == 0).all())
