"""Frozen geometry out of the checkpoint of a splatfacto run (or of any nerfstudio model built on splatfacto)."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from click_gaussian_ns.files import read_torch_file
from click_gaussian_ns.splats.plain_yaml import read_plain_yaml
from click_gaussian_ns.splats.spherical_harmonics import SH_C0, degree_of
from click_gaussian_ns.splats.transforms import Similarity
from click_gaussian_ns.types import Splats

_STEP = re.compile(r"step-(\d+)\.ckpt$")
_PARAMETERS = {"means": (3,), "quats": (4,), "scales": (3,), "opacities": (1,), "features_dc": (3,)}
_PREFIXES = ("_model.gauss_params.", "_model.module.gauss_params.", "_model.", "_model.module.")
"""Current names, the same trained on several GPUs, and nerfstudio before 1.1 (both ways)."""


@dataclass(frozen=True)
class SplatfactoRun:
    """Where a run keeps what we need."""

    checkpoint: Path
    dataparser_transforms: Path | None
    """The file that maps the data's frame to the run's, or None where the run folder is not around the checkpoint."""
    config: Path | None
    """The run's config.yml, or None likewise."""


def find_run(source: Path) -> SplatfactoRun:
    """Find the newest checkpoint of a run.

    Args:
        source: the run folder, its config.yml, its folder of checkpoints, or one step-XXXXXXXXX.ckpt.

    Raises:
        ValueError: there is none; the message lists the runs below the folder if there are several.
    """
    if source.suffix == ".ckpt":
        if not source.is_file():
            raise ValueError(f"{source}: no such checkpoint. Expected a step-XXXXXXXXX.ckpt of a splatfacto run.")
        return _run_of(source)
    folder = source if source.is_dir() else source.parent
    checkpoints = [*folder.glob("step-*.ckpt"), *folder.glob("*/step-*.ckpt")]
    checkpoints = [path for path in checkpoints if _STEP.search(path.name)]
    if not checkpoints:
        runs = sorted(str(path.parent) for path in folder.glob("**/config.yml"))
        hint = f" It holds these runs, pass one of them: {', '.join(runs[:8])}." if source.is_dir() and runs else ""
        raise ValueError(
            f"{source}: no checkpoint found (looked for step-*.ckpt in {folder} and the folders in it). Expected a run "
            f"of splatfacto: its folder, its config.yml, its nerfstudio_models folder, or a .ckpt.{hint}"
        )
    return _run_of(max(checkpoints, key=_step))


def read_dataparser_transforms(path: Path) -> Similarity:
    """The map from the data's frame to a run's own, as nerfstudio saves it in dataparser_transforms.json.

    Raises:
        ValueError: not such a file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf8"))
        matrix = torch.tensor(content["transform"], dtype=torch.float64)
        return Similarity.from_dataparser(matrix.reshape(3, 4), float(content["scale"]))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(
            f"{path}: not a dataparser_transforms.json of nerfstudio ({error}). Expected a 3x4 `transform` and a "
            "`scale`. Restore the file, or say which frame the Gaussians are in instead of `auto`."
        ) from error


def read_checkpoint(path: Path) -> Splats:
    """The Gaussians of a checkpoint, in the run's dataparser frame, float32 on the CPU; non-finite ones included.

    A run of SH degree 0 stores colours before the sigmoid; they are turned into the DC term that has the same colour.

    Raises:
        ValueError: not a checkpoint of nerfstudio, not of splatfacto, or damaged.
    """
    state = _load_pipeline_state(path)
    prefix = next((p for p in _PREFIXES if f"{p}means" in state and f"{p}features_dc" in state), None)
    if prefix is None:
        found = sorted({".".join(str(key).split(".")[:2]) for key in state})[:8]
        raise ValueError(
            f"{path}: holds no Gaussians (no `_model.gauss_params.means`; found {', '.join(found) or 'nothing'}). "
            "Expected a checkpoint of `ns-train splatfacto`."
        )
    params = {name: _parameter(path, state, prefix + name, shape) for name, shape in _PARAMETERS.items()}
    rest = _parameter(path, state, f"{prefix}features_rest", (None, 3))
    num = params["means"].shape[0]
    if {value.shape[0] for value in (*params.values(), rest)} != {num} or num == 0:
        counts = ", ".join(f"{name} {value.shape[0]}" for name, value in params.items())
        raise ValueError(f"{path}: damaged or empty, numbers of Gaussians differ or are 0 ({counts}).")
    try:
        degree = degree_of(rest.shape[1] + 1)
    except ValueError as error:
        raise ValueError(f"{path}: {error} (SH degrees 0 to 3 are supported).") from error
    dc = params["features_dc"]
    if degree == 0:
        dc = (torch.sigmoid(dc) - 0.5) / SH_C0
    return Splats(
        means=params["means"].clone(),
        quats=params["quats"].clone(),
        log_scales=params["scales"].clone(),
        opacity_logits=params["opacities"][:, 0].clone(),
        sh=torch.cat([dc[:, None], rest], dim=1),
    )


def is_antialiased(run: SplatfactoRun) -> bool:
    """Whether a run was trained in the rasterize mode "antialiased". One that does not say was trained in "classic"."""
    try:
        mode = None if run.config is None else read_plain_yaml(run.config)["pipeline"]["model"].get("rasterize_mode")
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        return False
    if mode == "auto":  # of click-gaussian: it is what its own geometry was trained in
        return bool(_load_pipeline_state(run.checkpoint).get("_model.antialiased", False))
    return mode == "antialiased"


def is_step(path: Path) -> bool:
    """Whether a file has the name of a nerfstudio run's checkpoint."""
    return _STEP.search(path.name) is not None


def _step(path: Path) -> int:
    match = _STEP.search(path.name)
    return int(match.group(1)) if match else -1


def _run_of(checkpoint: Path) -> SplatfactoRun:
    found: dict[str, Path | None] = {}
    for name in ("dataparser_transforms.json", "config.yml"):
        places = (folder / name for folder in (checkpoint.parent.parent, checkpoint.parent))
        found[name] = next((path for path in places if path.is_file()), None)
    return SplatfactoRun(checkpoint, *found.values())


def _load_pipeline_state(path: Path) -> dict[str, Any]:
    """Memory-mapped, so that the optimizers' state (twice the size of the Gaussians) is never read."""
    advice = (
        "Expected a step-XXXXXXXXX.ckpt of `ns-train splatfacto`; if it was cut off while being written, pass an "
        "earlier one."
    )
    with torch.serialization.safe_globals(scheduler_globals()):
        loaded = read_torch_file(path, advice, mmap=True)
    state = loaded.get("pipeline") if isinstance(loaded, dict) else None
    if not isinstance(state, dict):
        raise ValueError(f"{path}: not a checkpoint of nerfstudio (no `pipeline` in it).")
    return state


def scheduler_globals() -> list[Any]:
    """What nerfstudio's learning-rate schedulers leave in a checkpoint: float64 scalars of NumPy 1 or 2.

    Those already allowed are left out, because `safe_globals` forbids its own on leaving, and with them others'.
    """
    scalar = np.float64(0).__reduce__()[0]
    wanted = [
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        (np.dtype, "numpy.dtype"),
        (type(np.dtype(np.float64)), "numpy.dtypes.Float64DType"),
    ]
    allowed = set(torch.serialization.get_safe_globals())
    return [item for item in wanted if item not in allowed]


def _parameter(path: Path, state: dict[str, Any], name: str, shape: tuple[int | None, ...]) -> Tensor:
    value = state.get(name)
    if value is None or not isinstance(value, Tensor):
        raise ValueError(f"{path}: damaged, `{name}` is missing. Expected a checkpoint of `ns-train splatfacto`.")
    expected = ", ".join("K" if size is None else str(size) for size in shape)
    fits = value.dim() == 1 + len(shape) and all(size in (None, actual) for size, actual in zip(shape, value.shape[1:]))
    if not fits:
        raise ValueError(f"{path}: `{name}` has shape {list(value.shape)}, expected [N, {expected}].")
    return value.detach().float()
