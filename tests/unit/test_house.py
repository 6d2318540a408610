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
    *("types", "files", "splats", "raster", "masks", "clusters", "features", "selection", "language", "edit"),
    *("evaluate", "poses", "scenes", "runs", "geometry", "method", "viewer", "demo", "cli", "registry"),
]
RESERVED = {
    "nerfstudio": ("registry.py", "scenes", "runs", "geometry", "method", "viewer", "demo"),
    "viser": ("viewer",),
    "gsplat": ("raster/cuda.py", "raster/gsplat_build.py"),
    "segment_anything": ("masks/sam.py", "masks/sam_cost.py"),
    "sam2": ("masks/sam2.py",),
    "pycolmap": ("poses/colmap.py",),
    "open_clip": ("language/open_clip.py",),
}
PLUGIN_ONLY = ("numba", "hdbscan", "segment_anything", "sam2", "pycolmap", "open_clip")
"""Heavy, and never imported by nerfstudio itself."""
HEAVY = ("gsplat", "viser", *PLUGIN_ONLY)


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


def test_loading_the_entry_points_adds_nothing_heavy_to_nerfstudio() -> None:
    found = run_python(
        "import sys, time, warnings; warnings.simplefilter('ignore')\n"
        "from importlib import metadata\n"
        "installed = metadata.entry_points\n"
        "metadata.entry_points = lambda **_: metadata.EntryPoints(())  # nerfstudio without any plugin\n"
        "import nerfstudio.scripts.train\n"
        "metadata.entry_points = installed\n"
        "assert not [name for name in sys.modules if name.startswith('click_gaussian_ns.')]\n"
        "before = set(sys.modules); start = time.perf_counter()\n"
        "groups = ('nerfstudio.method_configs', 'nerfstudio.dataparser_configs')\n"
        "ours = [point for group in groups for point in installed(group=group) if 'click_gaussian_ns' in point.value]\n"
        "loaded = [point.load().config for point in ours]\n"
        "seconds = time.perf_counter() - start\n"
        "added = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        f"print(len(loaded), [name for name in {HEAVY!r} if name in added], seconds < 1.0, seconds)"
    )
    assert found.split("\n")[-2].startswith("3 [] True"), found


def test_nerfstudio_with_our_entry_points_imports_nothing_heavy() -> None:
    """The order of a real `ns-*`: they are loaded while nerfstudio itself is half imported."""
    found = run_python(
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from nerfstudio.configs.method_configs import all_methods\n"
        "assert {'click-gaussian', 'splatfacto-cpu'} <= set(all_methods)\n"
        f"print([name for name in {PLUGIN_ONLY!r} if name in sys.modules])"
    )
    assert found.split("\n")[-2] == "[]", found


def test_the_method_is_registered() -> None:
    from importlib.metadata import entry_points

    (found,) = [e for e in entry_points(group="nerfstudio.method_configs") if e.name == "click-gaussian"]
    assert found.value == "click_gaussian_ns.registry:click_gaussian"
    assert found.load().config.max_num_iterations == 3000
