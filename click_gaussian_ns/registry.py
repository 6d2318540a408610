"""The entry points `nerfstudio.method_configs` and `nerfstudio.dataparser_configs`.

Importing this module imports nothing else: it runs in every `ns-*`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nerfstudio.plugins.registry_dataparser import DataParserSpecification
    from nerfstudio.plugins.types import MethodSpecification

    click_gaussian: MethodSpecification
    splatfacto_cpu: MethodSpecification
    splat_data: DataParserSpecification

_MAKERS = {
    "click_gaussian": ("method.methods", "click_gaussian_method"),
    "splatfacto_cpu": ("method.methods", "splatfacto_cpu_method"),
    # asked for while nerfstudio's datamanagers are still being imported: its module imports none of them
    "splat_data": ("scenes.splat_data", "splat_data_parser"),
}


def __getattr__(name: str) -> Any:
    if name not in _MAKERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, maker = _MAKERS[name]
    return getattr(import_module(f"click_gaussian_ns.{module}"), maker)()
