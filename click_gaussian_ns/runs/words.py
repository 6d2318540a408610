"""What `click-gaussian find` does: the objects of a run that a text describes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from click_gaussian_ns.files import folder_replaced, refuse_existing, save_picture
from click_gaussian_ns.language.encoder import Encoder, checked_text, open_encoder
from click_gaussian_ns.language.index import IndexedScene, keep_index, kept_index, make_index, nodes_of
from click_gaussian_ns.language.search import FITS, relevancy
from click_gaussian_ns.masks.extract import progress_bar
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.runs.derived_config import write_selection_config
from click_gaussian_ns.runs.open_run import Run, open_run
from click_gaussian_ns.selection.overlay import overlay
from click_gaussian_ns.selection.pick import visible_gaussians
from click_gaussian_ns.selection.propagate import selection_masks_2d
from click_gaussian_ns.selection.storage import IDS_FILE, selection_dir, write_selection
from click_gaussian_ns.selection.tree import Node
from click_gaussian_ns.types import Selection


def find_from_shell(
    load_config: Path,
    text: str,
    encoder_name: str,
    model: str,
    checkpoint: Path | None,
    top: int = 5,
    level: str | None = None,
    name: str | None = None,
    picture: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Rank, print, save, draw.

    Raises:
        ValueError: see `checked_text`, `open_encoder`, `open_run`, `Run.level`; a name or picture that is taken.
    """
    text = checked_text(text)
    if top < 1:
        raise ValueError(f"--top {top}: expected 1 or more")
    if name is not None:
        refuse_existing(selection_dir(load_config.resolve().parent, name), overwrite, "give another --name")
    if picture is not None:
        refuse_existing(picture, overwrite, "give another --picture")
    encoder = open_encoder(encoder_name, model, checkpoint)
    encoder.texts([text])  # what it cannot read is said before the run is opened
    run = open_run(load_config)
    if level is not None:
        run.level(level)
    found = find(run, encoder, text, level)[:top]
    fitting = [(node, score) for node, score in found if score >= FITS]
    if not fitting:
        best = f" (the best has {found[0][1]:.2f}, from {FITS} on it would)" if found else ""
        CONSOLE.print(f"Nothing in this run fits {text!r}{best}", markup=False)
        return
    for place, (node, score) in enumerate(fitting, 1):
        count = int(node.mask(run.clusters).sum())
        ids = " ".join(map(str, node.cluster_ids[:8])) + (" ..." if len(node.cluster_ids) > 8 else "")
        CONSOLE.print(f"{place}. relevancy {score:.2f}: {node.level} {ids}, {count:,} Gaussians", markup=False)
    selection = _selection(run, fitting[0][0])
    if name is not None:
        with folder_replaced(selection_dir(run.run_dir, name)):
            folder = write_selection(run.run_dir, name, selection, {"text": text, "encoder": encoder.key})
            write_selection_config(run.config, folder / IDS_FILE)
        CONSOLE.print(f"Saved as {name}: {selection.num_selected:,} Gaussians", markup=False)
    if picture is not None:
        _draw(run, selection, picture)
        CONSOLE.print(f"Picture: {picture}", markup=False)


def find(run: Run, encoder: Encoder, text: str, level: str | None = None) -> list[tuple[Node, float]]:
    """Objects, parts and groups of a run and their relevancy, the best first; `level`: only its own clusters."""
    nodes, vectors = index_of(run, encoder)
    scores = relevancy(vectors, encoder, text).tolist()
    wanted = [
        (node, score)
        for node, score in zip(nodes, scores)
        if level is None or (node.level == level and len(node.cluster_ids) == 1)
    ]
    return sorted(wanted, key=lambda pair: -pair[1])


def index_of(run: Run, encoder: Encoder) -> tuple[Sequence[Node], Float[Tensor, "M E"]]:
    """What can be found, and a vector of each: as kept with the run, or made now and kept."""
    views = [named.view for named in run.views if named.split == "train"]
    scene = IndexedScene(run.splats, run.clusters, run.tree, views, run.rasterize_mode)
    nodes = nodes_of(run.clusters, run.tree)
    path = run.run_dir / "words" / f"{encoder.key}.npy"
    vectors = kept_index(path, scene, encoder)
    if vectors is None or vectors.shape[0] != len(nodes):
        with progress_bar() as bar:

            def track(places: Sequence[int], description: str) -> Iterable[int]:
                return bar.track(places, description=description)

            vectors = make_index(scene, nodes, encoder, track)
        keep_index(path, vectors, scene, encoder)
    return nodes, vectors


def _selection(run: Run, node: Node) -> Selection:
    mask = node.mask(run.clusters) & visible_gaussians(run.splats.opacity_logits)
    return Selection(node.level, node.cluster_ids, mask)


def _draw(run: Run, selection: Selection, path: Path) -> None:
    """The photo's view that shows most of it, with it marked."""
    best, shown = None, -1.0
    for named in run.views:
        prepared = rasterize.prepare(run.splats, named.view, run.rasterize_mode)
        mask = selection_masks_2d(prepared, selection.mask[None])[0]
        if mask.mean() > shown:
            best, shown = (prepared, mask), float(mask.mean())
    if best is None:
        raise ValueError(f"--picture {path}: the run has no views to draw")
    image = np.asarray(rasterize.render(best[0]).image.clamp(0.0, 1.0).cpu().numpy())
    save_picture(path, overlay(image, best[1], ()), quality=92)
