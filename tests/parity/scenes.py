"""Small scenes and cameras for the parity tests, seeded; the degenerate ones by name."""

import math

import torch

from click_gaussian_ns.types import PinholeView, Splats

LONG_NEEDLES = "needles far longer than the picture"
NEEDLES = (LONG_NEEDLES, "needle-thin")
"""Scenes in which gsplat's projection, float32 on CUDA, loses the determinant of the 2D covariance."""


def camera(
    width: int = 64,
    height: int = 48,
    fx: float = 60.0,
    fy: float = 60.0,
    cx: float | None = None,
    cy: float | None = None,
    seed: int = 0,
    turn: float = 1.4,
) -> PinholeView:
    """About 4 units from the origin, looking at it, turned about a random axis by an angle in rad."""
    generator = torch.Generator().manual_seed(seed)
    axis = torch.nn.functional.normalize(torch.randn(3, generator=generator, dtype=torch.float64), dim=0)
    skew = torch.zeros(3, 3, dtype=torch.float64)
    skew[0, 1], skew[0, 2], skew[1, 2] = -axis[2], axis[1], -axis[0]
    viewmat = torch.eye(4, dtype=torch.float64)
    viewmat[:3, :3] = torch.linalg.matrix_exp((skew - skew.T) * turn)
    viewmat[:3, 3] = torch.tensor([0.125, -0.25, 4.0], dtype=torch.float64)
    K = torch.tensor(
        [[fx, 0, width / 2 if cx is None else cx], [0, fy, height / 2 if cy is None else cy], [0, 0, 1]],
        dtype=torch.float64,
    )
    return PinholeView(viewmat.float(), K.float(), width, height)


def cloud(num: int, seed: int, size: float = 0.15, opacity: float = 0.0, sh_degree: int = 3) -> Splats:
    """Anisotropic Gaussians in and around the view, some of them behind the camera."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Splats(
        means=normal(num, 3) * 1.5,
        quats=normal(num, 4) * 3.0,
        log_scales=math.log(size) + 0.7 * normal(num, 3),
        opacity_logits=opacity + 2.0 * normal(num),
        sh=1.5 * normal(num, (sh_degree + 1) ** 2, 3),
    )


def _with(splats: Splats, **changes: torch.Tensor) -> Splats:
    return Splats(**{**vars(splats), **changes})


def in_camera_frame(splats: Splats, view: PinholeView, points: torch.Tensor) -> Splats:
    """The Gaussians moved to points [N, 3] given in the camera's frame."""
    rotation, translation = view.viewmat[:3, :3].double(), view.viewmat[:3, 3].double()
    return _with(splats, means=((points.double() - translation) @ rotation).float())


def degenerate_scenes() -> dict[str, tuple[Splats, PinholeView]]:
    view = camera()
    generator = torch.Generator().manual_seed(7)

    def uniform(num: int, low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(num, generator=generator)

    base = cloud(60, seed=11)
    xy = torch.stack([uniform(60, -2.0, 2.0), uniform(60, -1.5, 1.5)], -1)

    def at_depth(depths: torch.Tensor) -> Splats:
        return in_camera_frame(base, view, torch.cat([xy * depths.abs()[:, None] / 4, depths[:, None]], -1))

    scenes = {
        "behind and around the near plane": at_depth(torch.cat([uniform(40, -3, 0.05), uniform(20, 0.005, 0.02)])),
        "nothing visible": at_depth(uniform(60, -5, -1)),
        "needle-thin": _with(base, log_scales=torch.tensor([-1.0, -9.0, -9.0]).expand(60, 3)),
        "flat discs": _with(base, log_scales=torch.tensor([-1.0, -1.0, -12.0]).expand(60, 3)),
        LONG_NEEDLES: _with(base, log_scales=torch.tensor([2.5, -7.0, -7.0]).expand(60, 3)),
        "points": _with(base, log_scales=torch.full((60, 3), -12.0)),
        "huge": _with(base, log_scales=torch.full((60, 3), 3.0), opacity_logits=base.opacity_logits - 2),
        "the camera is inside": _with(at_depth(uniform(60, 0.02, 0.4)), log_scales=torch.full((60, 3), -1.5)),
        "opacity near 0": _with(
            base, opacity_logits=torch.logit(uniform(60, 0.5 / 255, 2.0 / 255)) - 12.0 * (torch.arange(60) % 3 == 0)
        ),
        "opacity near 1": _with(base, opacity_logits=uniform(60, 6.0, 25.0)),
        "coincident": _with(base, means=base.means[:6].repeat(10, 1)),
        "far outside to the side": in_camera_frame(
            _with(base, log_scales=base.log_scales + 2),
            view,
            torch.stack([uniform(60, -30, 30), uniform(60, -20, 20), uniform(60, 1, 6)], -1),
        ),
        "unnormalised quaternions": _with(base, quats=base.quats * 10 ** uniform(60, -4, 4)[:, None]),
        "one Gaussian": cloud(1, seed=3, size=0.4, opacity=1.0),
        "no Gaussian": cloud(0, seed=0),
    }
    out = {name: (splats, view) for name, splats in scenes.items()}
    dense = cloud(80, seed=5)
    two_planes = torch.where(torch.arange(60) % 4 == 0, -1.0, 0.0)
    out["equal depths"] = _with(base, means=torch.cat([xy, two_planes[:, None]], -1)), camera(turn=0.0)
    out |= {
        "size not a multiple of 16": (dense, camera(width=53, height=37)),
        "exactly one tile": (dense, camera(width=16, height=16)),
        "smaller than a tile": (dense, camera(width=5, height=3)),
        "one pixel": (dense, camera(width=1, height=1, fx=20.0, fy=20.0)),
        "principal point off centre": (dense, camera(cx=9.5, cy=44.25)),
        "principal point outside": (dense, camera(cx=-20.0, cy=60.0)),
        "fx not fy": (dense, camera(fx=35.0, fy=110.0)),
        "saturated": (cloud(200, seed=9, size=0.3, opacity=3.0), camera(seed=9)),
        "visible beyond 3 sigma": (
            _with(cloud(15, seed=6, opacity=12.0), log_scales=torch.full((15, 3), -0.7)),
            camera(width=150, height=110, seed=6),
        ),
    }
    return out
