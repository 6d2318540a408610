"""Clicks on the photos of an open run: the Gaussians that they select, and where a photo shows those."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.runs.open_run import Run
from click_gaussian_ns.scenes.views import undistorted_click, undistorted_view
from click_gaussian_ns.selection.pick import pick
from click_gaussian_ns.selection.propagate import selection_masks_2d
from click_gaussian_ns.types import Click, Selection


def select(run: Run, camera: str, clicks: Sequence[Click], level: str = "fine") -> Selection:
    """The Gaussians that clicks on a photo select, as `click-gaussian segment` does. Nothing is written.

    Args:
        run: of `open_run`.
        camera: the photo: its file name, or its place among the run's views.
        clicks: pixels of the photo as nerfstudio loads it; at least one that is not negative.
        level: coarse for objects, fine for parts.

    Raises:
        ValueError: see `Run.view`, `Run.level`, `undistorted_click` and `pick`.
    """
    view = run.view(camera)
    _, source = undistorted_view(view.camera)
    prepared = rasterize.prepare(run.splats, view.view, run.rasterize_mode)
    in_view = [undistorted_click(click, source) for click in clicks]
    return pick(prepared, run.features, run.level(level), run.clusters, in_view)


def mask_in_photo(run: Run, camera: str, selection: Selection) -> Bool[np.ndarray, "H W"]:
    """Pixels of a photo, freed of lens distortion, that show the selection; what lies in front hides it.

    Raises:
        ValueError: see `Run.view`.
    """
    prepared = rasterize.prepare(run.splats, run.view(camera).view, run.rasterize_mode)
    return selection_masks_2d(prepared, selection.mask[None])[0]
