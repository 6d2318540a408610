"""`click-gaussian demo`: the whole product on the bundled scene, with stock nerfstudio training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import cast

import numpy as np
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.colormaps import apply_pca_colormap
from nerfstudio.utils.rich_utils import CONSOLE
from PIL import Image
from scipy import ndimage

from click_gaussian_ns.demo.scene import DemoScene, write_scene
from click_gaussian_ns.method.methods import click_gaussian_method
from click_gaussian_ns.method.settings import ClickGaussianDataManagerConfig, ClickGaussianModelConfig
from click_gaussian_ns.runs.commands import export_from_shell, segment_from_shell
from click_gaussian_ns.runs.evaluation import evaluate_run
from click_gaussian_ns.runs.open_run import Run, open_run
from click_gaussian_ns.types import Click

_MARKER = ".click-gaussian-demo"
_NUM_PIXELS = 4000
_CLICKED = {"mug": ("coarse", 4), "snowman_head": ("fine", 3)}
"""What the demo clicks: level, and its ID in the ground truth of that level."""


def demo_config(scene: DemoScene, output_dir: Path, max_steps: int) -> TrainerConfig:
    """Training settings for the bundled scene: the method's own, for `max_steps` steps."""
    config = click_gaussian_method().config
    config.output_dir, config.experiment_name, config.timestamp = output_dir, "demo", "run"
    config.data = scene.data
    config.max_num_iterations = max_steps
    config.vis = "tensorboard"
    config.viewer.quit_on_train_completion = True
    datamanager = cast(ClickGaussianDataManagerConfig, config.pipeline.datamanager)
    datamanager.data = scene.data
    datamanager.mask_generator, datamanager.mask_dir = "folder", scene.mask_dir
    datamanager.num_pixels = _NUM_PIXELS
    model = cast(ClickGaussianModelConfig, config.pipeline.model)
    model.splat = scene.splat
    return config


def run_demo(output_dir: Path, max_steps: int, open_viewer: bool) -> None:
    """Make the scene, train, measure, click, export, draw; then open the viewer if asked to.

    Raises:
        ValueError: the folder holds something else than an earlier demo.
    """
    output_dir = output_dir.resolve()
    _claim(output_dir)
    CONSOLE.rule("1/4 Scene")
    scene = write_scene(output_dir / "scene")
    CONSOLE.print(f"Photos, poses, splat and masks: {scene.data}")
    CONSOLE.rule("2/4 Training")
    config = demo_config(scene, output_dir / "runs", max_steps)
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    config_path = config.get_base_dir() / "config.yml"
    CONSOLE.rule("3/4 Click and export")
    run = open_run(config_path)
    for name, (level, label) in _CLICKED.items():
        camera, click = _best_click(run, scene, level, label)
        segment_from_shell(config_path, camera, [click], level, name, [])
        export_from_shell(config_path, output_dir / "export", name, None, False, level, "world")
    CONSOLE.rule("4/4 Pictures and accuracy")
    _draw_pictures(run, output_dir / "pictures")
    CONSOLE.print(f"Pictures: {output_dir / 'pictures'}    Objects: {output_dir / 'export'}")
    evaluate_run(run, scene.ground_truth, output_dir / "metrics.json", output_dir / "report.html")
    CONSOLE.print(f"Accuracy: {output_dir / 'metrics.json'}    An object at a time: {output_dir / 'report.html'}")
    CONSOLE.print(f"Look at it: ns-viewer --load-config {config_path}")
    if open_viewer:
        from nerfstudio.scripts.viewer.run_viewer import RunViewer

        RunViewer(load_config=config_path).main()


def _claim(output_dir: Path) -> None:
    if output_dir.exists() and any(output_dir.iterdir()):
        if not (output_dir / _MARKER).is_file():
            raise ValueError(f"--output-dir {output_dir} holds other files: give a new or empty folder")
        shutil.rmtree(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    (output_dir / _MARKER).touch()


def _best_click(run: Run, scene: DemoScene, level: str, label: int) -> tuple[str, Click]:
    """The training photo that shows most of an object, and the innermost pixel of it there."""
    best_name, best_mask = "", np.zeros((1, 1), bool)
    for view in run.views:
        mask = np.asarray(Image.open(scene.ground_truth / level / f"{view.path.stem}.png")) == label
        if view.split == "train" and mask.sum() > best_mask.sum():
            best_name, best_mask = view.path.name, mask
    row, column = np.unravel_index(np.asarray(ndimage.distance_transform_edt(best_mask)).argmax(), best_mask.shape)
    return best_name, Click(float(column) + 0.5, float(row) + 0.5)


def _draw_pictures(run: Run, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for view in [v for v in run.views if v.split == "test"][:3]:
        outputs = run.pipeline.model.get_outputs_for_camera(view.camera)
        strip = [outputs["rgb"], apply_pca_colormap(outputs["features"])]
        strip += [outputs[f"{level.name}_segments"] for level in run.levels]
        picture = np.concatenate([part.cpu().numpy() for part in strip], axis=1)
        Image.fromarray((picture * 255).round().astype(np.uint8)).save(folder / f"{view.path.stem}.png")
