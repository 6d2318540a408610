"""Where compiled kernels are cached: one folder per state of all sources with compiled code.

numba looks at the file of a kernel alone. Beside the sources it would go on using a kernel whose inlined helpers in
other files have changed, after `git pull` or an upgrade.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numba

_CACHE = Path("~/.cache/click-gaussian-ns/numba")


def kernel_digest() -> str:
    """Of every source file of the package with compiled code."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        source = path.read_bytes()
        if b"numba" in source:
            digest.update(path.name.encode() + source)
    return digest.hexdigest()[:16]


def use_kernel_cache() -> None:
    """For kernels declared from now on; a NUMBA_CACHE_DIR of the user's own is left as it is."""
    if "NUMBA_CACHE_DIR" not in os.environ:
        numba.config.CACHE_DIR = str(_CACHE.expanduser() / kernel_digest())  # pyright: ignore[reportAttributeAccessIssue]
