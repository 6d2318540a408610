"""What this machine can do, and so which part of it does what."""

from __future__ import annotations

from typing import Literal

import torch

from click_gaussian_ns.raster.gsplat_build import why_gsplat_cannot_draw

Device = Literal["cuda", "cpu"]


def default_device() -> Device:
    """CUDA where there is a GPU, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def gsplat_draws(device: str) -> bool:
    """Whether gsplat's kernels draw the frames of what lies on this device. Compiles them if they never were."""
    return torch.device(device).type == "cuda" and why_gsplat_cannot_draw() is None


def geometry_method(device: str) -> Literal["splatfacto", "splatfacto-cpu"]:
    """Which method trains geometry: nerfstudio's draws by gsplat alone."""
    return "splatfacto" if gsplat_draws(device) else "splatfacto-cpu"


def what_does_what(device: str) -> str:
    """One line for the start of a run."""
    if torch.device(device).type != "cuda":
        asked = " as it was asked to," if torch.cuda.is_available() else " as PyTorch finds no GPU:"
        return f"Everything runs on the CPU,{asked} frames, features and geometry (splatfacto-cpu)"
    gpu = torch.cuda.get_device_name()
    why = why_gsplat_cannot_draw()
    if why is None:
        return f"{gpu}: gsplat draws frames and trains geometry (splatfacto), the GPU trains features"
    return (
        f"{gpu} trains features. The CPU draws frames and trains geometry (splatfacto-cpu), as {why}. "
        "`click-gaussian doctor` says what to install"
    )
