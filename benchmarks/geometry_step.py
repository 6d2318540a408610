"""A training step of splatfacto-cpu (forward, loss, backward, Adam), and the same through gsplat's PyTorch reference.

    python benchmarks/geometry_step.py [--num-gaussians 50000] [--width 480] [--height 270] [--output-path out.json]

Figures (unit, better, limit): step_ms (ms, lower, 200 on 2 cores), speedup (times, higher, 15). The scene is a seeded
cloud about as dense as a trained one (`weights_per_pixel`). `step_cpu_ms` is the time of all cores together, which a
busy machine changes less. The reference is gsplat 1.4.0's `_rasterization` as tests/parity/gsplat_reference.py makes it
run on CPU, pytorch_msssim and torch's Adam. What gsplat has in CUDA only, the list of Gaussians that each pixel meets,
is a Python loop there: its time is left out of `reference_ms` and of `speedup`, and is `reference_listing_ms`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import machine
import torch
import tyro

from click_gaussian_ns.demo.scene import ring_poses
from click_gaussian_ns.raster.differentiable import rasterization
from click_gaussian_ns.raster.similarity import structural_similarity
from click_gaussian_ns.splats.cameras import intrinsics, view_from_opengl
from click_gaussian_ns.types import PinholeView

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "parity"))


@dataclass
class Arguments:
    """What to measure on."""

    num_gaussians: int = 50_000
    """Gaussians of the scene."""
    width: int = 480
    """Of the view, px."""
    height: int = 270
    """Of the view, px."""
    sh_degree: int = 1
    """Of the colours."""
    num_steps: int = 20
    """Steps timed."""
    reference: bool = True
    """Time gsplat's reference too: one step, a minute or two."""
    output_path: Path | None = None
    """Write the figures here as JSON."""


def seeded_scene(arguments: Arguments) -> tuple[dict[str, torch.nn.Parameter], PinholeView, torch.Tensor]:
    """Parameters named as splatfacto's, a view of them, and a photo [3, H, W] to fit."""
    generator = torch.Generator().manual_seed(0)
    num = arguments.num_gaussians
    K = intrinsics(0.9 * arguments.width, 0.9 * arguments.width, arguments.width / 2, arguments.height / 2)
    view = view_from_opengl(torch.from_numpy(ring_poses(8)[0]), K, arguments.width, arguments.height)
    # all over the view, between 2 and 5 units of depth, 2.6 px wide where it is one pixel per Gaussian
    uv = torch.rand(num, 2, generator=generator) * torch.tensor([arguments.width, arguments.height])
    depth = 2.0 + 3.0 * torch.rand(num, 1, generator=generator)
    in_camera = torch.cat([(uv - K[:2, 2]) / K[0, 0] * depth, depth], dim=1)
    spacing = (arguments.width * arguments.height / num) ** 0.5
    sizes = 0.75 * spacing / K[0, 0] * depth
    values = {
        "means": (in_camera - view.viewmat[:3, 3]) @ view.viewmat[:3, :3],
        "quats": torch.randn(num, 4, generator=generator),
        "scales": sizes.log() + 0.5 * torch.randn(num, 3, generator=generator),
        "opacities": 1.5 * torch.randn(num, generator=generator),
        "sh": 0.3 * torch.randn(num, (arguments.sh_degree + 1) ** 2, 3, generator=generator),
    }
    photo = torch.rand(3, arguments.height, arguments.width, generator=generator)
    return {name: torch.nn.Parameter(value.float()) for name, value in values.items()}, view, photo


def main(arguments: Arguments) -> dict[str, float]:
    """Measure, print a table, return the figures."""
    params, view, photo = seeded_scene(arguments)
    optimizers = [torch.optim.Adam([value], lr=1e-6, eps=1e-15) for value in params.values()]

    def step(
        render: Callable, similarity: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], **more: object
    ) -> None:
        for optimizer in optimizers:
            optimizer.zero_grad()
        image, _, info = render(
            params["means"],
            params["quats"],
            params["scales"].exp(),
            params["opacities"].sigmoid(),
            params["sh"],
            view.viewmat[None],
            view.K[None],
            view.width,
            view.height,
            sh_degree=arguments.sh_degree,
            **more,
        )
        info["means2d"].retain_grad()
        picture = image[0].permute(2, 0, 1).clamp(0, 1)
        loss = 0.8 * (photo - picture).abs().mean() + 0.2 * (1 - similarity(photo, picture))
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()

    def ours() -> None:
        step(rasterization, structural_similarity, absgrad=True)

    figures = {"step_ms": machine.median_ms(ours, arguments.num_steps)}
    start = time.process_time()
    for _ in range(arguments.num_steps):
        ours()
    figures["step_cpu_ms"] = (time.process_time() - start) * 1e3 / arguments.num_steps
    if arguments.reference:
        import gsplat_reference
        from pytorch_msssim import SSIM

        listing = {"ms": 0.0, "weights": 0.0}
        list_pixels = gsplat_reference._rasterize_to_indices_in_range

        @torch.no_grad()
        def timed(*args: object) -> tuple[torch.Tensor, ...]:
            start = time.perf_counter()
            found = list_pixels(*args)
            listing["ms"], listing["weights"] = (time.perf_counter() - start) * 1e3, len(found[0])
            return found

        gsplat_reference._rasterize_to_indices_in_range = timed
        ssim = SSIM(data_range=1.0, size_average=True, channel=3)
        start = time.perf_counter()
        step(gsplat_reference.rasterization, lambda a, b: ssim(a[None], b[None]))
        whole = (time.perf_counter() - start) * 1e3
        figures["reference_ms"] = whole - listing["ms"]
        figures["reference_listing_ms"] = listing["ms"]
        figures["speedup"] = figures["reference_ms"] / figures["step_ms"]
        figures["weights_per_pixel"] = listing["weights"] / (view.width * view.height)
    for name, value in figures.items():
        print(f"{name:>22} {value:12.1f}")
    if arguments.output_path is not None:
        record = {**figures, "arguments": {**asdict(arguments), "output_path": None}, "machine": machine.describe()}
        arguments.output_path.write_text(json.dumps(record, indent=1))
    return figures


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
