"""The report as one HTML page without outside files: the figures, and pictures of every object."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt8
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from PIL import Image
from scipy import ndimage

from click_gaussian_ns.evaluate.capture import Capture, PhotoFit
from click_gaussian_ns.evaluate.protocol import Pictures
from click_gaussian_ns.evaluate.results import Report, TaskResult
from click_gaussian_ns.evaluate.truth import Task
from click_gaussian_ns.files import write_renamed
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.types import Click

_HIT, _SURPLUS, _MISSED = (0.15, 0.75, 0.3), (0.95, 0.2, 0.15), (0.2, 0.4, 1.0)
_STRENGTH = 0.55
_HEIGHT_PX = 150
_LEAST_CROP = 0.3
"""A picture shows at least this share of the view's height."""
_MARGIN = 0.25
"""Around the object, as a share of its size."""
_JPEG_QUALITY = 72

_ROWS = (
    ("miou", "mIoU, label propagation"),
    ("boundary_iou", "boundary IoU, label propagation"),
    ("macc", "mAcc, label propagation"),
    ("click_miou", "mIoU, single click"),
    ("click_boundary_iou", "boundary IoU, single click"),
    ("click_macc", "mAcc, single click"),
    ("noc_80", "NoC@80, clicks"),
    ("noc_80_failures", "objects that did not reach 80"),
    ("noc_90", "NoC@90, clicks"),
    ("noc_90_failures", "objects that did not reach 90"),
    ("everything_miou", "segment everything, matched mIoU"),
    ("everything_view_miou", "segment everything, matched mIoU in each view"),
    ("everything_ari", "segment everything, ARI"),
    ("view_consistency", "view consistency"),
    ("num_objects", "objects measured"),
    ("num_references", "views that they were shown in, together"),
    ("miou_spread", "mIoU, standard deviation over references"),
    ("miou_worst", "mIoU, worst reference"),
    ("click_miou_spread", "mIoU, single click, standard deviation over references"),
    ("click_miou_worst", "mIoU, single click, worst reference"),
    ("left_out_objects", "objects left out"),
    ("left_out_views", "views left out (too few pixels)"),
    ("num_clusters", "clusters"),
)


@dataclass
class _Page:
    """One object's pictures: JPEG files."""

    reference: bytes = b""
    propagated: bytes = b""
    clicked: bytes = b""
    view: str = ""
    iou: float = 2.0
    click_iou: float = 0.0


@dataclass
class PictureBook:
    """An observer of an evaluation: keeps each object's reference view and the scored view where it fares worst."""

    names: Sequence[str]
    """Of the scene's views."""
    pages: dict[Task, _Page] = field(default_factory=dict)
    _place: int | None = None
    _picture: Float[np.ndarray, "H W 3"] | None = None

    def __call__(self, pictures: Pictures) -> None:
        page = self.pages.setdefault(pictures.task, _Page())
        if pictures.score is None:
            page.reference = jpeg(outlined(self._rgb(pictures), pictures.truth, pictures.click), pictures.truth)
        elif pictures.score.propagated.iou < page.iou:
            truth, rgb = pictures.truth, self._rgb(pictures)
            page.iou, page.click_iou = pictures.score.propagated.iou, pictures.score.clicked.iou
            page.view = self.names[pictures.look.place]
            shown = truth | pictures.propagated | pictures.clicked
            page.propagated = jpeg(compared(rgb, pictures.propagated, truth), shown)
            page.clicked = jpeg(compared(rgb, pictures.clicked, truth), shown)

    def _rgb(self, pictures: Pictures) -> Float[np.ndarray, "H W 3"]:
        """The view as the Gaussians show it."""
        if self._picture is None or self._place != pictures.look.place:
            image = rasterize.render(pictures.look.prepared).image
            self._place, self._picture = pictures.look.place, image.clamp(0, 1).cpu().numpy()
        return self._picture


def compared(
    picture: Float[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"]
) -> Float[np.ndarray, "H W 3"]:
    """The picture with what was rightly found in green, what is too much in red, what was missed in blue."""
    tinted = picture.copy()
    for pixels, color in ((mask & truth, _HIT), (mask & ~truth, _SURPLUS), (truth & ~mask, _MISSED)):
        tinted[pixels] = (1 - _STRENGTH) * tinted[pixels] + _STRENGTH * np.array(color, np.float32)
    return tinted


def outlined(
    picture: Float[np.ndarray, "H W 3"], shown: Bool[np.ndarray, "H W"], click: Click | None
) -> Float[np.ndarray, "H W 3"]:
    """The picture with the outline of what was shown, and the click."""
    drawn = picture.copy()
    drawn[ndimage.binary_dilation(shown) & ~shown] = (1.0, 0.85, 0.0)
    if click is not None:
        rows, columns = np.mgrid[: shown.shape[0], : shown.shape[1]]
        distance = np.hypot(rows + 0.5 - click.y_px, columns + 0.5 - click.x_px)
        drawn[distance <= 5] = 1.0
        drawn[distance <= 3.5] = _HIT
    return drawn


def jpeg(picture: Float[np.ndarray, "H W 3"], shown: Bool[np.ndarray, "H W"]) -> bytes:
    """The part of a picture ([0, 1]) around some pixels, `_HEIGHT_PX` high."""
    window = picture[crop(shown)]
    values: UInt8[np.ndarray, "h w 3"] = (window * 255).round().astype(np.uint8)
    width_px = max(1, round(_HEIGHT_PX * window.shape[1] / window.shape[0]))
    buffer = io.BytesIO()
    resized = Image.fromarray(values).resize((width_px, _HEIGHT_PX), Image.Resampling.LANCZOS)
    resized.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def crop(shown: Bool[np.ndarray, "H W"]) -> tuple[slice, slice]:
    """A window of the image's proportions around some pixels, with a margin; the whole image if there are none."""
    height, width = shown.shape
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    if rows.size == 0:
        return slice(0, height), slice(0, width)
    extent = max((rows[-1] + 1 - rows[0]) / height, (columns[-1] + 1 - columns[0]) / width)
    share = min(1.0, max(_LEAST_CROP, float(extent) * (1 + 2 * _MARGIN)))

    def window(first: int, last: int, size: int) -> slice:
        length = max(1, round(share * size))
        start = min(max(0, (first + last + 1 - length) // 2), size - length)
        return slice(start, start + length)

    return window(int(rows[0]), int(rows[-1]), height), window(int(columns[0]), int(columns[-1]), width)


def write_html(path: Path, report: Report, book: PictureBook) -> None:
    """Write the page."""
    write_renamed(path, page(report, book).encode())


def page(report: Report, book: PictureBook) -> str:
    """The page as text."""
    levels = tuple(dict.fromkeys(result.task.level for result in report.results))
    worst_first = sorted(report.results, key=lambda result: result.mean(lambda view: view.propagated.iou))
    objects = {level: [_Object.of(r, book) for r in worst_first if r.task.level == level] for level in levels}
    return _template("report.html.jinja").render(
        report=report,
        levels=levels,
        rows=_ROWS,
        counts=range(1, report.protocol.curve_clicks + 1),
        objects=objects,
    )


@dataclass(frozen=True)
class _Object:
    """What the page says and shows of an object."""

    name: str
    iou: float
    click_iou: float
    num_clusters: int
    num_views: int
    figures: tuple[tuple[str, str], ...]
    """JPEG files in base64, and their captions."""

    @staticmethod
    def of(result: TaskResult, book: PictureBook) -> _Object:
        pictures = book.pages[result.task]
        captions = (
            (pictures.reference, f"shown in {result.reference}"),
            (pictures.propagated, f"label propagation in {pictures.view}: {pictures.iou:.3f}"),
            (pictures.clicked, f"single click in {pictures.view}: {pictures.click_iou:.3f}"),
        )
        return _Object(
            name=result.task.name,
            iou=result.mean(lambda view: view.propagated.iou),
            click_iou=result.mean(lambda view: view.clicked.iou),
            num_clusters=len(result.cluster_ids),
            num_views=len(result.views),
            figures=tuple((base64.b64encode(data).decode("ascii"), caption) for data, caption in captions),
        )


def capture_page(capture: Capture, worst: Sequence[tuple[PhotoFit, str, str]]) -> str:
    """The page of `click-gaussian capture`; `worst`: photos with the photo and its render as JPEG files in base64."""
    fits = sorted(capture.fits, key=lambda fit: fit.psnr)
    return _template("capture.html.jinja").render(line=capture.line, worst=worst, fits=fits)


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("click_gaussian_ns.evaluate", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    return environment.get_template(name)


def _figure(value: float | int | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
