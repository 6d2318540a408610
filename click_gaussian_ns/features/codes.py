"""Features to start from, made of clusters: well separated directions, of which the parts of one object share half."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from click_gaussian_ns.features.levels import channel_shares
from click_gaussian_ns.types import Level

_ROUNDS = 300
_SHARPNESS = 8.0
"""How much nearer pairs of directions count more than others."""


def initial_codes(
    features: Float[Tensor, "N 24"], levels: Sequence[Level], labels: Sequence[Int[Tensor, " N"]]
) -> Float[Tensor, "N 24"]:
    """The features with each level's own channels set to the code of the Gaussian's cluster; without one, untouched.

    At a finer level only clusters of one coarser cluster need codes that differ: the coarser channels part the others.

    Args:
        features: what Gaussians without a cluster keep.
        levels: coarse to fine.
        labels: the cluster of every Gaussian at each level, below 0 for none.
    """
    codes = features.clone()
    parents: Tensor | None = None
    for level, own, share in zip(levels, labels, channel_shares(tuple(levels))):
        num = int(own.max()) + 1 if own.numel() else 0
        places = torch.arange(num) if parents is None else _places_within(own, parents, num)
        directions = spread_directions(int(places.max()) + 1 if num else 0, share.stop - share.start)
        at_home = own >= 0
        codes[at_home, share] = directions[places[own[at_home].long()]].to(codes)
        if level.start == 0:  # a level that reads the coarser channels too
            parents = own
    return codes


def _places_within(labels: Int[Tensor, " N"], parents: Int[Tensor, " N"], num: int) -> Int[Tensor, " C"]:
    """The place of each cluster among those of the same coarser cluster, which holds most of its Gaussians."""
    both = (labels >= 0) & (parents >= 0)
    num_parents = int(parents.max()) + 1 if parents.numel() else 0
    counts = torch.zeros(num, max(num_parents, 1))
    counts.index_put_((labels[both].long(), parents[both].long()), torch.ones(int(both.sum())), accumulate=True)
    parent = counts.argmax(dim=1)
    places = torch.zeros(num, dtype=torch.int64)
    for group in torch.unique(parent):
        members = (parent == group).nonzero()[:, 0]
        places[members] = torch.arange(len(members))
    return places


def spread_directions(num: int, dim: int) -> Float[Tensor, "K D"]:
    """Unit vectors as far apart as they go: at right angles while there is room, then pushed apart."""
    if num <= dim:
        return torch.eye(dim)[:num]
    found = normalize(torch.randn(num, dim, generator=torch.Generator().manual_seed(0)), dim=-1)
    for _ in range(_ROUNDS):
        push = (_SHARPNESS * (found @ found.T - 1.0)).exp().fill_diagonal_(0.0)
        found = normalize(found - 0.5 * (push @ found) / push.sum(dim=1, keepdim=True).clamp_min(1e-12), dim=-1)
    return found
