"""Compiled kernels are thrown away when anything changes that they were made of."""

import os
import shutil
import subprocess
import sys
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


WITHOUT_A_HOME = """
import numba
from click_gaussian_ns.masks.runs import paint_runs
from click_gaussian_ns.raster import cpu
from click_gaussian_ns.files import cache_folder
print(numba.config.CACHE_DIR)
print(cache_folder("masks"))
print(paint_runs._cache.cache_path)
"""


def test_without_a_home_the_cache_is_temporary_and_one_line_says_so(tmp_path: Path) -> None:
    """No folder can be made in a HOME that is a file, whoever asks."""
    home = tmp_path / "home"
    home.touch()
    env = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR")}
    env |= {"HOME": str(home), "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", WITHOUT_A_HOME], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    kernels, masks, used = map(Path, done.stdout.split())
    assert kernels.name == kernel_digest() and used.parent == kernels
    assert kernels.parent.parent == masks.parent == tmp_path
    told = [line for line in done.stderr.splitlines() if "cannot be written to" in line]
    assert [str(home / ".cache" / "click-gaussian-ns" / name) in told[i] for i, name in enumerate(("numba", "masks"))]
    assert done.stderr.splitlines() == told
    assert list(tmp_path.iterdir()) == [home]


def test_a_cache_of_the_users_own_is_left_as_it_is(tmp_path: Path) -> None:
    code = "import numba; from click_gaussian_ns.raster import scalar_math; print(numba.config.CACHE_DIR)"
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout.strip() == str(tmp_path)
