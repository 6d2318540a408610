"""gsplat 1.4.0's own PyTorch `_rasterization`, made to run without a GPU.

Everything that decides a number is gsplat's code, but for the parts that exist as CUDA only: which Gaussians a pixel
meets (`rasterize_to_indices_in_range`) and the sums along a ray (`accumulate`, nerfacc's kernels), plain PyTorch below.
"""

import contextlib
from itertools import pairwise
from unittest import mock

import gsplat.cuda._torch_impl as torch_impl
import gsplat.rendering as rendering
import torch


def render(splats, view, mode: str, values, dtype=torch.float64):
    """(image [H, W, C], expected depth [H, W, 1], alpha [H, W, 1]); no values: RGB by gsplat's spherical harmonics."""
    colors = splats.sh if values is None else values
    with torch.no_grad():
        image, alpha, _ = rasterization(
            splats.means.to(dtype),
            splats.quats.to(dtype),
            splats.log_scales.to(dtype).exp(),
            splats.opacity_logits.to(dtype).sigmoid(),
            colors.to(dtype),
            view.viewmat[None].to(dtype),
            view.K[None].to(dtype),
            view.width,
            view.height,
            sh_degree=splats.sh_degree if values is None else None,
            render_mode="RGB+ED",
            rasterize_mode=mode,
        )
    return image[0, ..., :-1], image[0, ..., -1:], alpha[0]


def rasterization(*args, **kwargs):
    """gsplat's `_rasterization` on CPU: its arguments and results, differentiable."""
    patches = {
        "gsplat.rendering.isect_tiles": _isect_tiles,
        "gsplat.rendering.isect_offset_encode": torch_impl._isect_offset_encode,
        "gsplat.rendering.spherical_harmonics": _spherical_harmonics,
        "gsplat.cuda._wrapper.rasterize_to_indices_in_range": _rasterize_to_indices_in_range,
        "gsplat.cuda._torch_impl.accumulate": _accumulate,
    }
    with contextlib.ExitStack() as stack:
        for target, replacement in patches.items():
            stack.enter_context(mock.patch(target, replacement))
        return rendering._rasterization(*args, **kwargs)


def _isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height, **_unused):
    """Sorted here: torch.sort may swap Gaussians of equal depth, the radix sort of the CUDA path keeps their order."""
    per_gaussian, isect_ids, flatten_ids = torch_impl._isect_tiles(
        means2d, radii, depths, tile_size, tile_width, tile_height, sort=False
    )
    isect_ids, order = torch.sort(isect_ids, stable=True)
    return per_gaussian, isect_ids, flatten_ids[order]


def _spherical_harmonics(degree, dirs, coeffs, masks=None):
    return torch_impl._spherical_harmonics(degree, dirs, coeffs)


def _rasterize_to_indices_in_range(
    start, end, transmittances, means2d, conics, opacities, width, height, tile_size, isect_offsets, flatten_ids
):
    """rasterize_to_indices_in_range.cu for one camera; the whole range at once (few Gaussians)."""
    tiles_x = isect_offsets.shape[2]
    bounds = [*isect_offsets.flatten().tolist(), len(flatten_ids)]
    gaussian_ids, pixel_ids = [], []
    assert start == 0 and max(b - a for a, b in pairwise(bounds)) <= end * tile_size**2
    for tile in range(len(bounds) - 1):
        x0, y0 = tile % tiles_x * tile_size, tile // tiles_x * tile_size
        ys, xs = torch.meshgrid(
            torch.arange(y0, min(y0 + tile_size, height)), torch.arange(x0, min(x0 + tile_size, width)), indexing="ij"
        )
        xs, ys = xs.flatten(), ys.flatten()
        pixels = ys * width + xs
        trans = transmittances[0].flatten()[pixels].to(means2d.dtype)
        done = torch.zeros_like(trans, dtype=torch.bool)
        for g in flatten_ids[bounds[tile] : bounds[tile + 1]].tolist():
            a, b, c = conics[0, g]
            dx, dy = means2d[0, g, 0] - (xs + 0.5), means2d[0, g, 1] - (ys + 0.5)
            sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
            alpha = torch.clamp_max(opacities[0, g] * torch.exp(-sigma), 0.999)
            meets = ~done & (sigma >= 0) & (alpha >= 1.0 / 255.0)
            next_trans = trans * (1 - alpha)
            stops = meets & (next_trans <= 1e-4)
            done |= stops
            counts = meets & ~stops
            trans = torch.where(counts, next_trans, trans)
            gaussian_ids.append(torch.full((int(counts.sum()),), g))
            pixel_ids.append(pixels[counts])
    gaussians, pixels = torch.cat(gaussian_ids), torch.cat(pixel_ids)
    return gaussians, pixels, torch.zeros_like(pixels)


def _accumulate(means2d, conics, opacities, colors, gaussian_ids, pixel_ids, camera_ids, width, height):
    """gsplat's `accumulate` with the ray sums of nerfacc written out: entries of a pixel come front to back."""
    order = torch.argsort(pixel_ids, stable=True)
    gaussian_ids, pixel_ids = gaussian_ids[order], pixel_ids[order]
    centers = torch.stack([pixel_ids % width, pixel_ids // width], -1) + 0.5
    deltas, c = centers - means2d[0, gaussian_ids], conics[0, gaussian_ids]
    sigmas = 0.5 * (c[:, 0] * deltas[:, 0] ** 2 + c[:, 2] * deltas[:, 1] ** 2) + c[:, 1] * deltas[:, 0] * deltas[:, 1]
    alphas = torch.clamp_max(opacities[0, gaussian_ids] * torch.exp(-sigmas), 0.999)
    # transmittance before each entry: a running product along each pixel's entries, as a difference of sums of logs
    logs = torch.cat([torch.zeros_like(alphas[:1]), torch.log1p(-alphas).cumsum(0)])
    first = torch.searchsorted(pixel_ids, pixel_ids)
    weights = alphas * torch.exp(logs[:-1] - logs[first])
    renders = torch.zeros(width * height, colors.shape[-1], dtype=colors.dtype)
    renders.index_add_(0, pixel_ids, weights[:, None] * colors[0, gaussian_ids])
    total = torch.zeros(width * height, dtype=colors.dtype).index_add_(0, pixel_ids, weights)
    return renders.reshape(1, height, width, -1), total.reshape(1, height, width, 1)
