"""Label maps of photos with lens distortion, against OpenCV's own projection."""

import cv2
import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.datamanagers.full_images_datamanager import _undistort_image

from click_gaussian_ns.masks.photo_pixels import PhotoPixels
from click_gaussian_ns.scenes.views import camera_view, lens_view, undistorted_click, undistorted_view
from click_gaussian_ns.types import Click

WIDTH, HEIGHT = 160, 120
DISTORTION = [0.12, -0.05, 0.0, 0.0, 0.004, -0.003]
"""nerfstudio's order: k1 k2 k3 k4 p1 p2."""


def camera(distortion: list[float] | None) -> Cameras:
    return Cameras(
        camera_to_worlds=torch.eye(4)[None, :3],
        fx=torch.tensor([[150.0]]),
        fy=torch.tensor([[155.0]]),
        cx=torch.tensor([[84.0]]),
        cy=torch.tensor([[57.0]]),
        width=torch.tensor([[WIDTH]]),
        height=torch.tensor([[HEIGHT]]),
        distortion_params=None if distortion is None else torch.tensor([distortion]),
        camera_type=CameraType.PERSPECTIVE,
    )


@pytest.mark.parametrize("distortion", [None, [0.0] * 6])
def test_a_pinhole_camera_is_left_alone(distortion: list[float] | None) -> None:
    view, source = undistorted_view(camera(distortion))
    assert source is None
    assert torch.equal(view.K, camera_view(camera(distortion)).K)


def test_source_pixels_are_where_opencv_projects_them() -> None:
    view, source = undistorted_view(camera(DISTORTION))
    assert source is not None
    assert source.shape[:2] == (view.height, view.width)
    rows, columns = np.mgrid[: view.height, : view.width]
    K = view.K.double().numpy()
    # pixel (row, column) has its centre at (column + 0.5, row + 0.5) in K's coordinates
    rays = np.stack([(columns + 0.5 - K[0, 2]) / K[0, 0], (rows + 0.5 - K[1, 2]) / K[1, 1], np.ones(rows.shape)], -1)
    k1, k2, k3, _, p1, p2 = DISTORTION
    original = camera_view(camera(DISTORTION)).K.double().numpy()
    expected, _ = cv2.projectPoints(
        rays.reshape(-1, 3), np.zeros(3), np.zeros(3), original, np.array([k1, k2, p1, p2, k3])
    )
    expected = expected.reshape(*rows.shape, 2) - 0.5
    inside = source[..., 2] > 0.999
    assert inside.mean() > 0.9
    assert np.abs(source[..., :2] - expected)[inside].max() < 0.05
    assert np.abs(expected - np.stack([columns, rows], -1)).max() > 1.5, "the distortion is too weak to test anything"


def test_label_maps_are_resampled_to_the_undistorted_view() -> None:
    view, lens = lens_view(camera(DISTORTION))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    labels = (1 + rows // 8 * 20 + columns // 8).astype(np.uint16)
    assert lens is not None
    found = lens.resample(np.stack([labels, labels + 1000]))
    assert found.shape == (2, view.height, view.width)
    source = lens.source()
    inside = source[..., 2] > 0.999
    x, y = np.rint(source[inside][:, 0]).astype(int), np.rint(source[inside][:, 1]).astype(int)
    assert np.array_equal(found[0][inside], labels[y, x])
    assert np.array_equal(found[1][inside], found[0][inside] + 1000)
    assert (found[:, ~inside] == 0).all()


@pytest.mark.parametrize("kind", [CameraType.PERSPECTIVE, CameraType.FISHEYE])
def test_a_lens_is_nerfstudios_own(kind: CameraType) -> None:
    """Its maps straighten a picture as nerfstudio does, and lead back to the photo."""
    bent = camera([0.05, 0.01, 0.0, 0.0, 0.0, 0.0] if kind == CameraType.FISHEYE else DISTORTION)
    bent.camera_type = torch.full_like(bent.camera_type, kind.value)
    photo = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8), (0, 0), 3)
    view, lens = lens_view(bent)
    assert lens is not None
    single = bent[0].reshape(())
    assert single.distortion_params is not None
    K, expected, _ = _undistort_image(
        single, single.distortion_params.numpy().copy(), {}, photo, camera_view(bent).K.numpy().copy()
    )
    straight = lens.straighten(photo)
    assert straight.shape == expected.shape == (view.height, view.width, 3)
    assert np.abs(straight.astype(int) - expected).max() <= 2
    np.testing.assert_allclose(view.K.numpy(), K, atol=1e-4)
    there = lens.in_view()
    columns, rows = np.rint(there[..., 0]).astype(int), np.rint(there[..., 1]).astype(int)
    inside = (columns > 1) & (columns < view.width - 2) & (rows > 1) & (rows < view.height - 2)
    back = lens.source()[rows[inside], columns[inside], :2]
    true_rows, true_columns = np.nonzero(inside)
    assert inside.mean() > 0.3
    assert np.abs(back - np.stack([true_columns, true_rows], axis=1)).max() < 1.5
    labels = (1 + np.indices((HEIGHT, WIDTH))[1] // 8).astype(np.uint16)[None]
    again = lens.to_photo(lens.resample(labels))
    assert (again[:, inside] == labels[:, inside]).mean() > 0.95
    outside = (columns < 0) | (columns >= view.width) | (rows < 0) | (rows >= view.height)
    assert (again[0][outside] == 0).all()


def test_a_click_on_the_photo_is_where_the_undistorted_view_shows_it() -> None:
    _, source = undistorted_view(camera(DISTORTION))
    assert source is not None
    for x, y in ((30.5, 40.5), (84.0, 57.0), (140.25, 100.75)):
        click = undistorted_click(Click(x, y, negative=True), source)
        assert click.negative
        from_photo = source[int(click.y_px), int(click.x_px), :2] + 0.5
        assert np.hypot(*(from_photo - (x, y))) < 1.0
    far_off = undistorted_click(Click(30.5, 40.5), source)
    assert np.hypot(far_off.x_px - 30.5, far_off.y_px - 40.5) > 1.0  # the lens moves it
    assert undistorted_click(Click(3.0, 4.0), None) == Click(3.0, 4.0)
    with pytest.raises(ValueError, match="not in the photo's undistorted view"):
        undistorted_click(Click(-20.0, 4.0), source)


def test_what_a_lens_cuts_off_has_no_segment_and_takes_no_click() -> None:
    """A view whose last columns no pixel of the photo, or only a part of one, is the source of."""
    rows, columns = np.mgrid[:4, :6].astype(np.float32)
    source = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
    source[:, 4, 2], source[:, 5, 2] = 0.5, 0.0
    labels = np.arange(1, 25, dtype=np.uint16).reshape(1, 4, 6)
    found = PhotoPixels.of(source).resample(labels)
    assert np.array_equal(found[:, :, :4], labels[:, :, :4]) and not found[:, :, 4:].any()
    assert undistorted_click(Click(4.5, 1.5), source) == Click(3.5, 1.5), "the nearest that is whole"
    with pytest.raises(ValueError, match="not in the photo's undistorted view"):
        undistorted_click(Click(6.0, 1.5), source)
