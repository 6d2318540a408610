import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from splats_factory import assert_close, assert_identical, random_rotation, random_splats

from click_gaussian_ns.splats.spherical_harmonics import eval_sh
from click_gaussian_ns.splats.transforms import Similarity, inverse_transform, move_view, transform
from click_gaussian_ns.types import PinholeView, Splats


def covariances(splats: Splats) -> torch.Tensor:
    rotations = torch.from_numpy(Rotation.from_quat(splats.quats[:, [1, 2, 3, 0]].numpy()).as_matrix())
    factor = rotations * torch.exp(splats.log_scales.double())[:, None, :]
    return factor @ factor.mT


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100), st.integers(0, 3))
def test_every_parameter_follows_the_similarity(seed: int, scale: float, degree: int) -> None:
    splats, R, t = random_splats(30, degree, seed), random_rotation(seed), torch.tensor([3.0, -2.0, 0.5])
    moved = transform(splats, R, t, scale)
    expected_means = scale * (splats.means.double() @ R.T + t)
    torch.testing.assert_close(moved.means.double(), expected_means, rtol=1e-6, atol=1e-6 * scale)
    expected = scale**2 * (R @ covariances(splats) @ R.T)
    torch.testing.assert_close(covariances(moved), expected, rtol=1e-4, atol=float(expected.abs().max()) * 1e-6)
    dirs = torch.nn.functional.normalize(torch.randn(30, 3), dim=1)
    torch.testing.assert_close(eval_sh(moved.sh, dirs @ R.T.float()), eval_sh(splats.sh, dirs), rtol=0, atol=1e-5)
    assert torch.equal(moved.opacity_logits, splats.opacity_logits)
    torch.testing.assert_close(moved.quats.norm(dim=1), splats.quats.norm(dim=1))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_inverse_undoes(seed: int, scale: float) -> None:
    splats, R, t = random_splats(30, 3, seed), random_rotation(seed), torch.tensor([0.3, -2.0, 0.5])
    there_and_back = inverse_transform(transform(splats, R, t, scale), R, t, scale)
    assert_close(there_and_back, splats, atol=2e-5)


def test_identity_is_exact_and_so_is_what_a_similarity_leaves_alone() -> None:
    splats, eye, zero = random_splats(30), torch.eye(3), torch.zeros(3)
    assert_identical(transform(splats, eye, zero, 1.0), splats)
    moved = transform(splats, eye, torch.tensor([1.0, 0.0, 0.0]), 1.0)
    assert torch.equal(moved.quats, splats.quats) and torch.equal(moved.sh, splats.sh)
    assert torch.equal(moved.log_scales, splats.log_scales)
    scaled = transform(splats, eye, zero, 2.0)
    assert torch.equal(scaled.means, 2 * splats.means) and torch.equal(scaled.sh, splats.sh)
    torch.testing.assert_close(scaled.log_scales, splats.log_scales + math.log(2))


def test_convention_is_nerfstudios() -> None:
    """Where nerfstudio's own code takes a camera back to the data's frame, we take a Gaussian at its centre."""
    from nerfstudio.cameras.cameras import Cameras
    from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

    R, t, scale = random_rotation(3).float(), torch.tensor([1.0, 2.0, 3.0]), 0.25
    outputs = DataparserOutputs(
        image_filenames=[],
        cameras=Cameras(torch.eye(4)[None, :3], 1.0, 1.0, 0.5, 0.5, 1, 1),
        dataparser_transform=torch.cat([R, t[:, None]], 1),
        dataparser_scale=scale,
    )
    splats = random_splats(5, 0)
    poses = torch.cat([torch.eye(3).expand(5, 3, 3), splats.means[:, :, None]], dim=2)
    theirs = outputs.transform_poses_to_original_space(poses, camera_convention="opengl")[:, :, 3]
    ours = inverse_transform(splats, R, t, scale).means
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_composition_is_one_after_the_other() -> None:
    splats = random_splats(20)
    a = Similarity.from_parts(random_rotation(1), torch.tensor([1.0, -2.0, 0.5]), 3.0)
    b = Similarity.from_parts(random_rotation(2), torch.tensor([0.2, 0.1, 4.0]), 0.5)
    one_by_one = transform(transform(splats, a.rotation, a.translation, 3.0), b.rotation, b.translation, 0.5)
    both = a.then(b)
    assert_close(transform(splats, both.rotation, both.translation, both.scale), one_by_one, atol=2e-5)
    assert a.then(a.inverse()).is_close(Similarity.identity())
    assert not a.is_close(b) and not a.is_close(Similarity(a.rotation, a.translation, 3.001))


@pytest.mark.parametrize(
    ("R", "t", "scale", "message"),
    [
        (torch.eye(3) * 2, torch.zeros(3), 1.0, "3x3 part is not a rotation"),
        (torch.zeros(3, 3), torch.zeros(3), 1.0, "3x3 part is not a rotation"),
        (torch.full((3, 3), math.nan), torch.zeros(3), 1.0, "3x3 part is not a rotation"),
        (torch.diag(torch.tensor([1.0, -1.0, 1.0])), torch.zeros(3), 1.0, "mirrors the scene"),
        (torch.eye(3), torch.tensor([0.0, math.inf, 0.0]), 1.0, "translation must be finite"),
        (torch.eye(3), torch.zeros(3), 0.0, "scale must be a positive number, got 0.0"),
        (torch.eye(3), torch.zeros(3), -1.0, "scale must be a positive number"),
        (torch.eye(3), torch.zeros(3), math.nan, "scale must be a positive number"),
    ],
)
def test_what_is_no_similarity_is_refused(R: torch.Tensor, t: torch.Tensor, scale: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        transform(random_splats(3), R, t, scale)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_a_moved_camera_sees_the_moved_scene_as_before(seed: int, scale: float) -> None:
    points = random_splats(30, 0, seed).means.double()
    similarity = Similarity.from_parts(random_rotation(seed), torch.tensor([3.0, -2.0, 0.5]), scale)
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[:3, :3], viewmat[:3, 3] = random_rotation(seed + 1).double(), torch.tensor([0.1, 0.2, 5.0])
    view = PinholeView(viewmat, torch.eye(3), 64, 48)
    moved = move_view(view, similarity)
    moved_points = similarity.scale * (points @ similarity.rotation.T + similarity.translation)
    before = points @ viewmat[:3, :3].T + viewmat[:3, 3]
    after = moved_points @ moved.viewmat[:3, :3].T + moved.viewmat[:3, 3]
    torch.testing.assert_close(after, similarity.scale * before, rtol=1e-5, atol=1e-5 * scale)
    torch.testing.assert_close(moved.viewmat[:3, :3] @ moved.viewmat[:3, :3].T, torch.eye(3, dtype=torch.float64))
    assert (moved.K is view.K) and (moved.width, moved.height) == (64, 48)
