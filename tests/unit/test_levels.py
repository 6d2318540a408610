"""How the 24 channels are divided into levels (section 3.2), and the features that training starts from."""

import math
from itertools import pairwise

import pytest
import torch

from click_gaussian_ns.features.head import initial_features
from click_gaussian_ns.features.levels import FEATURE_DIM, channel_shares, granularity_levels


def test_two_levels_with_the_prior_are_the_papers() -> None:
    """f^c = f[:12]; f^f = all 24, its coarse half under stop-gradient; tau 0.5 and 0.75; r 1 and sqrt 2."""
    coarse, fine = granularity_levels()
    assert (coarse.name, coarse.channels, coarse.detached_stop) == ("coarse", slice(0, 12), 0)
    assert (fine.name, fine.channels, fine.detached_stop) == ("fine", slice(0, 24), 12)
    assert (coarse.margin, fine.margin) == (0.5, 0.75)
    assert (coarse.radius, fine.radius) == (1.0, math.sqrt(2))
    assert (coarse.cluster_epsilon, fine.cluster_epsilon) == (1e-2, 1e-3)


def test_without_the_prior_levels_are_independent() -> None:
    coarse, fine = granularity_levels(prior=False)
    assert (coarse.channels, fine.channels) == (slice(0, 12), slice(12, 24))
    assert coarse.detached_stop == coarse.start and fine.detached_stop == fine.start
    assert (coarse.radius, fine.radius) == (1.0, 1.0)


@pytest.mark.parametrize("prior", [True, False])
@pytest.mark.parametrize("num_levels", [2, 3])
def test_shares_cover_every_channel_once(num_levels: int, prior: bool) -> None:
    levels = granularity_levels(num_levels, prior)
    assert len({level.name for level in levels}) == num_levels
    covered = [channel for share in channel_shares(levels) for channel in range(share.start, share.stop)]
    assert covered == list(range(FEATURE_DIM)) == list(range(24))
    for level in levels:
        assert level.radius == pytest.approx(math.sqrt((level.stop - level.start) / (24 / num_levels)))
    assert all(a.margin < b.margin for a, b in pairwise(levels))


@pytest.mark.parametrize("num_levels", [0, 1, 4])
def test_other_numbers_of_levels_are_refused(num_levels: int) -> None:
    with pytest.raises(ValueError, match=f"2 or 3 granularity levels, got {num_levels}"):
        granularity_levels(num_levels)


@pytest.mark.parametrize("num_levels", [2, 3])
def test_training_starts_on_the_spheres(num_levels: int) -> None:
    levels = granularity_levels(num_levels)
    features = initial_features(50, channel_shares(levels), torch.Generator().manual_seed(0))
    for level in levels:
        norms = features[:, level.channels].norm(dim=-1)
        torch.testing.assert_close(norms, torch.full((50,), level.radius))
    assert features.unique(dim=0).shape[0] == 50
    again = initial_features(50, channel_shares(levels), torch.Generator().manual_seed(0))
    assert torch.equal(features, again)
