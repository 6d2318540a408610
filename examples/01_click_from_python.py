"""Click on a photo of a trained run: the object's Gaussians, its mask in every photo, and its .ply.

    python examples/01_click_from_python.py --load-config CONFIG --camera frame_00012.jpg --x 655 --y 465 \
        --level coarse --output-dir mug
"""

from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from PIL import Image

from click_gaussian_ns import Click, export_ply, mask_in_photo, open_run, select, write_selection


def main(
    load_config: Path,
    camera: str,
    x: float,
    y: float,
    output_dir: Path,
    level: Literal["coarse", "middle", "fine"] = "coarse",
) -> None:
    run = open_run(load_config)
    selection = select(run, camera, [Click(x, y)], level)  # Click(x, y, negative=True) says what is not wanted
    print(f"{selection.num_selected} of {run.splats.num_gaussians} Gaussians, clusters {selection.cluster_ids}")

    # a Boolean per Gaussian; any mask exports, so ~selection.mask is everything else
    output_dir.mkdir(parents=True, exist_ok=True)
    np.save(output_dir / "gaussians.npy", selection.mask.cpu().numpy())
    export_ply(output_dir / "object.ply", run.splats, selection.mask, "world", run.to_dataparser)

    # a Boolean per pixel of each photo
    for view in run.views:
        mask = mask_in_photo(run, view.path.name, selection)
        Image.fromarray(mask).save(output_dir / f"{view.path.stem}.png")

    # with the run, where the viewer and `click-gaussian export --selection from_python` find it
    write_selection(run.run_dir, "from_python", selection, {"camera": camera, "points": [[x, y]]})


if __name__ == "__main__":
    tyro.cli(main)
