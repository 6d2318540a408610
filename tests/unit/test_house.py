"""The house rules that can be checked: which way imports go, who may import what, and what importing us costs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import click_gaussian_ns

PACKAGE = Path(click_gaussian_ns.__file__).parent
ORDER = [
    *("types", "files", "splats", "raster", "masks", "clusters", "features", "selection", "edit", "evaluate"),
    *("scenes", "runs", "geometry", "method", "viewer", "demo", "cli", "registry"),
]
RESERVED = {
    "nerfstudio": ("registry.py", "scenes", "runs", "geometry", "method", "viewer", "demo"),
    "viser": ("viewer",),
    "gsplat": ("raster/cuda.py",),
    "segment_anything": ("masks/sam.py",),
    "sam2": ("masks/sam2.py",),
}
HEAVY = ("gsplat", "numba", "hdbscan", "segment_anything", "viser")


def imports_of(path: Path) -> Iterator[str]:
    """Dotted names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules() -> list[str]:
    return sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", modules())
def test_data_flows_one_way(module: str) -> None:
    folder = module.split("/")[0].removesuffix(".py")
    if folder == "__init__":
        return
    for name in imports_of(PACKAGE / module):
        parts = name.split(".")
        if parts[0] == "click_gaussian_ns" and len(parts) > 1:
            assert parts[1] in ORDER, f"{module} imports {name}"
            assert ORDER.index(parts[1]) <= ORDER.index(folder), f"{module} imports {name}, which is further down"


@pytest.mark.parametrize("module", modules())
def test_libraries_stay_where_they_belong(module: str) -> None:
    for name in imports_of(PACKAGE / module):
        allowed = RESERVED.get(name.split(".")[0])
        assert allowed is None or module.startswith(allowed), f"{module} imports {name}"


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_entry_point_imports_nothing_heavy() -> None:
    found = run_python(
        "import sys, click_gaussian_ns.registry\n"
        f"print([name for name in {HEAVY!r} + ('torch', 'nerfstudio') if name in sys.modules])"
    )
    assert found.strip() == "[]"


def test_loading_the_method_adds_nothing_heavy_to_nerfstudio() -> None:
    found = run_python(
        "import sys, time, warnings; warnings.simplefilter('ignore')\n"
        "import nerfstudio.configs.method_configs, nerfstudio.pipelines.base_pipeline\n"
        "for name in [n for n in sys.modules if n.startswith('click_gaussian_ns')]: del sys.modules[name]\n"
        "before = set(sys.modules); start = time.perf_counter()\n"
        "from click_gaussian_ns.registry import click_gaussian\n"
        "seconds = time.perf_counter() - start\n"
        "added = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "assert click_gaussian.config.method_name == 'click-gaussian'\n"
        f"print([name for name in {HEAVY!r} if name in added], seconds < 1.0)"
    )
    assert found.split("\n")[-2] == "[] True", found


def test_the_method_is_registered() -> None:
    from importlib.metadata import entry_points

    (found,) = [e for e in entry_points(group="nerfstudio.method_configs") if e.name == "click-gaussian"]
    assert found.value == "click_gaussian_ns.registry:click_gaussian"
    assert found.load().config.max_num_iterations == 3000
