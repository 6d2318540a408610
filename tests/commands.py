"""The installed commands, run as a user would."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
from PIL import Image

from click_gaussian_ns.demo.scene import DemoScene

STEPS = 240
NUM_GAUSSIANS = 8_000
"""Asked of the bundled scene: about half of what `click-gaussian demo` does."""


def run_command(*args: object, ok: bool = True, apart: bool = False) -> str:
    """Run an installed console command as a user would; its combined output.

    Our own runs in this process, which has imported what takes most of its time, unless it is to run `apart`.
    """
    program, *rest = map(str, args)
    if program == "click-gaussian" and not apart:
        code, told = _run_here(rest)
    else:
        done = subprocess.run(
            [str(Path(sys.executable).parent / program), *rest],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "COLUMNS": "200", "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "")},
        )
        code, told = done.returncode, done.stdout
    assert (code == 0) == ok, f"{args} ended with {code}:\n{told[-6000:]}"
    return told


def _run_here(args: list[str]) -> tuple[int, str]:
    """Exit code of `click-gaussian`, and what it says."""
    from click_gaussian_ns.cli import main

    told, code = io.StringIO(), 0
    with redirect_stdout(told), redirect_stderr(told):
        try:
            main(args)
        except SystemExit as end:
            code = int(end.code or 0)
    return code, told.getvalue()


def train_args(scene: DemoScene, output_dir: Path, *more: object) -> list[object]:
    """Arguments of ns-train for a short run on the bundled scene."""
    return [
        *(
            "ns-train",
            "click-gaussian",
            "--output-dir",
            output_dir,
            "--experiment-name",
            "demo",
            "--vis",
            "tensorboard",
        ),
        *("--timestamp", "run", "--pipeline.model.splat", scene.splat),
        *("--pipeline.datamanager.mask-generator", "folder", "--pipeline.datamanager.mask-dir", scene.mask_dir),
        *("--pipeline.datamanager.num-pixels", 2000),
        *more,
        *("nerfstudio-data", "--data", scene.data),
    ]


def innermost(scene: DemoScene, level: str, label: int) -> tuple[str, float, float]:
    """Photo stem and pixel in the middle of an object, where a training photo shows most of it."""
    from scipy import ndimage

    names = set(json.loads((scene.data / "transforms.json").read_text())["train_filenames"])
    stems = sorted(Path(name).stem for name in names)
    masks = {s: np.asarray(Image.open(scene.ground_truth / level / f"{s}.png")) == label for s in stems}
    stem = max(stems, key=lambda s: int(masks[s].sum()))
    distance = ndimage.distance_transform_edt(masks[stem])
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return stem, float(column) + 0.5, float(row) + 0.5
