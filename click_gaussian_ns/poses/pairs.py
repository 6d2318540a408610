"""Which pairs of photos are compared with each other."""

from __future__ import annotations

from itertools import combinations
from typing import Literal

Matching = Literal["auto", "exhaustive", "sequential"]

_EXHAUSTIVE_UP_TO = 150
"""Photos: 11,175 pairs, some three minutes on two cores. Twice as many photos would take four times as long."""
_NEIGHBOURS = 10
_ANCHORS = 40
"""So many photos, evenly spread, are all compared with each other, so that a walk around an object closes."""


def matching_rule(asked: Matching, num_photos: int, is_video: bool) -> Matching:
    """What `auto` means: frames of a video follow each other, and so, mostly, do many photos."""
    if asked != "auto":
        return asked
    return "sequential" if is_video or num_photos > _EXHAUSTIVE_UP_TO else "exhaustive"


def photo_pairs(rule: Matching, num_photos: int) -> list[tuple[int, int]]:
    """Places of photos in the order of their names, the smaller one first, each pair once.

    Args:
        rule: exhaustive: all pairs; sequential: each photo with its next ten, with those 16, 32, 64, ... further on,
            and some forty photos, evenly spread, with each other.
        num_photos: how many there are.
    """
    everyone = range(num_photos)
    if rule == "exhaustive":
        return list(combinations(everyone, 2))
    steps = list(range(1, _NEIGHBOURS + 1))
    step = 16
    while step < num_photos:
        steps.append(step)
        step *= 2
    pairs = {(first, first + step) for step in steps for first in range(num_photos - step)}
    every = max(1, -(-num_photos // _ANCHORS))
    pairs.update(combinations(everyone[::every], 2))
    return sorted(pairs)
