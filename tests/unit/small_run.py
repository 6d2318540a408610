"""A trained run over the small scene, as the shell's commands get it: no training, no checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click_scene import SmallHost
from nerfstudio.cameras.cameras import Cameras
from small_model import front_camera
from splats_factory import random_rotation

from click_gaussian_ns.method.methods import click_gaussian_method
from click_gaussian_ns.runs import commands
from click_gaussian_ns.runs.open_run import Run
from click_gaussian_ns.scenes.views import NamedView, undistorted_view
from click_gaussian_ns.splats.transforms import Similarity

FAINT = -6.0
"""Opacity logit of what is too faint to be drawn."""


def shifted(right: float, distortion: list[float] | None = None) -> Cameras:
    """The camera before the small scene, moved to the right by so many world units."""
    camera = front_camera()
    camera.camera_to_worlds[0, 0, 3] = right
    camera.distortion_params = None if distortion is None else torch.tensor([distortion])
    return camera


WORLD = Similarity.from_parts(random_rotation(4), torch.tensor([1.0, 0.0, -3.0]), 0.5)
"""Of a run whose data have a frame of their own."""


def run_for_shell(folder: Path, monkeypatch: pytest.MonkeyPatch, cameras: dict[str, Cameras]) -> Run:
    """A small run in the frame WORLD, which the shell's commands open whatever they are asked for."""
    made = small_run(folder, cameras, WORLD)
    monkeypatch.setattr(commands, "open_run", lambda path: made)
    return made


def small_run(folder: Path, cameras: dict[str, Cameras], to_dataparser: Similarity | None = None) -> Run:
    """A run in `folder` with a photo of each name; every tenth Gaussian is too faint to be drawn."""
    host = SmallHost(folder)
    logits = host.splats.opacity_logits.clone()
    logits[::10] = FAINT
    views = [
        NamedView(Path("/photos") / name, name, undistorted_view(camera)[0], camera, "train")
        for name, camera in cameras.items()
    ]
    return Run(
        config=click_gaussian_method().config,
        run_dir=folder,
        splats=replace(host.splats, opacity_logits=logits),
        features=host.features,
        levels=host.levels,
        clusters=host.clusters,
        tree=host.tree,
        views=views,
        to_dataparser=to_dataparser or Similarity.identity(),
        rasterize_mode="classic",
        pipeline=None,
    )
