"""Virtual cameras see the scene and keep off it."""

import math

import numpy as np
import pytest
import torch

from click_gaussian_ns.demo.shapes import build_splats
from click_gaussian_ns.raster import matrices, rasterize
from click_gaussian_ns.raster.viewpoints import place_cameras
from click_gaussian_ns.splats.cameras import camera_center
from click_gaussian_ns.types import Splats


def room(num: int = 6000, radius: float = 3.0) -> Splats:
    """The inside of a sphere, with a ball in it."""
    generator = torch.Generator().manual_seed(0)
    means = torch.nn.functional.normalize(torch.randn(num, 3, generator=generator), dim=-1) * radius
    means[: num // 6] *= 0.15
    return Splats(
        means,
        torch.randn(num, 4, generator=generator),
        torch.full((num, 3), math.log(0.1)),
        torch.full((num,), 3.0),
        torch.randn(num, 1, 3, generator=generator),
    )


def test_cameras_around_objects_show_nearly_everything() -> None:
    splats, _ = build_splats(4000, np.random.default_rng(0))
    views = place_cameras(splats, 16, 160, 120, "outside-in")
    assert len(views) == 16
    shown = torch.zeros(splats.num_gaussians)
    for view in views:
        assert (view.width, view.height) == (160, 120)
        prepared = rasterize.prepare(splats, view)
        row = matrices.pool(prepared, np.ones((120, 160), np.uint16), 0)
        shown[row.gaussian_ids.long()] += row.weights * 160 * 120
        assert float((splats.means - camera_center(view)).norm(dim=-1).min()) > 0.1
    assert float((shown > 1.0).float().mean()) > 0.7, "what lies inside or below is never seen"


def test_cameras_in_a_room_stay_inside_and_off_the_ball() -> None:
    splats = room()
    views = place_cameras(splats, 12, 120, 120, "inside-out")
    assert len(views) == 12
    for view in views:
        center = camera_center(view)
        assert 0.45 < float(center.norm()) < 2.9
        drawn = rasterize.render(rasterize.prepare(splats, view))
        assert float((drawn.alpha > 0.5).float().mean()) > 0.8
        assert float(drawn.depth[drawn.alpha > 0.5].min()) > 0.2


def test_nothing_to_look_at_is_one_error() -> None:
    splats = room(60)
    faint = Splats(splats.means, splats.quats, splats.log_scales, splats.opacity_logits - 9, splats.sh)
    with pytest.raises(ValueError, match="opaque"):
        place_cameras(faint, 4, 64, 48)
