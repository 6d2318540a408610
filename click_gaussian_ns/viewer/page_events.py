"""What a browser's page tells of: clicks, rectangles, keys, the list of objects. What comes from outside is checked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from click_gaussian_ns.viewer.state import CLICK_MODES, ClickMode

Place = tuple[float, float]
"""In [0, 1] of the picture, from the left and from the top."""
COMMANDS = (
    *("undo", "redo", "narrower", "wider", "clear", "delete", "hide", "show all"),
    *("move", "turn", "resize", "frame", "previous photo", "next photo", "start view"),
)
ACTIONS = ("select", "hide", "show", "only", "lock", "unlock", "rename")
_MOST_POINTS = 1000
_LONGEST = 200_000
"""Characters of one message."""


@dataclass(frozen=True)
class Clicked:
    at: Place
    mode: ClickMode | None
    """By the keys that were held; None: as the panel says."""
    whole: bool
    """The second of a double click: the whole object."""


@dataclass(frozen=True)
class Hovered:
    at: Place


@dataclass(frozen=True)
class Dragged:
    """A rectangle, or a lasso's corners."""

    points: tuple[Place, ...]
    """Two: opposite corners of a rectangle."""
    mode: ClickMode | None


@dataclass(frozen=True)
class Commanded:
    name: str
    """One of COMMANDS."""


@dataclass(frozen=True)
class ObjectAsked:
    action: str
    """One of ACTIONS."""
    level: str
    cluster: int
    mode: ClickMode | None
    name: str
    """The new one."""


PageEvent = Clicked | Hovered | Dragged | Commanded | ObjectAsked


def read_events(text: str, after: int) -> tuple[list[PageEvent], int]:
    """The events of a message that are newer than number `after`, in order, and the newest number.

    Raises:
        ValueError: it is nothing that our page sends.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"a message of {len(text):,} characters from a browser is ignored")
    try:
        entries = sorted(((int(entry["n"]), entry) for entry in json.loads(text)), key=lambda pair: pair[0])
        events = [_event(entry) for number, entry in entries if number > after]
        return events, max([after, *(number for number, _ in entries)])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"a browser sent what is no event of this page ({error})") from error


def _event(entry: Mapping[str, Any]) -> PageEvent:
    kind = entry["type"]
    if kind == "click":
        return Clicked(_place(entry["x"], entry["y"]), _mode(entry), entry["whole"] is True)
    if kind == "hover":
        return Hovered(_place(entry["x"], entry["y"]))
    if kind == "rectangle":
        return Dragged((_place(*entry["from"]), _place(*entry["to"])), _mode(entry))
    if kind == "lasso":
        points = tuple(_place(*point) for point in entry["points"][:_MOST_POINTS])
        if len(points) < 3:
            raise ValueError("a lasso has three corners at least")
        return Dragged(points, _mode(entry))
    if kind == "command" and entry["name"] in COMMANDS:
        return Commanded(entry["name"])
    if kind == "object" and entry["action"] in ACTIONS:
        return ObjectAsked(
            entry["action"], str(entry["level"]), int(entry["cluster"]), _mode(entry), str(entry.get("name", ""))
        )
    raise ValueError(f"unknown kind {str(kind)[:40]!r}")


def _place(x: Any, y: Any) -> Place:
    if not (math.isfinite(float(x)) and math.isfinite(float(y))):
        raise ValueError("a place that is no number")
    return min(max(float(x), 0.0), 1.0), min(max(float(y), 0.0), 1.0)


def _mode(entry: Mapping[str, Any]) -> ClickMode | None:
    mode = entry.get("mode")
    if mode is not None and mode not in CLICK_MODES:
        raise ValueError(f"unknown mode {str(mode)[:40]!r}")
    return cast("ClickMode | None", mode)
