"""How a 24-channel feature is divided into granularity levels (section 3.2 of the paper)."""

from __future__ import annotations

from click_gaussian_ns.types import Level

FEATURE_DIM = 24

_MARGINS = {2: (0.5, 0.75), 3: (0.5, 0.625, 0.75)}
"""tau^l from coarse to fine; the middle level of three lies halfway (the paper states the two)."""
_CLUSTER_EPSILONS = {2: (1e-2, 1e-3), 3: (1e-2, 3e-3, 1e-3)}
LEVEL_NAMES = {2: ("coarse", "fine"), 3: ("coarse", "middle", "fine")}


def granularity_levels(num_levels: int = 2, prior: bool = True) -> tuple[Level, ...]:
    """Levels from coarse to fine over FEATURE_DIM channels split evenly.

    With the granularity prior a level reads its own share and those of all coarser levels, whose channels are
    detached in its negative contrastive term; without it each level reads its own share alone.
    """
    if num_levels not in LEVEL_NAMES:
        raise ValueError(f"there can be 2 or 3 granularity levels, got {num_levels}")
    share = FEATURE_DIM // num_levels
    return tuple(
        Level(
            name=name,
            start=0 if prior else i * share,
            stop=(i + 1) * share,
            detached_stop=i * share,
            margin=_MARGINS[num_levels][i],
            radius=(i + 1) ** 0.5 if prior else 1.0,
            cluster_epsilon=_CLUSTER_EPSILONS[num_levels][i],
        )
        for i, name in enumerate(LEVEL_NAMES[num_levels])
    )


def channel_shares(levels: tuple[Level, ...]) -> tuple[slice, ...]:
    """The channels that each level adds to the feature: each of these is kept on the unit sphere (Eq. 10)."""
    return tuple(slice(level.detached_stop, level.stop) for level in levels)
