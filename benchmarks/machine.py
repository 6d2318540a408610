"""What a benchmark ran on, and how fast that is just now: what absolute times are divided by to compare machines."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
import torch


def use_threads(threads: int) -> None:
    """Limit numba and PyTorch to that many threads."""
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # pyright: ignore
    torch.set_num_threads(threads)


def describe() -> dict[str, object]:
    """Processor, cores, load and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numba": numba.__version__,
    }


def peak_rss_gb() -> float:
    """Highest resident memory of this process so far, GB (10^9 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def timed(action: Callable[[], object]) -> float:
    """Wall time, s."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def median_ms(action: Callable[[], object], repeats: int) -> float:
    """Median wall time after one warm-up, ms."""
    action()
    return float(np.median([timed(action) for _ in range(repeats)])) * 1e3


def calibration_ms() -> dict[str, float]:
    """A product of matrices (arithmetic) and a triad over 400 MB (memory) on all threads, medians, ms."""
    square = torch.rand(1024, 1024)
    a, b, out = torch.rand(33_000_000), torch.rand(33_000_000), torch.empty(33_000_000)
    return {
        "arithmetic_ms": median_ms(lambda: square @ square, 9),
        "memory_ms": median_ms(lambda: torch.add(a, b, alpha=0.5, out=out), 9),
    }
