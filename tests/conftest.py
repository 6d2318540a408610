"""Run-time shape and type checks for every test, and the fixtures that tests share."""

import os

os.environ.setdefault("NUMBA_CACHE_DIR", os.path.expanduser("~/.cache/click-gaussian-ns/numba"))

from jaxtyping import install_import_hook

install_import_hook("click_gaussian_ns", "beartype.beartype")

from pathlib import Path

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
