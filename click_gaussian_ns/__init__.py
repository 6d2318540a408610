"""Click objects and parts in any 3D Gaussian scene: the Click-Gaussian method as a nerfstudio plugin.

The names that a script needs are here; examples/ shows their use. Each is imported when it is asked for: importing the
package imports nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from click_gaussian_ns.edit.export import export_ply
    from click_gaussian_ns.raster.rasterize import prepare, render
    from click_gaussian_ns.runs.evaluation import evaluate_run
    from click_gaussian_ns.runs.open_run import Run, open_run
    from click_gaussian_ns.runs.select import mask_in_photo, select
    from click_gaussian_ns.selection.pick import pick
    from click_gaussian_ns.selection.propagate import cluster_map
    from click_gaussian_ns.selection.storage import read_selection, write_selection
    from click_gaussian_ns.splats.transforms import move_view
    from click_gaussian_ns.types import Click, PinholeView, Selection, Splats

__all__ = [
    "Click",
    "PinholeView",
    "Run",
    "Selection",
    "Splats",
    "cluster_map",
    "evaluate_run",
    "export_ply",
    "mask_in_photo",
    "move_view",
    "open_run",
    "pick",
    "prepare",
    "read_selection",
    "render",
    "select",
    "write_selection",
]

_MODULES = {
    "edit.export": ("export_ply",),
    "raster.rasterize": ("prepare", "render"),
    "runs.evaluation": ("evaluate_run",),
    "runs.open_run": ("Run", "open_run"),
    "runs.select": ("mask_in_photo", "select"),
    "selection.pick": ("pick",),
    "selection.propagate": ("cluster_map",),
    "selection.storage": ("read_selection", "write_selection"),
    "splats.transforms": ("move_view",),
    "types": ("Click", "PinholeView", "Selection", "Splats"),
}
"""Where each name is defined."""


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
