"""Gaussians in the checkpoints of gsplat's own trainer: {"splats": {means, quats, scales, opacities, sh0, shN}}."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from click_gaussian_ns.files import read_torch_file
from click_gaussian_ns.splats.checkpoint import is_step, scheduler_globals
from click_gaussian_ns.splats.spherical_harmonics import degree_of, num_coefficients
from click_gaussian_ns.types import Splats

_MAX_DEGREE = 3
_ADVICE = "Expected a checkpoint of gsplat's trainer or a step-XXXXXXXXX.ckpt of `ns-train splatfacto`."


def holds_gsplat(path: Path) -> bool:
    """Whether a file is such a checkpoint, or is to be read as one: its trainer writes .pt, others of it .ckpt.

    Raises:
        ValueError: a .ckpt that cannot be read.
    """
    if path.suffix == ".ckpt" and path.is_file() and not is_step(path):
        return "splats" in _loaded(path)
    return path.suffix == ".pt" and path.is_file()


def read_gsplat(path: Path) -> Splats:
    """float32 on the CPU, in the frame that gsplat's trainer was given; non-finite Gaussians included.

    Raises:
        ValueError: something is missing or has another shape.
    """
    found = _loaded(path).get("splats")
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds no `splats`. {_ADVICE}")
    num = len(found["means"]) if isinstance(found.get("means"), Tensor) and found["means"].dim() == 2 else 0
    if num == 0:
        raise ValueError(f"{path}: its `splats` have no `means` of the shape [N, 3]. {_ADVICE}")
    rest = found.get("shN", torch.zeros(num, 0, 3))
    shapes = {"means": (num, 3), "quats": (num, 4), "scales": (num, 3), "opacities": (num,), "sh0": (num, 1, 3)}
    for name, shape in shapes.items():
        value = found.get(name)
        if not isinstance(value, Tensor) or tuple(value.shape) != shape:
            actual = list(value.shape) if isinstance(value, Tensor) else "nothing"
            raise ValueError(f"{path}: `{name}` of its `splats` is {actual}, expected {list(shape)}. {_ADVICE}")
    if not isinstance(rest, Tensor) or rest.dim() != 3 or rest.shape[::2] != (num, 3):
        raise ValueError(f"{path}: `shN` of its `splats` has another shape than [{num}, K, 3]. {_ADVICE}")
    try:
        degree = min(degree_of(rest.shape[1] + 1), _MAX_DEGREE)
    except ValueError:
        if rest.shape[1] + 1 != num_coefficients(4):
            raise ValueError(
                f"{path}: `shN` has {rest.shape[1]} coefficients, which fit no SH degree. {_ADVICE}"
            ) from None
        degree = _MAX_DEGREE
    values = {name: found[name].detach().float() for name in shapes}
    return Splats(
        means=values["means"],
        quats=values["quats"],
        log_scales=values["scales"],
        opacity_logits=values["opacities"],
        sh=torch.cat([values["sh0"], rest[:, : num_coefficients(degree) - 1].detach().float()], dim=1),
    )


def _loaded(path: Path) -> dict[str, Any]:
    with torch.serialization.safe_globals(scheduler_globals()):
        loaded = read_torch_file(path, _ADVICE, mmap=True)
    return loaded if isinstance(loaded, dict) else {}
