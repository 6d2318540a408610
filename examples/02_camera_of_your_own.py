"""Click in the picture of a camera that is no photo's, such as a robot's, and say where the object is.

CAMERA is a JSON file: "viewmat" 4x4, from the data's frame to the camera (OpenCV: x right, y down, z forward), "K" 3x3
in pixels, "width" and "height".

    python examples/02_camera_of_your_own.py --load-config CONFIG --camera CAMERA --x 320 --y 240
"""

import json
from pathlib import Path

import torch
import tyro

from click_gaussian_ns import Click, PinholeView, move_view, open_run, pick, prepare


def main(load_config: Path, camera: Path, x: float, y: float) -> None:
    run = open_run(load_config)
    given = json.loads(camera.read_text())
    view = PinholeView(torch.tensor(given["viewmat"]), torch.tensor(given["K"]), given["width"], given["height"])

    # a run's Gaussians are in the dataparser's frame: the camera goes there
    prepared = prepare(run.splats, move_view(view, run.to_dataparser), run.rasterize_mode)
    selection = pick(prepared, run.features, run.level("coarse"), run.clusters, [Click(x, y)])

    # and their centre comes back to the data's
    to_world = run.to_dataparser.inverse()
    center = run.splats.means[selection.mask].double().mean(dim=0).cpu()
    in_world = to_world.scale * (to_world.rotation @ (center + to_world.translation))
    print(json.dumps({"num_gaussians": selection.num_selected, "center": in_world.tolist()}))


if __name__ == "__main__":
    tyro.cli(main)
