"""What is published: an sdist and a wheel that hold the package and nothing else, and run without the checkout."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from click_gaussian_ns.splats.ply import read_ply

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("click_gaussian_ns", "docs", "examples", "tests")
"""Copied with the files beside them: a build leaves its own files in the tree."""
BUILD_SDIST = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"


def run(*command: object, cwd: Path, python_path: Path | None = None) -> str:
    """Run a command far from the checkout; its combined output."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "")}
    env |= {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # threads that wait for a busy machine take its time
    env |= {} if python_path is None else {"PYTHONPATH": str(python_path)}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def sources() -> set[str]:
    """The package's files, from the checkout's root."""
    package = ROOT / "click_gaussian_ns"
    found = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(ROOT).as_posix() for path in found}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkout = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, checkout)
        elif path.name in FOLDERS:
            shutil.copytree(path, checkout / path.name, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-c", BUILD_SDIST, checkout / "dist", cwd=checkout)
    (built,) = (checkout / "dist").glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of the sdist alone."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, sdist, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_the_sdist_holds_what_building_needs(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames() if not archive.getmember(name).isdir()}
    made = {name for name in held if ".egg-info/" in name or name in ("PKG-INFO", "setup.cfg")}
    assert held - made == sources() | {"LICENSE", "README.md", "pyproject.toml"}


def test_the_wheel_holds_the_package_and_its_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        (info,) = {name.partition("/")[0] for name in archive.namelist()} - {"click_gaussian_ns"}
        licence = archive.read(f"{info}/licenses/LICENSE").decode()
        metadata = archive.read(f"{info}/METADATA").decode()
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    assert held == sources()
    assert licence == (ROOT / "LICENSE").read_text() and "Apache License" in licence
    assert "License-Expression: Apache-2.0\n" in metadata and "License-File: LICENSE\n" in metadata
    for line in ("click-gaussian = click_gaussian_ns.cli:main", "splat-data = click_gaussian_ns.registry:splat_data"):
        assert line in entry_points


@pytest.mark.slow
def test_the_wheel_runs_the_demo_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Kernels are compiled anew: numba keeps them by the path of their sources."""
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--target", site, wheel, cwd=elsewhere)
    code = (
        "import click_gaussian_ns; from importlib.metadata import distribution, entry_points\n"
        "print(click_gaussian_ns.__file__, distribution('click-gaussian-ns').locate_file(''))\n"
        "print(entry_points(group='nerfstudio.method_configs', name='click-gaussian')['click-gaussian'].load())"
    )
    printed = run(sys.executable, "-c", code, cwd=elsewhere, python_path=site)
    assert f"{site / 'click_gaussian_ns' / '__init__.py'} {site}" in printed and "MethodSpecification" in printed
    demo = (sys.executable, "-m", "click_gaussian_ns.cli", "demo", "--no-viewer", "--max-steps", 30)
    run(*demo, "--output-dir", elsewhere / "demo", cwd=elsewhere, python_path=site)
    assert read_ply(elsewhere / "demo" / "export" / "mug.ply")[0].num_gaussians > 0
    assert (elsewhere / "demo" / "metrics.json").is_file() and (elsewhere / "demo" / "report.html").is_file()
