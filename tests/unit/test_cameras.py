import pytest
import torch
from splats_factory import random_rotation

from click_gaussian_ns.splats.cameras import camera_center, intrinsics, opengl_from_view, view_from_opengl


def camera_to_world(seed: int) -> torch.Tensor:
    return torch.cat([random_rotation(seed).float(), torch.tensor([[1.0], [-2.0], [3.0]])], dim=1)


@pytest.mark.parametrize("seed", range(3))
def test_round_trip(seed: int) -> None:
    c2w = camera_to_world(seed)
    view = view_from_opengl(c2w, intrinsics(500.0, 510.0, 320.0, 241.0), 640, 480)
    torch.testing.assert_close(opengl_from_view(view), c2w)
    torch.testing.assert_close(camera_center(view), c2w[:, 3])
    from_4x4 = view_from_opengl(torch.cat([c2w, torch.tensor([[0.0, 0, 0, 1]])]), view.K, 640, 480)
    assert torch.equal(from_4x4.viewmat, view.viewmat)


def test_agrees_with_splatfactos_view_matrix() -> None:
    """nerfstudio's own conversion, undecorated: compiling it takes 17 s."""
    from nerfstudio.models import splatfacto

    plain = getattr(splatfacto.get_viewmat, "_torchdynamo_orig_callable", splatfacto.get_viewmat)
    c2w = camera_to_world(7)
    view = view_from_opengl(c2w, intrinsics(1.0, 1.0, 0.5, 0.5), 1, 1)
    torch.testing.assert_close(view.viewmat, plain(c2w[None])[0])


def test_pixels_are_where_nerfstudio_casts_their_rays() -> None:
    from nerfstudio.cameras.cameras import Cameras

    c2w, K = camera_to_world(5), intrinsics(50.0, 60.0, 31.0, 22.0)
    camera = Cameras(c2w[None], K[0, 0], K[1, 1], K[0, 2], K[1, 2], width=64, height=48)
    rays = camera.generate_rays(camera_indices=0)
    view = view_from_opengl(c2w, K, 64, 48)
    points = (rays.origins + 3 * rays.directions).reshape(-1, 3)
    in_camera = points @ view.viewmat[:3, :3].T + view.viewmat[:3, 3]
    pixels = in_camera @ view.K.T
    pixels = (pixels[:, :2] / pixels[:, 2:]).reshape(48, 64, 2)
    rows, columns = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    assert bool((in_camera[:, 2] > 0).all())
    torch.testing.assert_close(pixels, torch.stack([columns, rows], -1) + 0.5, rtol=0, atol=1e-3)
