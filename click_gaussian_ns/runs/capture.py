"""A run's photos against its geometry: the line at the end of training, and `click-gaussian capture`."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from nerfstudio.utils.rich_utils import CONSOLE

from click_gaussian_ns.evaluate.capture import Capture, Photo, PhotoFit, measure_capture
from click_gaussian_ns.evaluate.html import capture_page, jpeg
from click_gaussian_ns.evaluate.truth import spread
from click_gaussian_ns.files import write_renamed
from click_gaussian_ns.masks.extract import progress_bar
from click_gaussian_ns.masks.images import decode_view
from click_gaussian_ns.masks.partition import resized_view
from click_gaussian_ns.runs.open_run import Run, open_run
from click_gaussian_ns.scenes.views import NamedView, lens_view
from click_gaussian_ns.types import VIEWER_GRAY

_SIDE_PX = 432
_NUM_WORST = 8
_MOST_PHOTOS = 100
"""Of those for training, and of those for testing: more take longer and tell no more."""


def capture_of(run: Run) -> Capture | None:
    """Compare a run's photos with its geometry, at most `_SIDE_PX` px large; None where there are no photos (any more).

    Of many photos `_MOST_PHOTOS` of a kind are taken, evenly spread.

    Raises:
        ValueError: a photo cannot be read.
    """
    manager = run.pipeline.datamanager
    if not all(path.is_file() for path in manager.train_dataset.image_filenames):
        return None
    model = run.pipeline.model
    with progress_bar() as bar:
        chosen = _chosen(run)
        photos = bar.track(_photos(chosen), total=len(chosen), description="Comparing photos")
        points = manager.sfm_points()
        return measure_capture(photos, run.splats, run.rasterize_mode, points, model.sight, VIEWER_GRAY)


def _chosen(run: Run) -> list[tuple[NamedView, Any, int]]:
    """Photos for training, then those for testing that are not among them: each with its data set, and place there."""
    manager = run.pipeline.datamanager
    known = {view.path: view for view in run.views}
    chosen = []
    for split, dataset in (("train", manager.train_dataset), ("test", manager.eval_dataset)):
        views = [known[path] for path in dataset.image_filenames]
        places = [place for place, view in enumerate(views) if view.split == split]
        chosen += [(views[place], dataset, place) for place in spread(places, _MOST_PHOTOS)]
    return chosen


def _photos(chosen: Iterable[tuple[NamedView, Any, int]]) -> Iterator[Photo]:
    for view, dataset, place in chosen:
        yield _photo(view.name, view.split, dataset, place)


def _photo(name: str, split: Any, dataset: Any, index: int) -> Photo:
    view, lens = lens_view(dataset.cameras[index : index + 1])
    size = (int(dataset.cameras.height[index]), int(dataset.cameras.width[index]))
    rgb, counted = decode_view(dataset.image_filenames[index], size), dataset.photo_mask(index)
    counted = np.ones(size, bool) if counted is None else counted
    if rgb.shape[2] == 4:
        counted = counted & (rgb[..., 3] > 127)
    rgb = np.ascontiguousarray(rgb[..., :3])
    if lens is not None:
        rgb = lens.straighten(rgb)
        counted = lens.resample(counted[None].astype(np.uint16))[0] > 0
    small = resized_view(view, _SIDE_PX)
    to = (small.width, small.height)
    rgb = cv2.resize(rgb, to, interpolation=cv2.INTER_AREA)
    counted = cv2.resize(counted.astype(np.uint8), to, interpolation=cv2.INTER_NEAREST) > 0
    return Photo(name, split, small, rgb, counted)


def capture_from_shell(load_config: Path, report: Path | None) -> None:
    """Print the line, and write the page.

    Raises:
        ValueError: the run has no photos, or see `open_run`.
    """
    run = open_run(load_config)
    if report is not None and report.is_dir():
        raise ValueError(f"{report} is a folder: give the name of the file to write")
    capture = capture_of(run)
    if capture is None:
        raise ValueError(
            f"{load_config}: the run's photos are not there (any more), and the capture is measured by them: put them "
            "back where they were"
        )
    CONSOLE.print(capture.line)
    if report is not None:
        write_renamed(report, capture_page(capture, _worst(run, capture)).encode())
        CONSOLE.print(f"Report: {report}")


def _worst(run: Run, capture: Capture) -> list[tuple[PhotoFit, str, str]]:
    """The photos that are shown worst, with the photo and its render as JPEG files in base64."""
    worst = sorted(capture.fits, key=lambda fit: fit.psnr)[:_NUM_WORST]
    names = {fit.name for fit in worst}
    photos = {photo.name: photo for photo in _photos(chosen for chosen in _chosen(run) if chosen[0].name in names)}
    return [(fit, _encoded(photos[fit.name].rgb), _encoded(fit.picture)) for fit in worst]


def _encoded(picture: np.ndarray) -> str:
    whole = np.ones(picture.shape[:2], bool)
    return base64.b64encode(jpeg(picture.astype(np.float32) / 255, whole)).decode("ascii")
