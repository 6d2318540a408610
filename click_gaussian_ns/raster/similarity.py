"""Structural similarity of two pictures on CPU with its gradient: pytorch_msssim's `ssim`, fast.

Windows of 11 px (Gaussian, sigma 1.5), without padding: windows that reach over the edge do not count.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
import torch
from jaxtyping import Float
from numba import prange
from torch import Tensor

from click_gaussian_ns.raster.parallel_kernel import parallel_kernel

WINDOW = 11
_SIGMA = 1.5
_C1 = np.float32(0.01**2)
_C2 = np.float32(0.03**2)
_TWO = np.float32(2.0)
_ZERO = np.float32(0.0)


def _window() -> np.ndarray:
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    return (weights / weights.sum()).astype(np.float32)


_WEIGHTS = _window()


@parallel_kernel(error_model="numpy")
@no_type_check
def _similarity(first, second, weights):
    """Sum of the similarity over all windows, per channel and row; and three maps that its gradient needs.

    first, second [C, H, W]; the maps [C, 3, H - 10, W - 10]: derivatives of a window's similarity with respect to its
    mean of `second`, of second^2 and of first * second.
    """
    channels, height, width = first.shape
    rows, columns = height - WINDOW + 1, width - WINDOW + 1
    sums = np.zeros((channels, rows), np.float64)
    maps = np.empty((channels, 3, rows, columns), np.float32)
    for task in prange(channels * rows):
        channel, r = task // rows, task % rows
        blurred = np.zeros((5, width), np.float32)
        a, b, aa, bb, ab = blurred[0], blurred[1], blurred[2], blurred[3], blurred[4]
        for k in range(WINDOW):
            weight, x_row, y_row = weights[k], first[channel, r + k], second[channel, r + k]
            for x in range(width):
                p, q = x_row[x], y_row[x]
                wp, wq = weight * p, weight * q
                a[x] += wp
                b[x] += wq
                aa[x] += wp * p
                bb[x] += wq * q
                ab[x] += wp * q
        means = np.zeros((5, columns), np.float32)
        for field in range(5):
            source, out = blurred[field], means[field]
            for k in range(WINDOW):
                weight = weights[k]
                taken = source[k:]
                for x in range(columns):
                    out[x] += weight * taken[x]
        mu1, mu2, e11, e22, e12 = means[0], means[1], means[2], means[3], means[4]
        d_mean, d_square, d_product = maps[channel, 0, r], maps[channel, 1, r], maps[channel, 2, r]
        values = np.empty(columns, np.float32)
        for x in range(columns):
            m1, m2 = mu1[x], mu2[x]
            s12 = e12[x] - m1 * m2
            l_top, l_bottom = _TWO * m1 * m2 + _C1, m1 * m1 + m2 * m2 + _C1
            c_top, c_bottom = _TWO * s12 + _C2, e11[x] - m1 * m1 + e22[x] - m2 * m2 + _C2
            luminance, contrast = l_top / l_bottom, c_top / c_bottom
            values[x] = luminance * contrast
            # through s12 = e12 - m1 m2 and s22 = e22 - m2^2
            d_s12, d_s22 = _TWO * luminance / c_bottom, -luminance * contrast / c_bottom
            d_m2 = contrast * (_TWO * m1 - luminance * _TWO * m2) / l_bottom
            d_mean[x] = d_m2 - m1 * d_s12 - _TWO * m2 * d_s22
            d_square[x] = d_s22
            d_product[x] = d_s12
        total = 0.0
        for x in range(columns):
            total += values[x]
        sums[channel, r] = total
    return sums, maps


@parallel_kernel(error_model="numpy")
@no_type_check
def _similarity_gradient(first, second, weights, maps, scale):
    """Gradient of scale times the sum of similarities with respect to `second`: the maps spread back over windows."""
    channels, height, width = first.shape
    rows, columns = maps.shape[2], maps.shape[3]
    out = np.empty((channels, height, width), np.float32)
    for task in prange(channels * height):
        channel, y = task // height, task % height
        gathered = np.zeros((3, columns), np.float32)
        for field in range(3):
            target = gathered[field]
            for k in range(max(0, y - rows + 1), min(WINDOW, y + 1)):
                weight, source = weights[k], maps[channel, field, y - k]
                for x in range(columns):
                    target[x] += weight * source[x]
        spread = np.zeros((3, width), np.float32)
        for field in range(3):
            source, target = gathered[field], spread[field]
            for k in range(WINDOW):
                weight = weights[k]
                reached = target[k:]
                for x in range(columns):
                    reached[x] += weight * source[x]
        mean, square, product = spread[0], spread[1], spread[2]
        x_row, y_row, row = first[channel, y], second[channel, y], out[channel, y]
        for x in range(width):
            row[x] = scale * (mean[x] + _TWO * y_row[x] * square[x] + x_row[x] * product[x])
    return out


class _Similarity(torch.autograd.Function):
    @staticmethod
    def forward(ctx, first: Tensor, second: Tensor) -> Tensor:
        ctx.first, ctx.second = (t.detach().to(torch.float32).contiguous().numpy() for t in (first, second))
        sums, ctx.maps = _similarity(ctx.first, ctx.second, _WEIGHTS)
        return second.new_tensor(sums.sum() / ctx.maps[:, 0].size)

    @staticmethod
    def backward(ctx, *grads: Any) -> tuple[None, Tensor]:
        scale = np.float32(float(grads[0]) / ctx.maps[:, 0].size)
        return None, torch.from_numpy(_similarity_gradient(ctx.first, ctx.second, _WEIGHTS, ctx.maps, scale))


def structural_similarity(target: Float[Tensor, "C H W"], picture: Float[Tensor, "C H W"]) -> Float[Tensor, ""]:
    """Mean SSIM of two pictures in [0, 1], differentiable in the second.

    Raises:
        ValueError: the pictures differ in size, or are smaller than a window.
    """
    if target.shape != picture.shape or min(target.shape[1:]) < WINDOW:
        raise ValueError(
            f"SSIM needs two pictures of one size, at least {WINDOW} px on a side, got {tuple(target.shape)} and "
            f"{tuple(picture.shape)} (channels, height, width)"
        )
    return _Similarity.apply(target, picture)  # pyright: ignore[reportReturnType]
