"""Which pixels and Gaussians a step looks at: exact shares, seeds, edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from click_gaussian_ns.features.sampling import sample_gaussians, sample_pixels
from click_gaussian_ns.types import LevelMaps


class EvenlySpaced(np.random.Generator):
    """Random numbers that fill [0, 1) evenly, so that shares come out exact to one draw."""

    def random(self, size=None, *args, **kwargs):
        return (np.arange(size) + 0.5) / size


def _maps(*levels: list[list[int]]) -> LevelMaps:
    names = ("coarse", "middle", "fine")[: len(levels)]
    return LevelMaps(names, np.array(levels, dtype=np.uint16))


def _shares(maps: LevelMaps, power: float, num: int = 120_000) -> np.ndarray:
    sampled = sample_pixels(maps, num, EvenlySpaced(np.random.PCG64(0)), power)
    assert sampled.pixel_ids.shape == (num,)
    return np.bincount(sampled.pixel_ids.numpy(), minlength=maps.maps[0].size) / num


def test_every_segment_equally_often() -> None:
    """One level, sizes 1, 4 and 7: a third each, evenly over the pixels of each; unassigned pixels never."""
    maps = _maps([[1, 0, 9, 9], [9, 9, 0, 300], [300, 300, 300, 300], [300, 300, 0, 0]])
    shares = _shares(maps, power=1.0)
    flat = maps.maps[0].ravel()
    for segment, size in ((1, 1), (9, 4), (300, 7)):
        np.testing.assert_allclose(shares[flat == segment], 1 / 3 / size, atol=2e-5)
    assert (shares[flat == 0] == 0).all()


def test_levels_count_equally() -> None:
    """The probability of a pixel is the mean over levels of 1 / (segments of the level x pixels of its segment)."""
    maps = _maps([[1, 1, 1, 1, 2, 2, 0, 0]], [[5, 5, 6, 0, 7, 0, 8, 0]])
    coarse = np.array([1 / 8] * 4 + [1 / 4] * 2 + [0, 0])
    fine = np.array([1 / 8, 1 / 8, 1 / 4, 0, 1 / 4, 0, 1 / 4, 0])
    np.testing.assert_allclose(_shares(maps, power=1.0), (coarse + fine) / 2, atol=2e-5)


@pytest.mark.parametrize("num", [63, 64, 65, 127, 128, 129])
def test_shares_hold_at_the_edges_of_blocks(num: int) -> None:
    """Sums are stored every 64 pixels; each pixel is a segment of its own."""
    np.testing.assert_allclose(_shares(_maps([list(range(1, num + 1))]), power=1.0), 1 / num, atol=2e-5)


def test_power_goes_from_pixels_to_segments() -> None:
    maps = _maps([[1] * 16 + [2] * 4 + [0] * 5])
    for power in (0.0, 0.5, 1.0, 2.0):
        weights = np.array([16.0**-power] * 16 + [4.0**-power] * 4 + [0.0] * 5)
        np.testing.assert_allclose(_shares(maps, power), weights / weights.sum(), atol=2e-5)


def test_a_level_without_segments_takes_no_part() -> None:
    maps = _maps([[0, 0, 0, 0]], [[1, 1, 2, 0]])
    np.testing.assert_allclose(_shares(maps, power=1.0), [0.25, 0.25, 0.5, 0.0], atol=2e-5)


def test_real_random_numbers_follow_the_shares() -> None:
    """Chi-square of 50,000 draws over 15 segments of sizes 1 to 15, at the seed given: 5 sigma."""
    flat = np.repeat(np.arange(16), np.arange(16) + 5 * (np.arange(16) == 0))
    maps = LevelMaps(("coarse",), np.random.default_rng(1).permutation(flat).astype(np.uint16).reshape(1, 5, 25))
    sampled = sample_pixels(maps, 50_000, np.random.default_rng(2))
    counts = np.bincount(sampled.labels[0].numpy(), minlength=16)
    assert counts[0] == 0
    chi_square = ((counts[1:] - 50_000 / 15) ** 2 / (50_000 / 15)).sum()
    assert chi_square < 14 + 5 * 28**0.5


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    num_levels=st.integers(1, 3),
    highest=st.sampled_from([0, 1, 5, 65535]),
    num_pixels=st.integers(0, 200),
    seed=st.integers(0, 99),
)
def test_sampled_pixels_carry_their_labels(
    height: int, width: int, num_levels: int, highest: int, num_pixels: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    maps = generator.integers(0, highest + 1, (num_levels, height, width)).astype(np.uint16)
    level_maps = LevelMaps(("coarse", "middle", "fine")[:num_levels], maps)
    sampled = sample_pixels(level_maps, num_pixels, np.random.default_rng(seed))
    again = sample_pixels(level_maps, num_pixels, np.random.default_rng(seed))
    assert torch.equal(sampled.pixel_ids, again.pixel_ids)
    assert sampled.pixel_ids.dtype == sampled.labels.dtype == torch.int64
    expected = num_pixels if maps.any() else 0
    assert sampled.pixel_ids.shape == (expected,) and sampled.labels.shape == (num_levels, expected)
    pixels = sampled.pixel_ids.numpy()
    assert (np.diff(pixels) >= 0).all()
    np.testing.assert_array_equal(sampled.labels.numpy(), maps.reshape(num_levels, -1)[:, pixels])
    assert (sampled.labels > 0).any(dim=0).all()


def test_another_seed_gives_other_pixels() -> None:
    maps = LevelMaps(("coarse",), np.ones((1, 100, 100), np.uint16))
    first, second = (sample_pixels(maps, 50, np.random.default_rng(s)).pixel_ids for s in (1, 2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("num_gaussians", "num_samples", "expected"), [(50, 20, 20), (20, 20, 20), (5, 20, 5), (0, 3, 0)]
)
def test_sample_gaussians_takes_as_many_as_there_are(num_gaussians: int, num_samples: int, expected: int) -> None:
    chosen = sample_gaussians(num_gaussians, num_samples, np.random.default_rng(0))
    assert chosen.shape == (num_gaussians,) and chosen.dtype == torch.bool
    assert int(chosen.sum()) == expected
    assert torch.equal(chosen, sample_gaussians(num_gaussians, num_samples, np.random.default_rng(0)))


def test_sample_gaussians_is_uniform() -> None:
    generator = np.random.default_rng(0)
    counts = torch.stack([sample_gaussians(40, 10, generator) for _ in range(4000)]).sum(0)
    assert float((counts - 1000).abs().max()) < 5 * (4000 * 0.25 * 0.75) ** 0.5
