"""How kernels are declared that run on all cores."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from functools import wraps
from typing import Any

from numba import njit, threading_layer

from click_gaussian_ns.raster.kernel_cache import use_kernel_cache

use_kernel_cache()

_TURNS = threading.Lock()


def parallel_kernel(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """numba's `njit` for a kernel with `prange`: compiled once, cached, free of the GIL. It is called from Python only.

    Where there is neither TBB nor OpenMP, numba takes its own layer of threads, "workqueue", and that ends the process
    when a second thread enters a kernel meanwhile (a frame while clusters are computed): they then take turns.
    """

    def declare(function: Callable[..., Any]) -> Callable[..., Any]:
        kernel = njit(parallel=True, cache=True, nogil=True, **options)(function)

        @wraps(function)
        def launch(*args: Any) -> Any:
            with _TURNS if _take_turns() else nullcontext():
                return kernel(*args)

        return launch

    return declare


def _take_turns() -> bool:
    try:
        return threading_layer() == "workqueue"
    except ValueError:  # none is chosen before the first launch
        return True
