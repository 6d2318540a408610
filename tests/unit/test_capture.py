"""How well photos are shown, and what stands before cameras."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from click_scene import HEIGHT, WIDTH, front_view, small_scene

from click_gaussian_ns.evaluate.capture import Capture, Photo, PhotoFit, is_fog, measure_capture, nearest_around
from click_gaussian_ns.evaluate.html import capture_page
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.types import Splats

SPLATS, _, _ = small_scene()
GRAY = (0.5, 0.5, 0.5)


def with_haze(splats: Splats) -> Splats:
    """A wide Gaussian half a unit before the camera, which stands three before the scene."""
    both = select(splats, torch.tensor([*range(splats.num_gaussians), 0]))
    means, scales, logits = both.means.clone(), both.log_scales.clone(), both.opacity_logits.clone()
    means[-1], scales[-1], logits[-1] = torch.tensor([0.0, 0.0, -2.5]), -1.0, 4.0
    return replace(both, means=means, log_scales=scales, opacity_logits=logits)


def photo_of(splats: Splats, name: str = "a.jpg", split: str = "train") -> Photo:
    drawn = rasterize.render(rasterize.prepare(splats, front_view()))
    rgb = (drawn.image + (1 - drawn.alpha) * torch.tensor(GRAY)).clamp(0, 1)
    whole = np.ones((HEIGHT, WIDTH), bool)
    return Photo(name, split, front_view(), (rgb * 255).round().byte().numpy(), whole)  # pyright: ignore[reportArgumentType]


def measured(splats: Splats, *photos: Photo, sight: float = 1.0, points: bool = True) -> Capture:
    seen = torch.full((splats.num_gaussians,), sight)
    return measure_capture(photos, splats, "classic", SPLATS.means if points else None, seen, GRAY)


def test_the_same_picture() -> None:
    (fit,) = measured(SPLATS, photo_of(SPLATS)).fits
    assert fit.psnr > 50 and fit.fog == 0
    empty = float((rasterize.render(rasterize.prepare(SPLATS, front_view())).alpha < 0.5).float().mean())
    assert fit.unseen == pytest.approx(empty, abs=0.05), "nothing is there, so nothing bears it out"


def test_psnr_is_that_of_the_pixels_that_count() -> None:
    photo = photo_of(SPLATS)
    wrong = photo.rgb.copy()
    wrong[:, : WIDTH // 2] = np.clip(wrong[:, : WIDTH // 2].astype(int) + 26, 0, 255)
    right_half = np.arange(WIDTH)[None] >= WIDTH // 2
    whole = measured(SPLATS, replace(photo, rgb=wrong)).fits[0]
    half = measured(SPLATS, replace(photo, rgb=wrong, counted=right_half & photo.counted)).fits[0]
    assert whole.psnr == pytest.approx(-10 * np.log10((26 / 255) ** 2 / 2), abs=0.3)
    assert half.psnr > 50


def test_haze_is_fog_and_a_scene_is_not() -> None:
    hazy = with_haze(SPLATS)
    (fit,) = measured(hazy, photo_of(SPLATS)).fits
    assert fit.fog > 0.1 and fit.psnr < 25
    assert not measured(hazy, photo_of(SPLATS), points=False).knows_fog


def test_fog_is_told_by_points_around_the_pixel() -> None:
    nearest = nearest_around(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), front_view())
    assert nearest[HEIGHT // 2, WIDTH // 2] == pytest.approx(3.0)
    assert nearest[HEIGHT // 2, WIDTH // 2 + 8] == pytest.approx(3.0)
    assert np.isinf(nearest[HEIGHT // 2, WIDTH // 2 + 10]), "a twentieth of the width is near"
    depth = np.full_like(nearest, 1.4)
    assert is_fog(depth, nearest)[HEIGHT // 2, WIDTH // 2]
    assert not is_fog(depth + 0.2, nearest).any()
    assert not is_fog(depth, np.full_like(nearest, np.inf)).any()


def fit_of(name: str, split: str, psnr: float, fog: float = 0.0, unseen: float = 0.0) -> PhotoFit:
    return PhotoFit(name, split, psnr, fog, unseen, np.zeros((4, 4, 3), np.uint8))  # pyright: ignore[reportArgumentType]


def test_one_line_says_it_all() -> None:
    fits = [fit_of(f"{i}.jpg", "train", 30.0) for i in range(9)]
    fits += [fit_of("bad.jpg", "train", 20.0), fit_of("s.jpg", "test", 26.0, 0.02, 0.1), fit_of("t.jpg", "test", 22.0)]
    line = Capture(tuple(fits), knows_fog=True).line
    assert line == (
        "Capture: photos trained on are shown with 29.0 dB; test photos with 24.0 dB (± 2.0); 5% of them shows what at "
        "most one photo saw; fog before 1.0% of the pixels; photos that fit badly: bad.jpg (20.0 dB)"
    )
    assert "fog" not in Capture(tuple(fits), knows_fog=False).line
    assert Capture(tuple(fits[:9]), knows_fog=True).line == (
        "Capture: photos trained on are shown with 30.0 dB; fog before 0.0% of the pixels"
    )


def test_the_page_escapes_names() -> None:
    page = capture_page(Capture((fit_of("<b>.jpg", "train", 30.0),), knows_fog=True), [])
    assert "&lt;b&gt;.jpg" in page and "<b>.jpg" not in page
