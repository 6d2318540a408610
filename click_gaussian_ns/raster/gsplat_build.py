"""Whether gsplat's CUDA kernels can draw on this machine. They are compiled at their first use, which takes minutes."""

from __future__ import annotations

from functools import cache

import torch


@cache
def why_gsplat_cannot_draw() -> str | None:
    """One line that says why; None where it can. The first call of a process loads the kernels, or compiles them."""
    if torch.version.hip is not None:
        return "gsplat has no kernels for AMD's GPUs"
    try:
        from gsplat.cuda._backend import _C  # pyright: ignore[reportAttributeAccessIssue]
    except Exception as error:  # of a compiler, a linker or a loader: whatever it is, frames can be drawn without
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"gsplat's CUDA kernels did not build: {first}"
    if _C is None:
        return "gsplat compiles its CUDA kernels with nvcc, and there is none on the PATH"
    return None
