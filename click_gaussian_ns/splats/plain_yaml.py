"""A run's config.yml, read without executing what it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class _PlainLoader(yaml.SafeLoader):
    """Objects become dictionaries, paths become paths; nothing is imported or called."""


def _plain(loader: _PlainLoader, suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        parts = loader.construct_sequence(node, deep=True)
        return Path(*parts) if suffix.startswith("object/apply:pathlib.") else parts
    return suffix


_PlainLoader.add_multi_constructor("tag:yaml.org,2002:python/", _plain)


def read_plain_yaml(path: Path) -> Any:
    """What the file says, as dictionaries, lists, paths and plain values.

    Raises:
        OSError: it cannot be read.
        yaml.YAMLError: it is no YAML.
    """
    return yaml.load(path.read_text(encoding="utf8"), Loader=_PlainLoader)  # a SafeLoader
