"""What was found, in words and as a picture of the cameras over the points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from click_gaussian_ns.files import save_picture
from click_gaussian_ns.poses.solver import Model

_FEW = 0.6
"""Of the photos: with a smaller share placed, something went wrong."""
_NAMED = 12
_PANEL_PX = (720, 560)
_MARGIN_PX = 36
_CAMERA_RGB, _WAY_RGB, _BACKGROUND_RGB, _TEXT_RGB = (210, 30, 30), (240, 170, 150), (250, 250, 248), (60, 60, 60)
_QUALITY = 92


def report_lines(models: Sequence[Model], names: Sequence[str]) -> list[str]:
    """What the user is told: how many photos were placed, how exactly, and which were not.

    Args:
        models: the largest first, at least one.
        names: of all photos.
    """
    best = models[0]
    placed = set(best.registered)
    left_out = [name for name in names if name not in placed]
    lines = [
        f"{len(best.registered)} of {len(names)} photos placed, {best.points} points, mean reprojection error "
        f"{best.error_px:.2f} px"
    ]
    if left_out:
        more = f" and {len(left_out) - _NAMED} more (all are in poses.json)" if len(left_out) > _NAMED else ""
        lines.append(f"left out: {', '.join(left_out[:_NAMED])}{more}")
    if len(models) > 1:
        others = ", ".join(f"sparse/{number} ({len(m.registered)})" for number, m in enumerate(models) if number)
        lines.append(f"photos that could not be joined to these are models of their own: {others}")
    if len(best.registered) < _FEW * len(names):
        lines.append(
            f"warning: only {len(best.registered)} of {len(names)} photos could be placed. {advice(len(names))}"
        )
    return lines


def advice(num_photos: int) -> str:
    """What helps when few photos are placed."""
    return (
        "Take photos from places a small step apart, so that each shows two thirds of what the one before it shows, of "
        "things with texture, sharp and without moving things; from a video take more --num-frames"
        + ("; or try --matching exhaustive" if num_photos > _NAMED else "")
    )


def draw_cameras(
    path: Path,
    points: Float[np.ndarray, "N 3"],
    colors: UInt8[np.ndarray, "N 3"],
    centers: Float[np.ndarray, "M 3"],
    rotations: Float[np.ndarray, "M 3 3"],
) -> None:
    """Write a picture of where photos were taken, from above and from the side.

    Args:
        path: a .jpg or .png.
        points: of the model.
        colors: theirs, RGB.
        centers: of the cameras, in the order of their names.
        rotations: from the world's axes to the cameras' (x right, y down, z forward).
    """
    axes = upright_axes(rotations)
    moved, seen_from = points @ axes.T, centers @ axes.T
    looking = rotations[:, 2] @ axes.T
    middle, extent = _extent(moved, seen_from)
    panels = [
        _panel(title, moved, colors, seen_from, looking, middle, extent, rows)
        for title, rows in (("from above", (0, 2)), ("from the side", (2, 1)))
    ]
    save_picture(path, np.concatenate(panels, axis=1), _QUALITY)


def upright_axes(rotations: Float[np.ndarray, "M 3 3"]) -> Float[np.ndarray, "3 3"]:
    """Rows: right, up and forward of the middle camera, in the world's axes; up is the mean of the cameras'."""
    up = -rotations[:, 1].mean(axis=0)
    up = up / np.linalg.norm(up) if np.linalg.norm(up) > 1e-3 else -rotations[0, 1]
    forward = rotations[:, 2].mean(axis=0)
    forward = forward - up * (forward @ up)
    if np.linalg.norm(forward) < 1e-3:  # all around: any direction across will do
        forward = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    forward = forward / np.linalg.norm(forward)
    return np.stack([np.cross(forward, up), up, forward])


def _extent(
    points: Float[np.ndarray, "N 3"], centers: Float[np.ndarray, "M 3"]
) -> tuple[Float[np.ndarray, "3"], float]:
    """Middle and size of what is drawn: all cameras, and the points without the few that lie far away."""
    low, high = centers.min(axis=0), centers.max(axis=0)
    if len(points):
        few, most = np.quantile(points, [0.03, 0.97], axis=0)
        low, high = np.minimum(low, few), np.maximum(high, most)
    return (low + high) / 2, float(max((high - low).max(), 1e-6))


def _panel(
    title: str,
    points: Float[np.ndarray, "N 3"],
    colors: UInt8[np.ndarray, "N 3"],
    centers: Float[np.ndarray, "M 3"],
    looking: Float[np.ndarray, "M 3"],
    middle: Float[np.ndarray, "3"],
    extent: float,
    rows: tuple[int, int],
) -> UInt8[np.ndarray, "H W 3"]:
    """Points and cameras along two of the axes; the second one goes up."""
    width, height = _PANEL_PX
    scale = (min(width, height) - 2 * _MARGIN_PX) / extent
    flip = np.array([scale, -scale])

    def pixels(positions: Float[np.ndarray, "K 3"]) -> Float[np.ndarray, "K 2"]:
        return (positions - middle)[:, list(rows)] * flip + np.array([width / 2, height / 2])

    canvas = np.full((height, width, 3), _BACKGROUND_RGB, np.uint8)
    places = np.rint(pixels(points)).astype(np.int64)
    inside = (places >= 0).all(axis=1) & (places < np.array([width - 1, height - 1])).all(axis=1)
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
        canvas[places[inside, 1] + down, places[inside, 0] + right] = colors[inside]
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    at = pixels(centers)
    draw.line([tuple(place) for place in at.tolist()], fill=_WAY_RGB, width=1)
    tips = pixels(centers + looking * (22 / scale))
    for (x, y), (tip_x, tip_y) in zip(at.tolist(), tips.tolist()):
        draw.line([(x, y), (tip_x, tip_y)], fill=_CAMERA_RGB, width=2)
        draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=_CAMERA_RGB)
    draw.text((12, 10), f"{title}: {len(centers)} cameras (red), {len(points)} points", fill=_TEXT_RGB)
    return np.array(picture)
