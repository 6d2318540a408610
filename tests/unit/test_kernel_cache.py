"""Compiled kernels are thrown away when anything changes that they were made of."""

import shutil
from pathlib import Path

import pytest

import click_gaussian_ns
from click_gaussian_ns.raster.kernel_cache import kernel_digest


@pytest.mark.parametrize(
    ("changed", "matters"),
    [
        ("features/levels.py", True),
        ("splats/spherical_harmonics.py", True),
        ("types.py", True),
        ("raster/scalar_math.py", True),
        ("masks/runs.py", True),
        ("viewer/core.py", False),
    ],
)
def test_the_digest_covers_constants_that_kernels_freeze(tmp_path: Path, changed: str, matters: bool) -> None:
    package = Path(click_gaussian_ns.__file__).parent
    copy = tmp_path / "package"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert kernel_digest(copy) == kernel_digest()
    with (copy / changed).open("a") as file:
        file.write("# changed\n")
    assert (kernel_digest(copy) != kernel_digest()) == matters
