"""What `click-gaussian segment` and `click-gaussian export` do with a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from click_gaussian_ns.edit.export import ExportFrame, export_all_objects, export_ply, exported_objects
from click_gaussian_ns.edit.formats import FORMATS
from click_gaussian_ns.edit.operations import Edit
from click_gaussian_ns.edit.record import edits_path, read_edits
from click_gaussian_ns.edit.scene import Timeline
from click_gaussian_ns.files import folder_replaced, refuse_existing, save_picture
from click_gaussian_ns.masks.extract import progress_bar
from click_gaussian_ns.masks.photo_names import without_ending
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.runs.derived_config import write_selection_config
from click_gaussian_ns.runs.extracts import check_labels_path, export_labels, export_masks
from click_gaussian_ns.runs.open_run import Run, open_run
from click_gaussian_ns.scenes.views import undistorted_click, undistorted_view
from click_gaussian_ns.selection.overlay import overlay
from click_gaussian_ns.selection.pick import pick
from click_gaussian_ns.selection.propagate import selection_masks_2d
from click_gaussian_ns.selection.storage import IDS_FILE, read_selection, selection_dir, write_selection
from click_gaussian_ns.selection.tree import TreeWalk, Width, checked_granularity, pick_nodes
from click_gaussian_ns.splats.convert import ending_of
from click_gaussian_ns.types import Click, PinholeView, Selection, Splats

OBJECTS = "object"
"""What files of nodes of the tree are called."""


def segment_from_shell(
    load_config: Path,
    camera: str,
    clicks: Sequence[Click],
    level_name: str,
    name: str,
    more_views: Sequence[str],
    overwrite: bool = False,
    width: Width | None = None,
) -> None:
    """Pick, print, save, draw. With `overwrite` the folder of a selection that had the name is replaced whole.

    Raises:
        ValueError: the name is taken, nothing is selected, or see `open_run`, `Run.view`, `undistorted_click`, `pick`,
            `pick_nodes` and `check_name`.
    """
    refuse_existing(selection_dir(load_config.resolve().parent, name), overwrite, "give another --name")
    run = open_run(load_config)
    level = run.level(level_name)
    clicked = run.view(camera)
    shown = [clicked] + [view for view in map(run.view, more_views) if view is not clicked]
    start = time.perf_counter()
    prepared = rasterize.prepare(run.splats, clicked.view, run.rasterize_mode)
    prepared_ms = (time.perf_counter() - start) * 1e3
    source = undistorted_view(clicked.camera)[1]
    in_view = [undistorted_click(click, source) for click in clicks]

    def select() -> Selection:
        if width is None:
            return pick(prepared, run.features, level, run.clusters, in_view)
        choose = partial(width.place, level=level.name)
        return pick_nodes(prepared, run.features, run.levels, run.clusters, run.known_tree, in_view, choose)

    select()  # the first click loads the kernels
    start = time.perf_counter()
    selection = select()
    pick_ms = (time.perf_counter() - start) * 1e3
    if selection.num_selected == 0:
        raise ValueError(
            f"nothing is selected, so {name} is not saved: the negative points took everything, or the clusters "
            f"{list(selection.cluster_ids)} have no Gaussian that can be seen"
        )

    account = {
        "camera": clicked.name,
        "points": [[c.x_px, c.y_px] for c in clicks if not c.negative],
        "negative_points": [[c.x_px, c.y_px] for c in clicks if c.negative],
    }
    with folder_replaced(selection_dir(run.run_dir, name)):
        folder = write_selection(run.run_dir, name, selection, account)
        CONSOLE.print(
            f"{name}: {selection.level} clusters {list(selection.cluster_ids)}, {selection.num_selected:,} of "
            f"{run.splats.num_gaussians:,} Gaussians, {pick_ms:.1f} ms (camera prepared in {prepared_ms:.0f} ms)"
        )
        for view in shown:
            marks = tuple(in_view) if view is clicked else ()
            path = folder / f"overlay_{without_ending(view.name).replace('/', '_')}.jpg"
            _draw(run, view.view, selection, marks, path)
            CONSOLE.print(f"Overlay: {path}")
        config_path = write_selection_config(run.config, folder / IDS_FILE)
    CONSOLE.print(f"Export it: ns-export gaussian-splat --load-config {config_path} --output-dir {folder / 'export'}")


def _draw(run: Run, view: PinholeView, selection: Selection, clicks: tuple[Click, ...], path: Path) -> None:
    prepared = rasterize.prepare(run.splats, view, run.rasterize_mode)
    picture = rasterize.render(prepared).image.clamp(0.0, 1.0).cpu().numpy()
    drawn = overlay(np.asarray(picture), selection_masks_2d(prepared, selection.mask[None])[0], clicks)
    save_picture(path, drawn, quality=92)


def export_from_shell(
    load_config: Path,
    output_dir: Path | None,
    selection: str | None,
    complement: str | None,
    all_objects: bool,
    level_name: str,
    frame: ExportFrame,
    edits: Path | None = None,
    overwrite: bool = False,
    granularity: float | None = None,
    ending: str = ".ply",
    labels: Path | None = None,
    masks: Path | None = None,
) -> None:
    """Write files of Gaussians, of the scene after the edit list `edits` if there is one; `ending`: see FORMATS.

    Raises:
        ValueError: nothing, or two things at once, are asked for, what would be written is there already, or see
            `open_run`, `read_selection`, `export_ply`, `read_edits`.
    """
    if masks is not None and selection is None:
        raise ValueError(f"--masks {masks}: say of what, with --selection NAME")
    if edits is not None and (labels is not None or masks is not None):
        raise ValueError("--edits does not go with --labels or --masks: these are of the run as it was trained")
    if labels is not None:
        check_labels_path(labels, overwrite)
    run = None
    if labels is not None or masks is not None:
        run = open_run(load_config)
        if labels is not None:
            export_labels(run, labels, frame)
        if masks is not None and selection is not None:
            found = read_selection(run.run_dir, selection, run.splats.num_gaussians)
            export_masks(run, selection, found, masks, overwrite)
        if output_dir is None:
            return
    if output_dir is None:
        raise ValueError("say where to: --output-dir DIR for files of Gaussians, or --labels FILE, or --masks DIR")
    if sum((selection is not None, complement is not None, all_objects)) != 1:
        raise ValueError("say what to export: one of --selection NAME, --complement NAME, --all-objects")
    if granularity is not None and not all_objects:
        raise ValueError("--granularity goes with --all-objects: a saved selection has the Gaussians that it has")
    prefix = level_name if granularity is None else OBJECTS
    path = output_dir / (f"{selection}{ending}" if selection is not None else f"{complement}_complement{ending}")
    earlier = exported_objects(output_dir, prefix, ending) if all_objects else [path]
    for file in earlier:
        refuse_existing(file, overwrite, "give another --output-dir")
    run = run or open_run(load_config)
    wanted = () if edits is None else read_edits(edits, run.splats.num_gaussians)
    splats, rows = _edited(run.splats, wanted, edits)
    if all_objects:
        objects, num_objects = _object_labels(run, level_name, granularity)
        with progress_bar() as progress:
            written = export_all_objects(
                output_dir,
                splats,
                prefix,
                objects[rows],
                num_objects,
                frame,
                run.to_dataparser,
                lambda ids: progress.track(list(ids), description="Writing objects"),
                ending,
            )
    else:
        name = selection if selection is not None else str(complement)
        mask = read_selection(run.run_dir, name, run.splats.num_gaussians).mask.to(splats.means.device)[rows]
        written = {path: export_ply(path, splats, mask if selection is not None else ~mask, frame, run.to_dataparser)}
    for path, count in written.items():
        CONSOLE.print(f"{path}: {count:,} Gaussians")


def _object_labels(run: Run, level_name: str, granularity: float | None) -> tuple[Tensor, int]:
    """The object of every Gaussian, and how many there are: clusters of a level, or nodes of the tree."""
    clusters = run.clusters[run.level(level_name).name]
    if clusters.num_clusters == 0:
        raise ValueError(f"the {level_name} level of this run has no clusters, so there is no object to write")
    if granularity is None:
        return clusters.labels, clusters.num_clusters
    return TreeWalk(run.known_tree).cut_labels(checked_granularity(granularity), run.clusters)


def edit_from_shell(
    load_config: Path, edits: Path | None, output_path: Path, frame: ExportFrame, overwrite: bool = False
) -> None:
    """Replay an edit list (the run's own if none is given) and write the whole edited scene.

    Raises:
        ValueError: the file is there already, an edit does not fit the scene, or see `open_run`, `read_edits`,
            `export_ply`.
    """
    if ending_of(output_path) not in FORMATS:
        raise ValueError(f"--output-path {output_path}: expected a name that ends in one of {', '.join(FORMATS)}")
    refuse_existing(output_path, overwrite, "give another --output-path")
    run = open_run(load_config)
    base = run.splats
    source = edits or edits_path(run.run_dir)
    wanted = read_edits(source, base.num_gaussians)
    splats, _ = _edited(base, wanted, source)
    everything = torch.ones(splats.num_gaussians, dtype=torch.bool, device=splats.means.device)
    count = export_ply(output_path, splats, everything, frame, run.to_dataparser)
    kinds = ", ".join(edit.kind for edit in wanted) or "none"
    CONSOLE.print(f"Edits of {source}: {kinds}")
    CONSOLE.print(f"{output_path}: {count:,} Gaussians (the run has {base.num_gaussians:,})")


def _edited(base: Splats, edits: Sequence[Edit], source: Path | None) -> tuple[Splats, Tensor]:
    """What is left after an edit list read from `source`, and the row of the base that each Gaussian comes from."""
    try:
        scene = Timeline(base).at(edits)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    return scene.final(), scene.source_ids[scene.alive].long()
