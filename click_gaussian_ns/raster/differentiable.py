"""Rasterization on CPU that is differentiable in the geometry, with the signature and results of gsplat's.

It takes the arguments that nerfstudio's splatfacto gives and returns what gsplat's densification reads, so that both
work unchanged. One camera at a time; the camera itself takes no gradient.
"""

from __future__ import annotations

from typing import Any, Literal

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from click_gaussian_ns.raster import blend_backward, cpu
from click_gaussian_ns.raster.colors import colors_of
from click_gaussian_ns.raster.engine import engine_of
from click_gaussian_ns.raster.harmonics_gradients import harmonics_gradients
from click_gaussian_ns.raster.project import RasterizeMode, depth_order
from click_gaussian_ns.raster.project_gradients import project_geometry, project_geometry_gradients, visible_extents
from click_gaussian_ns.raster.scalar_math import BLUR, FAR_PLANE, NEAR_PLANE, TILE

RenderMode = Literal["RGB", "D", "ED", "RGB+D", "RGB+ED"]


def rasterization(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    scales: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    colors: Float[Tensor, "N D"] | Float[Tensor, "N K 3"],
    viewmats: Float[Tensor, "C 4 4"],
    Ks: Float[Tensor, "C 3 3"],
    width: int,
    height: int,
    near_plane: float = float(NEAR_PLANE),
    far_plane: float = float(FAR_PLANE),
    radius_clip: float = 0.0,
    eps2d: float = float(BLUR),
    sh_degree: int | None = None,
    packed: Literal[False] = False,
    render_mode: RenderMode = "RGB",
    sparse_grad: Literal[False] = False,
    absgrad: bool = False,
    rasterize_mode: RasterizeMode = "classic",
) -> tuple[Float[Tensor, "1 H W X"], Float[Tensor, "1 H W 1"], dict[str, Any]]:
    """Render one view; gradients reach means, quats, scales, opacities and colors.

    Args:
        means: centres, world units.
        quats: wxyz, of any length.
        scales: standard deviations, world units (after exp).
        opacities: in [0, 1] (after the sigmoid).
        colors: values of any number of channels, or with `sh_degree` SH coefficients.
        viewmats: world to camera, OpenCV axes.
        Ks: intrinsics, px.
        width: of the picture, px.
        height: of the picture, px.
        near_plane: Gaussians nearer than this are culled, world units.
        far_plane: and those farther than this.
        radius_clip: Gaussians whose 3-sigma radius is not larger are culled, px.
        eps2d: blur added to the diagonal of 2D covariances, px^2.
        sh_degree: highest degree to use; None: colors are values.
        packed: gsplat's packed layout is not offered.
        render_mode: colours, depth accumulated (D) or expected (ED) along the camera's axis, or both.
        sparse_grad: gsplat's sparse gradients are not offered.
        absgrad: leave per-pixel absolute gradients in `info["means2d"].absgrad`, as gsplat does.
        rasterize_mode: "antialiased" scales opacities by the blur's compensation.

    Returns:
        Picture, alpha, and gsplat's `info`: radii, means2d, depths, conics, opacities, width, height, n_cameras.

    Raises:
        ValueError: more than one camera, a camera that wants a gradient, or a layout that is not offered.
    """
    _check(means, colors, viewmats, packed, sparse_grad, sh_degree)
    camera = _Camera(viewmats[0], Ks[0], width, height, eps2d, near_plane, far_plane, radius_clip)
    radii, means2d, depths, conics, compensations, deviations = _Project.apply(means, quats, scales, camera)  # pyright: ignore[reportGeneralTypeIssues]
    if rasterize_mode == "antialiased":
        opacities = opacities * compensations
    if sh_degree is not None:
        colors = _Harmonics.apply(means, colors, camera.center, radii, sh_degree)  # pyright: ignore[reportAssignmentType]
    means2d, depths, conics, opacities = means2d[None], depths[None], conics[None], opacities[None]
    values = {"RGB": colors, "D": depths[0, :, None], "ED": depths[0, :, None]}.get(render_mode)
    if values is None:
        values = torch.cat([colors, depths[0, :, None]], dim=-1)
    image, alpha = _Blend.apply(means2d, conics, opacities, values, depths, radii, deviations, camera, absgrad)  # pyright: ignore[reportGeneralTypeIssues]
    if render_mode in ("ED", "RGB+ED"):
        image = torch.cat([image[..., :-1], image[..., -1:] / alpha.clamp(min=1e-10)], dim=-1)
    info = {
        "camera_ids": None,
        "gaussian_ids": None,
        "radii": radii[None],
        "means2d": means2d,
        "depths": depths,
        "conics": conics,
        "opacities": opacities,
        "width": width,
        "height": height,
        "n_cameras": 1,
        "tile_size": TILE,
        "tile_width": camera.tiles_x,
        "tile_height": camera.tiles_y,
    }
    return image, alpha, info


def _check(means: Tensor, colors: Tensor, viewmats: Tensor, packed: bool, sparse: bool, sh_degree: int | None) -> None:
    if not engine_of(means).runs_kernels:
        raise ValueError("this rasterizer runs on the CPU: on CUDA use gsplat.rasterization")
    if viewmats.shape[0] != 1:
        raise ValueError(f"one camera at a time is rendered on the CPU, got {viewmats.shape[0]}")
    if viewmats.requires_grad:
        raise ValueError("cameras take no gradient on the CPU: switch the camera optimizer off")
    if packed or sparse:
        raise ValueError("packed=True and sparse_grad=True are offered by gsplat on CUDA only")
    if sh_degree is not None and (colors.dim() != 3 or (sh_degree + 1) ** 2 > colors.shape[1]):
        raise ValueError(
            f"sh_degree {sh_degree} needs colors [N, {(sh_degree + 1) ** 2} or more, 3], got {colors.shape}"
        )
    if sh_degree is None and colors.dim() != 2:
        raise ValueError(f"colors must be [N, D] where there is no sh_degree, got {tuple(colors.shape)}")


class _Camera:
    """One view as the kernels take it."""

    def __init__(
        self,
        viewmat: Tensor,
        K: Tensor,
        width: int,
        height: int,
        eps2d: float,
        near_plane: float,
        far_plane: float,
        radius_clip: float,
    ) -> None:
        self.width, self.height = width, height
        self.tiles_x, self.tiles_y = -(-width // TILE), -(-height // TILE)
        self.viewmat = viewmat.detach().double().contiguous().numpy()
        self.center = -self.viewmat[:3, :3].T @ self.viewmat[:3, 3]
        self.pinhole = (self.viewmat, K.detach().double().contiguous().numpy(), width, height, eps2d)
        self.limits = (near_plane, far_plane, radius_clip)


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means: Tensor, quats: Tensor, scales: Tensor, camera: _Camera) -> tuple[Tensor, ...]:
        arrays = _numpy(means), _numpy(quats), _numpy(scales)
        found = project_geometry(*arrays, *camera.pinhole, *camera.limits)
        radii, means2d, depths, conics, compensations, deviations = map(torch.from_numpy, found)
        ctx.save_for_backward(means, quats, scales, radii)
        ctx.camera = camera
        ctx.mark_non_differentiable(radii, deviations)
        return radii, means2d, depths, conics, compensations, deviations

    @staticmethod
    def backward(ctx, *grads: Any) -> tuple[Tensor | None, ...]:
        _, grad_means2d, grad_depths, grad_conics, grad_compensations, _ = grads
        means, quats, scales, radii = ctx.saved_tensors
        arrays = _numpy(means), _numpy(quats), _numpy(scales)
        given = _numpy(grad_means2d), _numpy(grad_depths), _numpy(grad_conics), _numpy(grad_compensations)
        inputs: tuple[Any, ...] = (*arrays, *ctx.camera.pinhole, radii.numpy(), *given)
        found = project_geometry_gradients(*inputs)
        return *map(torch.from_numpy, found), None


class _Harmonics(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means: Tensor, sh: Tensor, center: np.ndarray, radii: Tensor, degree: int) -> Tensor:
        seen = np.flatnonzero(radii.numpy() > 0).astype(np.int32)
        used = sh[:, : (degree + 1) ** 2]
        colors = torch.from_numpy(colors_of(_numpy(used), _numpy(means), center.astype(np.float32), seen))
        ctx.save_for_backward(means, sh, radii, colors)
        ctx.center, ctx.degree = center, degree
        return colors

    @staticmethod
    def backward(ctx, *grads: Any) -> tuple[Tensor | None, ...]:
        means, sh, radii, colors = ctx.saved_tensors
        grad_sh, grad_means = harmonics_gradients(
            _numpy(means), _numpy(sh), ctx.center, radii.numpy(), ctx.degree, _numpy(colors), _numpy(grads[0])
        )
        return torch.from_numpy(grad_means), torch.from_numpy(grad_sh), None, None, None


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx,
        means2d: Tensor,
        conics: Tensor,
        opacities: Tensor,
        values: Tensor,
        depths: Tensor,
        radii: Tensor,
        deviations: Tensor,
        camera: _Camera,
        absgrad: bool,
    ) -> tuple[Tensor, Tensor]:
        seen, extents = visible_extents(radii.numpy(), deviations.numpy(), _numpy(opacities[0]))
        ids = depth_order(_numpy(depths[0]), seen)
        centers = _numpy(means2d[0])
        packed = cpu.pack(ids, centers, _numpy(conics[0]), _numpy(opacities[0]), _numpy(depths[0]), extents)
        tiles = (camera.tiles_x, camera.tiles_y)
        boxes = cpu.tile_boxes(ids, centers, seen, extents, *tiles)
        offsets, entries = cpu.bin_tiles(packed, boxes, *tiles, numba.get_num_threads())
        image, _, alpha = cpu.blend(
            packed, ids, offsets, entries, _numpy(values), camera.width, camera.height, camera.tiles_x
        )
        ctx.lists = (packed, ids, offsets, entries, boxes, blend_backward.pair_starts(boxes))
        ctx.camera, ctx.absgrad = camera, absgrad
        picture, total = torch.from_numpy(image), torch.from_numpy(alpha)
        ctx.save_for_backward(means2d, values, picture, total)
        return picture[None], total[None, ..., None]

    @staticmethod
    def backward(ctx, *grads: Any) -> tuple[Tensor | None, ...]:
        means2d, values, picture, total = ctx.saved_tensors
        ids, starts = ctx.lists[1], ctx.lists[5]
        given = _numpy(values), _numpy(picture), _numpy(total), _numpy(grads[0][0]), _numpy(grads[1][0, ..., 0])
        inputs: tuple[Any, ...] = (*ctx.lists, *given, ctx.camera.tiles_x)
        pairs = blend_backward.pair_gradients(*inputs)
        found = blend_backward.sum_pairs(pairs, starts, ids, values.shape[0])
        grad_means2d, absolute, grad_conics, grad_opacities, grad_values = map(torch.from_numpy, found)
        if ctx.absgrad:
            means2d.absgrad = absolute[None]
        per_gaussian = (grad_means2d[None], grad_conics[None], grad_opacities[None], grad_values)
        return *per_gaussian, None, None, None, None, None


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to(torch.float32).contiguous().numpy()
