"""The object of every Gaussian and of every pixel: one .npz of labels, and a 16-bit label map per photo.

Labels are the same in all photos; 0 = no object.

    python examples/03_label_everything.py --load-config CONFIG --level coarse --output-dir labels
"""

from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from PIL import Image

from click_gaussian_ns import cluster_map, open_run, prepare, render


def main(load_config: Path, output_dir: Path, level: Literal["coarse", "middle", "fine"] = "coarse") -> None:
    run = open_run(load_config)
    clusters, channels = run.clusters[level], run.level(level).channels
    output_dir.mkdir(parents=True, exist_ok=True)
    labels, confidence = clusters.labels.cpu().numpy(), clusters.confidence.cpu().numpy()
    np.savez(output_dir / "gaussians.npz", labels=labels + 1, confidence=confidence)

    for view in run.views:
        rendered = render(prepare(run.splats, view.view, run.rasterize_mode), run.features)
        found, _ = cluster_map(rendered.image[..., channels], rendered.alpha, clusters)
        picture = Image.fromarray((found + 1).cpu().numpy().astype(np.uint16))
        picture.save(output_dir / f"{view.path.stem}.png")
    print(f"{clusters.num_clusters} {level} objects in {len(run.views)} photos")


if __name__ == "__main__":
    tyro.cli(main)
