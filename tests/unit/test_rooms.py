"""Before a camera, up to half the way to the nearest point in view, there is nothing."""

import torch
from click_scene import front_view

from click_gaussian_ns.geometry.rooms import camera_rooms

VIEW = front_view()  # stands at z = -3 and looks along +z
POINTS = torch.cat([torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) - 0.5, torch.tensor([[0, 0, -2.9]])])
"""Two to four units before the camera, but for one that SfM placed at random."""
SMALL = 0.01


def contained(points: torch.Tensor, *means: tuple[float, float, float], scale: float = SMALL) -> list[bool]:
    places = torch.tensor(means)
    return camera_rooms(points, [VIEW]).contain(places, torch.full((len(means), 3), scale)).tolist()


def test_haze_before_the_camera_and_nothing_else() -> None:
    assert contained(POINTS, (0, 0, -2.5), (0.2, 0.1, -2.0)) == [True, True]
    assert contained(POINTS, (0, 0, -1.5), (0, 0, 0), (0, 0, 5)) == [False] * 3, "too near for a thing, beyond half"
    assert contained(POINTS, (0, 0, -3.5), (0.8, 0, -3.0), (0, 0.9, -2.8)) == [False] * 3, "behind it, and beside"


def test_what_is_large_reaches_in() -> None:
    assert contained(POINTS, (0, 0, -1.4), scale=0.05) == [False]
    assert contained(POINTS, (0, 0, -1.4), scale=0.5) == [True]
    assert contained(POINTS, (0, 0.9, -2.8), scale=0.8) == [True]
    assert contained(POINTS, (0, 0, -3.2), scale=0.5) == [True], "the camera is in it"


def test_few_points_tell_nothing() -> None:
    assert contained(POINTS[:19], (0, 0, -2.5)) == [False]
    behind = POINTS - torch.tensor([0.0, 0.0, 10.0])
    assert contained(behind, (0, 0, -2.5)) == [False], "none is in view"
