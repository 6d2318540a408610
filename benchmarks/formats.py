"""What each format of splats keeps: its size, and how photos of what it holds differ from those of the .ply.

    python benchmarks/formats.py --data ../shared/data/kitchen --splat ../shared/data/kitchen/splat.ply

Writes the splat in every format, reads it back and renders test photos of both. PSNR in dB of the one picture against
the other, mean over the photos: 40 and more is hard to see. Size as a share of the .ply's.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import tyro

from click_gaussian_ns.edit.export import export_ply
from click_gaussian_ns.edit.formats import FORMATS
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.scenes.data_layout import guess_dataparser
from click_gaussian_ns.scenes.views import camera_view
from click_gaussian_ns.splats.scene import load_splats
from click_gaussian_ns.splats.transforms import Similarity


def main(data: Path, splat: Path, num_photos: int = 5) -> None:
    """Print the table.

    Args:
        data: The scene that the photos' cameras are of.
        splat: Its Gaussians.
        num_photos: Of the test photos, that many are drawn.
    """
    parser = guess_dataparser(data)
    assert parser is not None, f"{data}: no scene"
    outputs = parser.setup().get_dataparser_outputs("val")
    views = [camera_view(outputs.cameras[i : i + 1]) for i in range(min(num_photos, len(outputs.image_filenames)))]
    frame = Similarity.from_dataparser(outputs.dataparser_transform, outputs.dataparser_scale)
    place = (outputs.dataparser_transform, outputs.dataparser_scale)
    whole = load_splats(splat, "auto", *place).splats
    truth = [rasterize.render(rasterize.prepare(whole, view)).image for view in views]
    everything = torch.ones(whole.num_gaussians, dtype=torch.bool)
    print(f"{'format':16} {'MB':>8} {'share':>6} {'PSNR, dB':>9}")
    with tempfile.TemporaryDirectory() as folder:
        size = 0.0
        for ending in FORMATS:
            path = Path(folder) / f"scene{ending}"
            export_ply(path, whole, everything, "world", frame)
            found = load_splats(path, "world", *place).splats
            errors = [
                (rasterize.render(rasterize.prepare(found, view)).image.clamp(0, 1) - picture.clamp(0, 1))
                .square()
                .mean()
                for view, picture in zip(views, truth)
            ]
            psnr = float(torch.stack([-10 * error.clamp(min=1e-12).log10() for error in errors]).mean())
            size = size or path.stat().st_size
            print(f"{ending:16} {path.stat().st_size / 1e6:8.1f} {path.stat().st_size / size:6.2f} {psnr:9.1f}")


if __name__ == "__main__":
    tyro.cli(main)
