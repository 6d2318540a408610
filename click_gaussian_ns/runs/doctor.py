"""`click-gaussian doctor`: what this machine has, what each part therefore uses, and what to install for more."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch

from click_gaussian_ns.files import cache_home
from click_gaussian_ns.masks.checkpoints import checkpoint_folder
from click_gaussian_ns.raster.gsplat_build import why_gsplat_cannot_draw
from click_gaussian_ns.runs.machine import default_device, what_does_what

_EXTRAS = {
    "sam2": ("sam2", "SAM 2 as a generator of masks"),
    "poses": ("pycolmap", "poses of plain photos"),
    "text": ("open_clip", "finding objects by any text"),
    "formats": ("ply2splat", ".splat and .spz files"),
    "ray": ("ray", "masks on a Ray cluster"),
}
"""By extra: the package that it installs, and what it is for."""


def print_doctor() -> None:
    """Print it. Compiles gsplat's kernels where there is a GPU, and ours, if they never were."""
    facts = [*_machine(), *_gpu(), *_kernels(), *_files()]
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        print(f"{name:<{width}}  {value}")
    print(f"\n{what_does_what(default_device())}")
    for line in _advice():
        print(f"For more: {line}")


def _machine() -> Iterator[tuple[str, str]]:
    import psutil

    memory = psutil.virtual_memory()
    yield "Python", f"{platform.python_version()} on {platform.platform()}"
    yield "CPU", f"{os.cpu_count()} cores, {memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GB memory free"


def _gpu() -> Iterator[tuple[str, str]]:
    build = torch.version.cuda or torch.version.hip
    yield "PyTorch", f"{torch.__version__} ({f'built for GPUs, {build}' if build else 'built without GPU support'})"
    if not torch.cuda.is_available():
        yield "GPU", "none that PyTorch can use"
        return
    free, total = torch.cuda.mem_get_info()
    yield "GPU", f"{torch.cuda.get_device_name()}, {free / 2**30:.1f} of {total / 2**30:.1f} GB free"
    yield "nvcc", shutil.which("nvcc") or "not on the PATH"
    yield "gsplat", why_gsplat_cannot_draw() or "its CUDA kernels work"


def _kernels() -> Iterator[tuple[str, str]]:
    """Drawn with them: whatever is wrong shows here, and not in the middle of a training."""
    import numba

    from click_gaussian_ns.raster import rasterize
    from click_gaussian_ns.types import PinholeView, Splats

    one = Splats(
        torch.tensor([[0.0, 0.0, 2.0]]), torch.eye(4)[:1], torch.zeros(1, 3), torch.ones(1), torch.ones(1, 1, 3)
    )
    K = torch.tensor([[16.0, 0.0, 8.0], [0.0, 16.0, 8.0], [0.0, 0.0, 1.0]])
    drawn = rasterize.render(rasterize.prepare(one, PinholeView(torch.eye(4), K, 16, 16))).alpha
    works = "work" if float(drawn.max()) > 0.5 else "DRAW NOTHING: please report this"
    yield "CPU kernels", f"{works}; {numba.get_num_threads()} threads by {numba.threading_layer()}"


def _files() -> Iterator[tuple[str, str]]:
    weights = sorted(path.name for path in checkpoint_folder().glob("*.pt*"))
    yield "SAM weights", f"{', '.join(weights) or 'none'} in {checkpoint_folder()}"
    extras = {name: importlib.util.find_spec(package) is not None for name, (package, _) in _EXTRAS.items()}
    yield "Extras", ", ".join(f"{name} {'yes' if found else 'no'}" for name, found in extras.items())
    for name, folder in (("Caches", cache_home()), ("This folder", Path.cwd())):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        writable = "" if os.access(existing, os.W_OK) else ", NOT WRITABLE"
        yield name, f"{folder}, {shutil.disk_usage(existing).free / 2**30:.1f} GB free{writable}"


def _advice() -> Iterator[str]:
    if torch.version.cuda is None and torch.version.hip is None and shutil.which("nvidia-smi"):
        yield "this PyTorch was built without CUDA: install one with it from https://pytorch.org"
    if torch.cuda.is_available() and why_gsplat_cannot_draw() is not None and torch.version.hip is None:
        yield (
            f"the CUDA toolkit {torch.version.cuda} (its nvcc, and a C++ compiler), or a wheel of gsplat 1.4 that was "
            "built for this PyTorch: then gsplat draws frames"
        )
    for name, (package, use) in _EXTRAS.items():
        if importlib.util.find_spec(package) is None:
            yield f"pip install 'click-gaussian-ns[{name}]' ({use})"
