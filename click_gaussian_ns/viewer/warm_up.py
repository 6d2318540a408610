"""The kernels of selecting, compiled while the viewer opens: the first use would stand still for ten seconds."""

from __future__ import annotations

import threading
from functools import cache

import torch

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.selection.visibility import front_surface
from click_gaussian_ns.types import PinholeView, Splats


@cache
def start_warming_up() -> threading.Thread:
    """Once per process, beside everything else."""
    thread = threading.Thread(target=warm_up, daemon=True)
    thread.start()
    return thread


def warm_up() -> None:
    """Draw and pick one Gaussian."""
    one = torch.ones(1, 1)
    splats = Splats(torch.zeros(1, 3), torch.eye(4)[:1], one.expand(1, 3) - 3, one[0], torch.zeros(1, 1, 3))
    viewmat = torch.eye(4)
    viewmat[2, 3] = 3.0
    view = PinholeView(viewmat, torch.tensor([[20.0, 0.0, 8.0], [0.0, 20.0, 8.0], [0.0, 0.0, 1.0]]), 16, 16)
    prepared = rasterize.prepare(splats, view)
    rasterize.render(prepared)
    rasterize.at_pixels(prepared, torch.ones(1, 24), torch.tensor([136]))
    front_surface(prepared)
