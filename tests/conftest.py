"""Run-time shape and type checks for every test, and the fixtures that tests share."""

import hashlib
import os
from pathlib import Path


def _kernel_digest() -> str:
    """Of every source file with compiled code. numba looks at the file of a kernel alone, and would go on using one
    whose inlined helpers in other files have changed."""
    digest = hashlib.sha256()
    for path in sorted((Path(__file__).parents[1] / "click_gaussian_ns").rglob("*.py")):
        source = path.read_bytes()
        if b"numba" in source:
            digest.update(path.name.encode() + source)
    return digest.hexdigest()[:16]


os.environ.setdefault("NUMBA_CACHE_DIR", os.path.expanduser(f"~/.cache/click-gaussian-ns/numba/{_kernel_digest()}"))

from jaxtyping import install_import_hook

install_import_hook("click_gaussian_ns", "beartype.beartype")

import pytest
import torch


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs an NVIDIA GPU"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real captures that lie beside the checkout (`../shared/data`), or $CLICK_GAUSSIAN_SHARED_DATA."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("CLICK_GAUSSIAN_SHARED_DATA", default))
    assert path.is_dir(), f"{path} is missing: set CLICK_GAUSSIAN_SHARED_DATA to the folder of captures"
    return path
