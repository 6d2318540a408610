"""A ClickGaussianModel over the small scene, built as a pipeline builds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from click_scene import small_scene
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import SceneBox

from click_gaussian_ns.geometry.rooms import Rooms
from click_gaussian_ns.method.model import ClickGaussianModel
from click_gaussian_ns.method.settings import ClickGaussianModelConfig
from click_gaussian_ns.splats.ply import write_ply


def model_of(config: ClickGaussianModelConfig, rooms: Rooms | None = None) -> ClickGaussianModel:
    """A model of these settings, in a dataparser's frame that is the world's; its cameras have these rooms."""
    metadata: dict[str, Any] = {
        "level_names": ("coarse", "fine"),
        "dataparser_transform": torch.eye(4)[:3],
        "dataparser_scale": 1.0,
        "applied_transform": None,
        "camera_rooms": lambda: rooms,
    }
    box = SceneBox(aabb=torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    return config.setup(scene_box=box, num_train_data=1, metadata=metadata)


def small_model(folder: Path) -> ClickGaussianModel:
    """Its .ply is written to the folder."""
    path = folder / "small.ply"
    write_ply(path, small_scene()[0])
    return model_of(ClickGaussianModelConfig(splat=path))


def antialiased_run(folder: Path) -> Path:
    """A splatfacto run of the small scene that was trained antialiased: its config.yml."""
    splats = small_scene()[0]
    values = (splats.means, splats.log_scales, splats.quats, splats.sh[:, 0], splats.sh[:, 1:])
    names = ("means", "scales", "quats", "features_dc", "features_rest")
    state = {f"_model.gauss_params.{name}": value for name, value in zip(names, values)}
    state["_model.gauss_params.opacities"] = splats.opacity_logits[:, None]
    (folder / "nerfstudio_models").mkdir(parents=True)
    torch.save({"pipeline": state}, folder / "nerfstudio_models" / "step-000000009.ckpt")
    path = folder / "config.yml"
    path.write_text("pipeline: {model: {rasterize_mode: antialiased}}\n")
    return path


def front_camera() -> Cameras:
    """nerfstudio's camera before the small scene, looking at it."""
    pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))[:3]
    pose[2, 3] = -3.0
    return Cameras(pose[None], 120.0, 120.0, 80.0, 60.0, 160, 120)
