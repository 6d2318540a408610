"""The entry point `nerfstudio.method_configs`. Importing this module imports nothing else: it runs in every `ns-*`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nerfstudio.plugins.types import MethodSpecification

    click_gaussian: MethodSpecification
    splatfacto_cpu: MethodSpecification

_METHODS = {"click_gaussian": "click_gaussian_method", "splatfacto_cpu": "splatfacto_cpu_method"}


def __getattr__(name: str) -> Any:
    if name not in _METHODS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from click_gaussian_ns.plugin import methods

    return getattr(methods, _METHODS[name])()
