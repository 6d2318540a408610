"""Exposure and white balance of photos."""

import torch

from click_gaussian_ns.geometry.exposure import Exposures


def test_nothing_changes_at_first() -> None:
    exposures, rgb = Exposures(3), torch.rand(4, 5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(exposures(rgb, 1), rgb)
    assert float(exposures.distance(1).detach()) == 0


def test_a_photo_has_its_own_affine_map() -> None:
    exposures, rgb = Exposures(2), torch.tensor([[[0.2, 0.4, 0.6]]])
    with torch.no_grad():
        exposures.offsets[1] = torch.tensor([[0.5, 0, 0, 0.1], [0, 0, 0, 0], [0.1, 0, 0, 0]])
    assert torch.allclose(exposures(rgb, 1), torch.tensor([[[0.4, 0.4, 0.62]]]))
    assert torch.equal(exposures(rgb, 0), rgb)
    assert float(exposures.distance(1).detach()) > float(exposures.distance(0).detach()) == 0


def test_what_two_photos_contradict_is_learned() -> None:
    """One scene, two exposures: both are met, and the scene keeps the colours between them."""
    exposures, scene = Exposures(2), torch.full((1, 1, 3), 0.5, requires_grad=True)
    photos = torch.full((1, 1, 3), 0.4), torch.full((1, 1, 3), 0.6)
    optimizer = torch.optim.Adam([*exposures.parameters(), scene], lr=0.002)
    for step in range(2000):
        photo = step % 2
        loss = (exposures(scene, photo) - photos[photo]).abs().mean() + 0.01 * exposures.distance(photo)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for photo in (0, 1):
        assert torch.allclose(exposures(scene, photo), photos[photo], atol=0.03)
    assert torch.allclose(scene, torch.full((1, 1, 3), 0.5), atol=0.03)
