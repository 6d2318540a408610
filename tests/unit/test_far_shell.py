"""Where the background of photos can go when geometry is trained."""

import numpy as np
import pytest
import torch

from click_gaussian_ns.geometry.far_shell import far_shell
from click_gaussian_ns.splats.cameras import camera_center, intrinsics, project_points
from click_gaussian_ns.types import PinholeView

SIZE = 60
NUM = 2000
POINTS = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


def looking_along(sign: float, away: float = 3.0) -> PinholeView:
    """From `away` before the points, along z or against it."""
    viewmat = torch.diag(torch.tensor([sign, 1.0, sign, 1.0]))
    viewmat[2, 3] = away
    return PinholeView(viewmat, intrinsics(60.0, 60.0, SIZE / 2, SIZE / 2), SIZE, SIZE)


def picture(color: tuple[int, ...]) -> np.ndarray:
    return np.full((SIZE, SIZE, len(color)), color, np.uint8)


def test_each_side_has_the_colour_of_the_photos_that_show_it() -> None:
    ahead, behind = looking_along(1.0), looking_along(-1.0)
    photos = [(ahead, picture((200, 10, 10)), None), (behind, picture((10, 10, 200)), None)]
    places, colors = far_shell(POINTS, photos, NUM)
    assert 0.1 * NUM < len(places) < 0.5 * NUM, "what no photo shows is left out"
    front = places[:, 2] > 0
    assert torch.equal(colors[front], torch.tensor([[200, 10, 10]], dtype=torch.uint8).expand(int(front.sum()), 3))
    assert torch.equal(colors[~front], torch.tensor([[10, 10, 200]], dtype=torch.uint8).expand(int((~front).sum()), 3))


def test_it_lies_around_the_points_and_the_cameras() -> None:
    near, far = (
        far_shell(POINTS, [(looking_along(1.0, away), picture((9, 9, 9)), None)], NUM)[0] for away in (0.1, 9.0)
    )
    middle = POINTS.median(dim=0).values
    for places, reach in ((near, float((POINTS - middle).norm(dim=1).quantile(0.99))), (far, 9.0)):
        distances = (places - middle).norm(dim=1)
        assert float(distances.max() - distances.min()) < 1e-3
        assert float(distances[0]) == pytest.approx(2 * reach, rel=0.1)


def test_a_point_at_random_does_not_move_it() -> None:
    outlier = torch.cat([POINTS, torch.tensor([[0.0, 0.0, 1e4]])])
    photo = [(looking_along(1.0), picture((9, 9, 9)), None)]
    assert float(far_shell(outlier, photo, NUM)[0].norm(dim=1).max()) < 10


def test_colours_of_several_photos_are_averaged() -> None:
    view = looking_along(1.0)
    _, colors = far_shell(POINTS, [(view, picture((100, 0, 0)), None), (view, picture((200, 0, 0)), None)], NUM)
    assert colors[:, 0].unique().tolist() == [150]


def test_transparent_and_masked_pixels_show_nothing() -> None:
    view = looking_along(1.0)
    half = np.zeros((SIZE, SIZE), bool)
    half[:, : SIZE // 2] = True
    see_through = picture((9, 9, 9, 255))
    see_through[~half, 3] = 0
    for photo in ((view, picture((9, 9, 9)), half), (view, see_through, None)):
        places, _ = far_shell(POINTS, [photo], NUM)
        assert len(places) > 20
        assert bool((project_points(places, view)[0][:, 0] < SIZE / 2).all())


def test_a_picture_of_another_size_than_its_view() -> None:
    view = looking_along(1.0)
    large = np.zeros((2 * SIZE, 2 * SIZE, 3), np.uint8)
    large[:, SIZE:] = 250
    places, colors = far_shell(POINTS, [(view, large, None)], NUM)
    right = project_points(places, view)[0][:, 0] > SIZE / 2
    assert bool((colors[right] == 250).all()) and bool((colors[~right] == 0).all())
    assert torch.allclose(camera_center(view), torch.tensor([0.0, 0.0, -3.0]))
