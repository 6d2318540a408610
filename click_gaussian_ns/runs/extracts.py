"""What a run knows, for other programs: a label per Gaussian, and a selection's mask in every photo."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from nerfstudio.utils.rich_utils import CONSOLE

from click_gaussian_ns.edit.export import ExportFrame, moved_to_world
from click_gaussian_ns.edit.labels import ENDINGS, write_labels
from click_gaussian_ns.files import refuse_existing, save_picture, write_renamed
from click_gaussian_ns.masks.images import fit_photo, read_header
from click_gaussian_ns.masks.levels import resize_nearest
from click_gaussian_ns.masks.photo_names import without_ending
from click_gaussian_ns.masks.progress import progress_bar
from click_gaussian_ns.masks.segmenter import encode_masks
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.runs.open_run import Run
from click_gaussian_ns.scenes.views import NamedView, lens_view
from click_gaussian_ns.selection.propagate import selection_masks_2d
from click_gaussian_ns.selection.storage import list_selections, read_selection
from click_gaussian_ns.types import Selection

COCO_FILE = "masks.json"


def check_labels_path(path: Path, overwrite: bool) -> None:
    """
    Raises:
        ValueError: an ending that labels are not written in, or there is such a file.
    """
    if path.suffix not in ENDINGS:
        raise ValueError(f"--labels {path}: expected a name that ends in one of {', '.join(ENDINGS)}")
    refuse_existing(path, overwrite, "give another --labels")


def export_labels(run: Run, path: Path, frame: ExportFrame) -> None:
    """Write a label per Gaussian of the run; see `write_labels`. Saved selections of one object give it their name."""
    splats = moved_to_world(run.splats, run.to_dataparser) if frame == "world" else run.splats
    clusters = {level.name: run.clusters[level.name] for level in run.levels}
    write_labels(path, splats, clusters, run.tree, _given_names(run), frame)
    counts = ", ".join(f"{found.num_clusters} {name}" for name, found in clusters.items())
    CONSOLE.print(f"{path}: labels of {splats.num_gaussians:,} Gaussians ({counts})")


def _given_names(run: Run) -> dict[str, dict[int, str]]:
    names: dict[str, dict[int, str]] = {}
    for name in list_selections(run.run_dir):
        try:
            selection = read_selection(run.run_dir, name, run.splats.num_gaussians)
        except ValueError:
            continue  # of another run, or damaged: it names nothing here
        if len(selection.cluster_ids) == 1:
            names.setdefault(selection.level, {})[selection.cluster_ids[0]] = name
    return names


def mask_files(run: Run, folder: Path) -> list[Path]:
    """Files that `export_masks` writes, a photo's each and the data set; photos that differ in their ending keep it."""
    called = Counter(without_ending(view.name) for view in run.views)
    names = (view.name if called[without_ending(view.name)] > 1 else without_ending(view.name) for view in run.views)
    return [*(folder / f"{name}.png" for name in names), folder / COCO_FILE]


def export_masks(run: Run, name: str, selection: Selection, folder: Path, overwrite: bool) -> None:
    """Write where each photo shows a selection: black-and-white PNGs at the photo's size, and one COCO data set.

    Where a photo is gone its camera's size is taken.

    Raises:
        ValueError: a file is there already.
    """
    files = mask_files(run, folder)
    for file in files:
        refuse_existing(file, overwrite, "give another --masks")
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with progress_bar() as progress:
        views = progress.track(list(zip(run.views, files)), description="Writing masks")
        for number, (view, file) in enumerate(views, start=1):
            mask = mask_in_stored_photo(run, view, selection)
            save_picture(file, mask.astype(np.uint8) * 255)
            height, width = mask.shape
            images.append({"id": number, "file_name": view.name, "width": width, "height": height})
            if mask.any():
                annotations.append({"id": len(annotations) + 1, "image_id": number, **_annotation(mask)})
    record = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": name}]}
    write_renamed(folder / COCO_FILE, json.dumps(record).encode())
    CONSOLE.print(f"{folder}: masks of {name} in {len(images)} photos, of which {len(annotations)} show it")


def mask_in_stored_photo(run: Run, view: NamedView, selection: Selection) -> Bool[np.ndarray, "H W"]:
    """Pixels of a photo, as it is stored, that show the selection; what lies in front hides it."""
    prepared = rasterize.prepare(run.splats, view.view, run.rasterize_mode)
    mask = selection_masks_2d(prepared, selection.mask[None])[0]
    size = (int(view.camera.height.item()), int(view.camera.width.item()))
    lens = lens_view(view.camera)[1]
    if lens is not None:
        mask = lens.to_photo(mask[None].astype(np.uint16))[0] > 0
    if view.path.is_file():
        size = fit_photo(view.path, read_header(view.path), size)[0]
    if mask.shape == size:
        return mask
    return resize_nearest(mask[None].astype(np.uint16), size)[0] > 0


def _annotation(mask: Bool[np.ndarray, "H W"]) -> dict[str, Any]:
    rows, columns = np.nonzero(mask)
    (rle,) = encode_masks(mask[None])
    left, top = int(columns.min()), int(rows.min())
    return {
        "category_id": 1,
        "iscrowd": 0,
        "area": int(mask.sum()),
        "bbox": [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1],
        "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
    }
