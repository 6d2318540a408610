"""Where compiled kernels are cached: one folder per state of all sources with compiled code or what it is made of.

numba looks at the file of a kernel alone. Beside the sources it would go on using a kernel whose inlined helpers or
constants in other files have changed, after `git pull` or an upgrade.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numba

from click_gaussian_ns.files import cache_folder

_PACKAGE = Path(__file__).parents[1]
_CONSTANTS_FROM = ("features", "raster", "splats", "types.py")
"""Kernels freeze constants of these, whose files need not name numba."""


def kernel_digest(package: Path = _PACKAGE) -> str:
    """Of every source file of the package that compiled code may come from."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        source, name = path.read_bytes(), path.relative_to(package)
        if name.parts[0] in _CONSTANTS_FROM or b"numba" in source:
            digest.update(name.as_posix().encode() + source)
    return digest.hexdigest()[:16]


def use_kernel_cache() -> None:
    """For kernels declared from now on; a NUMBA_CACHE_DIR of the user's own is left as it is."""
    if not numba.config.CACHE_DIR:  # pyright: ignore[reportAttributeAccessIssue]
        numba.config.CACHE_DIR = str(cache_folder("numba") / kernel_digest())  # pyright: ignore[reportAttributeAccessIssue]
