"""Similarities between frames, in nerfstudio's convention, and what they do to Gaussians.

nerfstudio's dataparsers give a 3x4 matrix [R | t] (`dataparser_transform`) and a number s (`dataparser_scale`), which
map a point of the data's frame to the dataparser's frame by x' = s (R x + t): the translation is scaled too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from click_gaussian_ns.splats.spherical_harmonics import rotate_sh
from click_gaussian_ns.types import PinholeView, Splats


@dataclass(frozen=True)
class Similarity:
    """x' = scale (rotation x + translation)."""

    rotation: Float[Tensor, "3 3"]
    """Proper rotation, float64."""
    translation: Float[Tensor, " 3"]
    """In units of the frame mapped from, float64."""
    scale: float
    """Positive."""

    @staticmethod
    def from_parts(rotation: Float[Tensor, "3 3"], translation: Float[Tensor, " 3"], scale: float) -> Similarity:
        """Checked and in float64 on the CPU.

        Raises:
            ValueError: not a proper rotation (within 1e-4), a scale that is not positive, or a non-finite number.
        """
        rotation, translation = rotation.detach().double().cpu(), translation.detach().double().cpu()
        identity = torch.eye(3, dtype=torch.float64)
        if not torch.allclose(rotation @ rotation.T, identity, rtol=0, atol=1e-4):
            raise ValueError(f"the transform's 3x3 part is not a rotation: {rotation.tolist()}")
        if torch.linalg.det(rotation) < 0:
            raise ValueError(f"the transform mirrors the scene (determinant -1): {rotation.tolist()}")
        if not torch.isfinite(translation).all():
            raise ValueError(f"the transform's translation must be finite, got {translation.tolist()}")
        if not (math.isfinite(scale) and scale > 0):
            raise ValueError(f"the transform's scale must be a positive number, got {scale}")
        return Similarity(rotation, translation, float(scale))

    @staticmethod
    def from_dataparser(matrix: Float[Tensor, "3 4"], scale: float) -> Similarity:
        """From nerfstudio's `dataparser_transform` and `dataparser_scale`; raises as `from_parts`."""
        return Similarity.from_parts(matrix[:, :3], matrix[:, 3], scale)

    @staticmethod
    def identity() -> Similarity:
        return Similarity(torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 1.0)

    def inverse(self) -> Similarity:
        rotation = self.rotation.T
        return Similarity(rotation, -self.scale * (rotation @ self.translation), 1 / self.scale)

    def then(self, after: Similarity) -> Similarity:
        """This one first, `after` second."""
        translation = after.rotation @ self.translation + after.translation / self.scale
        return Similarity(after.rotation @ self.rotation, translation, after.scale * self.scale)

    def is_close(self, other: Similarity, tolerance: float = 1e-6) -> bool:
        """Whether both map the unit cube around the origin to within `tolerance` of its mapped size."""
        return (
            torch.allclose(self.rotation, other.rotation, rtol=0, atol=tolerance)
            and torch.allclose(self.translation, other.translation, rtol=tolerance, atol=tolerance)
            and math.isclose(self.scale, other.scale, rel_tol=tolerance)
        )


def apply(splats: Splats, similarity: Similarity) -> Splats:
    """The Gaussians moved by a similarity: centres, rotations, sizes and the SH colours' directions.

    A part of the similarity that is exactly the identity leaves its parameters bit for bit as they were.
    """
    means, quats, log_scales, sh = splats.means, splats.quats, splats.log_scales, splats.sh
    rotation = similarity.rotation.to(means.device)
    translation = similarity.translation.to(means.device)
    rotates = not torch.equal(similarity.rotation, torch.eye(3, dtype=torch.float64))
    if rotates or similarity.scale != 1 or bool(translation.any()):
        means = (similarity.scale * (means.double() @ rotation.T + translation)).to(means.dtype)
    if similarity.scale != 1:
        log_scales = log_scales + math.log(similarity.scale)
    if rotates:
        quats = _rotate_quats(quats, similarity.rotation)
        sh = rotate_sh(sh, rotation)
    return Splats(means, quats, log_scales, splats.opacity_logits, sh)


def fits_float32(means: Float[Tensor, "N 3"]) -> bool:
    """Whether float32 holds these centres within 1e-4 of the extent of their middle nine tenths."""
    finite = means[torch.isfinite(means).all(dim=1)].double()
    if finite.shape[0] < 2:
        return True
    ordered = finite.sort(dim=0).values
    margin = finite.shape[0] // 20
    extent = float((ordered[-1 - margin] - ordered[margin]).max())
    farthest = float(ordered[[margin, -1 - margin]].abs().max())
    return farthest * torch.finfo(torch.float32).eps <= 1e-4 * extent or extent == 0


def move_view(view: PinholeView, similarity: Similarity) -> PinholeView:
    """The camera that sees the moved Gaussians as `view` sees them before: the same picture, depths times the scale.

    A camera of the data's own frame is one of a run's Gaussians after the run's `to_dataparser`.
    """
    rotation = view.viewmat[:3, :3].double() @ similarity.rotation.to(view.viewmat.device).T
    translation = view.viewmat[:3, 3].double() - rotation @ similarity.translation.to(view.viewmat.device)
    viewmat = torch.eye(4, dtype=view.viewmat.dtype, device=view.viewmat.device)
    viewmat[:3, :3], viewmat[:3, 3] = rotation, similarity.scale * translation
    return replace(view, viewmat=viewmat)


def transform(splats: Splats, rotation: Float[Tensor, "3 3"], translation: Float[Tensor, " 3"], scale: float) -> Splats:
    """The Gaussians after x' = scale (rotation x + translation); see `apply`.

    Raises:
        ValueError: as `Similarity.from_parts`.
    """
    return apply(splats, Similarity.from_parts(rotation, translation, scale))


def inverse_transform(
    splats: Splats, rotation: Float[Tensor, "3 3"], translation: Float[Tensor, " 3"], scale: float
) -> Splats:
    """Undoes `transform` with the same arguments: x = rotation^T (x' / scale - translation)."""
    return apply(splats, Similarity.from_parts(rotation, translation, scale).inverse())


def _rotate_quats(quats: Float[Tensor, "N 4"], rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "N 4"]:
    """Hamilton product of the rotation's quaternion with each of `quats` (wxyz); norms are kept.

    Of the two quaternions the one with w >= 0 is taken, so that the inverse gives `quats` back with their signs.
    """
    xyzw = Rotation.from_matrix(rotation.numpy()).as_quat()
    x, y, z, w = (xyzw if xyzw[3] >= 0 else -xyzw).tolist()
    left = torch.tensor(
        [[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]], dtype=quats.dtype, device=quats.device
    )
    return quats @ left.T
