"""How well the geometry shows the photos of a capture, and what stands before cameras where nothing is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from click_gaussian_ns.files import listed
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.splats.cameras import points_in_picture
from click_gaussian_ns.types import PinholeView, Splats

_AROUND = 0.05
"""Of the picture's longer side: so far around a pixel SfM's points say how near things are."""
_TOO_NEAR = 0.5
"""Fog: what is nearer than this share of the nearest point around."""
_POOR_DB = 3.0
"""A photo fits badly if its PSNR is so far below the mean of its kind."""
_LEAST_SEEN = 0.5
"""`Pooling.sight` of what two views show alike: below it, one view alone tells."""
_MAX_PSNR = 99.0

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Photo:
    """A photo without lens distortion, and how it is seen."""

    name: str
    split: Split
    view: PinholeView
    rgb: UInt8[np.ndarray, "H W 3"]
    counted: Bool[np.ndarray, "H W"]
    """Pixels that are of the photo, and not masked."""


@dataclass(frozen=True)
class PhotoFit:
    """How well one photo is shown."""

    name: str
    split: Split
    psnr: float
    """dB, over the pixels that count."""
    fog: float
    """Share of the pixels, in [0, 1], that show something at less than half the depth of the nearest point around."""
    unseen: float
    """Share of the pixels that show what at most one photo for training bears out."""
    picture: UInt8[np.ndarray, "H W 3"]
    """The photo as rendered."""


@dataclass(frozen=True)
class Capture:
    """All photos."""

    fits: tuple[PhotoFit, ...]
    knows_fog: bool
    """Whether there are points to tell it by."""

    def of(self, split: Split) -> tuple[PhotoFit, ...]:
        return tuple(fit for fit in self.fits if fit.split == split)

    def mean(self, split: Split, name: Literal["psnr", "fog", "unseen"]) -> float:
        """Over the photos of a kind; at least one."""
        return float(np.mean([getattr(fit, name) for fit in self.of(split)]))

    @property
    def poor(self) -> tuple[PhotoFit, ...]:
        """Photos that fit badly, worst first."""
        found = [(fit.psnr - self.mean(split, "psnr"), fit) for split in ("train", "test") for fit in self.of(split)]
        return tuple(fit for below, fit in sorted(found, key=lambda pair: pair[0]) if below < -_POOR_DB)

    @property
    def line(self) -> str:
        """All of it in one line."""
        parts = [f"photos trained on are shown with {self.mean('train', 'psnr'):.1f} dB"] if self.of("train") else []
        tested = self.of("test")
        if tested:
            spread = float(np.std([fit.psnr for fit in tested]))
            parts.append(f"test photos with {self.mean('test', 'psnr'):.1f} dB (± {spread:.1f})")
            parts.append(f"{self.mean('test', 'unseen'):.0%} of them shows what at most one photo saw")
        if self.knows_fog:
            parts.append(f"fog before {self.mean('test' if tested else 'train', 'fog'):.1%} of the pixels")
        if self.poor:
            parts.append("photos that fit badly: " + listed([f"{fit.name} ({fit.psnr:.1f} dB)" for fit in self.poor]))
        return "Capture: " + "; ".join(parts)


def measure_capture(
    photos: Iterable[Photo],
    splats: Splats,
    rasterize_mode: RasterizeMode,
    points: Float32[Tensor, "P 3"] | None,
    sight: Float32[Tensor, "N"],
    background: tuple[float, float, float],
) -> Capture:
    """Render every photo and compare.

    Args:
        photos: one at a time.
        splats: in the frame of the views.
        rasterize_mode: how the splat was trained.
        points: of SfM, world units; None: fog cannot be told.
        sight: how far the training views bear each Gaussian out (`Pooling.sight`).
        background: RGB behind the Gaussians.
    """
    fits = []
    for photo in photos:
        prepared = rasterize.prepare(splats, photo.view, rasterize_mode)
        values = torch.cat([rasterize.visible_colors(prepared), sight.to(splats.means.device)[:, None]], dim=1)
        drawn = rasterize.render(prepared, values)
        image, alpha = drawn.image.cpu().numpy(), drawn.alpha.cpu().numpy()
        rgb = np.clip(image[..., :3] + (1 - alpha) * np.array(background, np.float32), 0.0, 1.0)
        counted = photo.counted
        fog = np.zeros_like(counted)
        if points is not None:
            fog = is_fog(drawn.depth[..., 0].cpu().numpy(), nearest_around(points, photo.view)) & (alpha[..., 0] > 0)
        shown = photo.rgb[counted].astype(np.float32) / 255
        error = float(np.square(rgb[counted] - shown).mean()) if counted.any() else 0.0
        fits.append(
            PhotoFit(
                photo.name,
                photo.split,
                min(_MAX_PSNR, -10 * float(np.log10(max(error, 1e-12)))),
                float(fog[counted].mean()) if counted.any() else 0.0,
                float((image[..., 3] < _LEAST_SEEN)[counted].mean()) if counted.any() else 0.0,
                (rgb * 255).round().astype(np.uint8),
            )
        )
    return Capture(tuple(fits), points is not None)


def nearest_around(points: Float32[Tensor, "P 3"], view: PinholeView) -> Float32[np.ndarray, "H W"]:
    """Depth of the nearest point around each pixel of a view, world units; infinite where there is none."""
    _, columns, rows, depths = points_in_picture(points, view)
    nearest = np.full((view.height, view.width), np.inf, np.float32)
    np.minimum.at(nearest, (rows.numpy(), columns.numpy()), depths.numpy())
    reach = max(1, round(_AROUND * max(view.width, view.height)))
    return cv2.erode(nearest, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8), borderValue=(np.inf,) * 4)


def is_fog(depth: Float32[np.ndarray, "H W"], nearest: Float32[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Pixels whose depth is under half that of the nearest point around; none where no point is around."""
    return np.isfinite(nearest) & (depth < _TOO_NEAR * nearest)
