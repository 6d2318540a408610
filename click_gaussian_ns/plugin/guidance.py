"""What the splat knows of the training views, for the segmenter that needs no weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from click_gaussian_ns.masks.segmenter import ViewGuidance
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.splats.cameras import camera_center
from click_gaussian_ns.types import PinholeView, Splats


class SplatGuidance:
    """A `GuidanceSource`: depth, opacity and normals of a view, rendered when asked for."""

    def __init__(self, splats: Splats, views: Sequence[PinholeView], rasterize_mode: RasterizeMode) -> None:
        self._splats = splats
        self._views = views
        self._rasterize_mode: RasterizeMode = rasterize_mode

    def __call__(self, index: int) -> ViewGuidance:
        view = self._views[index]
        prepared = rasterize.prepare(self._splats, view, self._rasterize_mode)
        rendered = rasterize.render(prepared, gaussian_normals(self._splats, view))
        normals = torch.nn.functional.normalize(rendered.image, dim=-1)
        return ViewGuidance(
            depth=rendered.depth[..., 0].cpu().numpy(),
            alpha=rendered.alpha[..., 0].cpu().numpy(),
            normals=normals.cpu().numpy(),
        )

    def fingerprint(self, index: int) -> str:
        view = self._views[index]
        digest = hashlib.sha256(self._geometry_digest)
        for part in (view.viewmat, view.K):
            digest.update(part.cpu().numpy().tobytes())
        digest.update(f"{view.width}x{view.height} {self._rasterize_mode}".encode())
        return digest.hexdigest()

    @cached_property
    def _geometry_digest(self) -> bytes:
        digest = hashlib.sha256()
        for part in (self._splats.means, self._splats.quats, self._splats.log_scales, self._splats.opacity_logits):
            digest.update(part.cpu().contiguous().numpy().tobytes())
        return digest.digest()


def gaussian_normals(splats: Splats, view: PinholeView) -> Float[Tensor, "N 3"]:
    """Unit normals, world frame: the axis along which each Gaussian is thinnest, turned towards the camera."""
    w, x, y, z = torch.nn.functional.normalize(splats.quats, dim=-1).unbind(-1)
    columns = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)], -1),
            torch.stack([2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)], -1),
            torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        dim=1,
    )
    thinnest = splats.log_scales.argmin(dim=-1)
    normals = columns[torch.arange(splats.num_gaussians, device=columns.device), thinnest]
    toward = camera_center(view).to(splats.means) - splats.means
    return torch.where((normals * toward).sum(-1, keepdim=True) < 0, -normals, normals)
