"""A float64 renderer in plain NumPy that states gsplat 1.4.0's CUDA kernels literally: all pixels meet all Gaussians.

Written from gsplat/cuda/csrc (fully_fused_projection_fwd.cu, utils.cuh, isect_tiles.cu, rasterize_to_pixels_fwd.cu) and
shares no code with click_gaussian_ns. Slow and simple on purpose.
"""

from dataclasses import dataclass, replace

import numpy as np

from click_gaussian_ns.types import PinholeView, Splats


@dataclass(frozen=True)
class Rules:
    """The constants of gsplat 1.4.0, each of which a test may move."""

    cut: float = 1.0 / 255.0
    """Smaller alphas do not count."""
    stop: float = 1e-4
    """A Gaussian behind which no more than this is transmitted does not count, nor do those behind it."""
    cap: float = 0.999
    blur: float = 0.3
    tile: int = 16
    """A Gaussian counts only in tiles that the square of its 3-sigma radius touches."""
    near: float = 0.01
    clamp: float = 0.3
    """Directions in the Jacobian stay within the field of view and this share of half of it."""


def rules_within(tolerance: float) -> list[Rules]:
    """The rules, then with both decision thresholds moved by a relative tolerance up or down.

    Float32 may decide otherwise than float64 where an alpha is 1/255, or what is transmitted 1e-4, to within rounding;
    such a pixel then differs by up to 1/255 or, at the stop, by far more. It must equal what float64 gives with the
    threshold moved by a hair, to the same tolerance as any other pixel.
    """
    rules = Rules()
    moved = [1 - tolerance, 1 + tolerance]
    return [rules, *(replace(rules, cut=rules.cut * a, stop=rules.stop * b) for a in moved for b in moved)]


@dataclass
class Projected:
    """Arrays over all N Gaussians; radius 0 = culled."""

    means2d: np.ndarray
    conics: np.ndarray
    opacities: np.ndarray
    depths: np.ndarray
    radii: np.ndarray


def rotation_of(quats: np.ndarray) -> np.ndarray:
    """[N, 4] wxyz of any length -> [N, 3, 3]."""
    w, x, y, z = (quats / np.linalg.norm(quats, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def project(means, quats, scales, opacities, viewmat, K, width, height, antialiased, rules) -> Projected:
    """All arrays float64; scales and opacities after their activations."""
    num = means.shape[0]
    out = Projected(
        np.zeros((num, 2)), np.zeros((num, 3)), opacities.copy(), np.zeros(num), np.zeros(num, dtype=np.int64)
    )
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    tan_x, tan_y = 0.5 * width / fx, 0.5 * height / fy
    rotations = rotation_of(quats)
    for i in range(num):
        R, t = viewmat[:3, :3], viewmat[:3, 3]
        x, y, z = R @ means[i] + t
        out.depths[i] = z
        if z < rules.near or z > 1e10:
            continue
        M = rotations[i] * scales[i]
        cov = R @ (M @ M.T) @ R.T
        tx = z * min((width - cx) / fx + rules.clamp * tan_x, max(-(cx / fx + rules.clamp * tan_x), x / z))
        ty = z * min((height - cy) / fy + rules.clamp * tan_y, max(-(cy / fy + rules.clamp * tan_y), y / z))
        J = np.array([[fx / z, 0, -fx * tx / z**2], [0, fy / z, -fy * ty / z**2]])
        cov2d = J @ cov @ J.T
        u, v = fx * x / z + cx, fy * y / z + cy
        det_sharp = cov2d[0, 0] * cov2d[1, 1] - cov2d[0, 1] * cov2d[1, 0]
        cov2d = cov2d + rules.blur * np.eye(2)
        det = cov2d[0, 0] * cov2d[1, 1] - cov2d[0, 1] * cov2d[1, 0]
        if det <= 0:
            continue
        middle = 0.5 * (cov2d[0, 0] + cov2d[1, 1])
        radius = np.ceil(3.0 * np.sqrt(middle + np.sqrt(max(0.01, middle**2 - det))))
        if u + radius <= 0 or u - radius >= width or v + radius <= 0 or v - radius >= height:
            continue
        out.means2d[i] = u, v
        out.conics[i] = cov2d[1, 1] / det, -cov2d[0, 1] / det, cov2d[0, 0] / det
        if antialiased:
            out.opacities[i] *= np.sqrt(max(0.0, det_sharp / det))
        out.radii[i] = int(radius)
    return out


def depth_order(projected: Projected) -> np.ndarray:
    """The sort key is the bit pattern of a float32 depth; equal keys keep the order of the scene."""
    return np.argsort(projected.depths.astype(np.float32), kind="stable")


def blend(projected: Projected, width: int, height: int, rules: Rules) -> np.ndarray:
    """W [H W, N]: w = alpha T of every Gaussian in every pixel."""
    W = np.zeros((height * width, projected.radii.shape[0]))
    rows, columns = np.divmod(np.arange(height * width), width)
    px, py = columns + 0.5, rows + 0.5
    tiles_x, tiles_y = -(-width // rules.tile), -(-height // rules.tile)
    T = np.ones(height * width)
    done = np.zeros(height * width, dtype=bool)
    for i in depth_order(projected):
        radius = projected.radii[i]
        if radius <= 0:
            continue
        (u, v), (a, b, c) = projected.means2d[i], projected.conics[i]
        x_min = min(max(0, np.floor(u / rules.tile - radius / rules.tile)), tiles_x)
        x_max = min(max(0, np.ceil(u / rules.tile + radius / rules.tile)), tiles_x)
        y_min = min(max(0, np.floor(v / rules.tile - radius / rules.tile)), tiles_y)
        y_max = min(max(0, np.ceil(v / rules.tile + radius / rules.tile)), tiles_y)
        tile_x, tile_y = columns // rules.tile, rows // rules.tile
        in_tile = (tile_x >= x_min) & (tile_x < x_max) & (tile_y >= y_min) & (tile_y < y_max)
        dx, dy = u - px, v - py
        sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
        alpha = np.minimum(rules.cap, projected.opacities[i] * np.exp(-sigma))
        meets = in_tile & ~done & (sigma >= 0) & (alpha >= rules.cut)
        next_T = T * (1 - alpha)
        stops = meets & (next_T <= rules.stop)
        done |= stops
        counts = meets & ~stops
        W[counts, i] = (alpha * T)[counts]
        T[counts] = next_T[counts]
    return W


@dataclass
class Rendered:
    """Float64; pixels in rows."""

    weights: np.ndarray
    """[H W, N]."""
    order: np.ndarray
    """[N] Gaussians from front to back."""
    pixels: np.ndarray
    """[H W, C + 2]: blended values, expected depth, alpha."""


def render(splats: Splats, view: PinholeView, mode: str, values: np.ndarray, rules: Rules | None = None) -> Rendered:
    rules = rules or Rules()
    means, quats, log_scales, logits, viewmat, K = (
        t.detach().cpu().double().numpy()
        for t in (splats.means, splats.quats, splats.log_scales, splats.opacity_logits, view.viewmat, view.K)
    )
    opacities = 1.0 / (1.0 + np.exp(-logits))
    antialiased = mode == "antialiased"
    size = view.width, view.height
    projected = project(means, quats, np.exp(log_scales), opacities, viewmat, K, *size, antialiased, rules)
    W = blend(projected, *size, rules)
    alpha = W.sum(1, keepdims=True)
    depth = (W @ projected.depths)[:, None] / np.maximum(alpha, 1e-10)
    return Rendered(W, depth_order(projected), np.concatenate([W @ values, depth, alpha], 1))
