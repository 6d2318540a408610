"""Levels: exact label maps on hand-made segments, and the literal per-pixel rule on random ones."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from click_gaussian_ns.masks.config import level_names_of
from click_gaussian_ns.masks.levels import level_maps, resize_nearest
from click_gaussian_ns.masks.segmenter import PART, SUBPART, WHOLE, Segment, decode_mask, encode_masks

SIZE = (4, 6)


def segment(rows: slice, columns: slice, **fields) -> Segment:
    mask = np.zeros(SIZE, dtype=bool)
    mask[rows, columns] = True
    return from_mask(mask, **fields)


def from_mask(mask: np.ndarray, **fields) -> Segment:
    (rle,) = encode_masks(mask[None])
    return Segment(rle, int(mask.sum()), **{"predicted_iou": 0.9, "stability": 0.9, **fields})


def test_nested_segments_give_the_outer_to_coarse_and_the_inner_to_fine():
    outer, inner = segment(slice(0, 4), slice(0, 4)), segment(slice(1, 3), slice(1, 3))
    maps = level_maps([outer, inner], "area", SIZE)
    assert maps.names == ("coarse", "fine")
    np.testing.assert_array_equal(maps.level("coarse"), [[1, 1, 1, 1, 0, 0]] * 4)
    np.testing.assert_array_equal(
        maps.level("fine"),
        [[1, 1, 1, 1, 0, 0], [1, 2, 2, 1, 0, 0], [1, 2, 2, 1, 0, 0], [1, 1, 1, 1, 0, 0]],
    )


def test_overlap_goes_to_the_larger_at_coarse_and_to_the_smaller_at_fine():
    small, large = segment(slice(0, 4), slice(0, 2)), segment(slice(0, 4), slice(1, 5))
    maps = level_maps([small, large], "area", SIZE)
    np.testing.assert_array_equal(maps.level("coarse"), [[1, 2, 2, 2, 2, 0]] * 4)
    np.testing.assert_array_equal(maps.level("fine"), [[1, 1, 2, 2, 2, 0]] * 4)


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ({}, {}, 1),
        ({"predicted_iou": 0.8}, {"predicted_iou": 0.9}, 2),
        ({"stability": 0.8}, {"stability": 0.9}, 2),
        ({"predicted_iou": 0.9, "stability": 0.1}, {"predicted_iou": 0.8, "stability": 0.9}, 1),
    ],
)
def test_equal_areas_go_to_the_better_then_to_the_first_at_both_levels(first, second, winner):
    left = segment(slice(0, 4), slice(0, 3), **first)
    right = segment(slice(0, 4), slice(2, 5), **second)
    maps = level_maps([left, right], "area", SIZE)
    np.testing.assert_array_equal(maps.maps, np.broadcast_to([1, 1, winner, 2, 2, 0], (2, *SIZE)))


def test_no_segments_leave_every_pixel_unassigned():
    maps = level_maps([], "three-level-area", SIZE)
    assert maps.maps.shape == (3, *SIZE)
    assert not maps.maps.any()


def test_three_levels_by_score_and_by_area():
    better = segment(slice(0, 4), slice(0, 4), predicted_iou=0.95, level=PART)
    smaller = segment(slice(0, 4), slice(2, 5), predicted_iou=0.7, level=PART)
    whole = segment(slice(0, 4), slice(0, 6), level=WHOLE)
    subpart = segment(slice(0, 1), slice(0, 1), level=SUBPART)
    segments = [better, smaller, whole, subpart]
    by_score = level_maps(segments, "three-level-score", SIZE)
    by_area = level_maps(segments, "three-level-area", SIZE)
    assert by_score.names == by_area.names == ("coarse", "middle", "fine")
    np.testing.assert_array_equal(by_score.level("middle"), [[1, 1, 1, 1, 2, 0]] * 4)
    np.testing.assert_array_equal(by_area.level("middle"), [[1, 1, 2, 2, 2, 0]] * 4)
    for maps in (by_score, by_area):
        np.testing.assert_array_equal(maps.level("coarse"), np.full(SIZE, 3))
        assert maps.level("fine")[0, 0] == 4
        assert maps.level("fine").sum() == 4


def test_each_rule_takes_its_own_set_of_a_segmenter_with_levels():
    only_level_free = segment(slice(0, 4), slice(0, 2), level=None, standalone=True)
    only_levelled = segment(slice(0, 4), slice(2, 6), level=WHOLE, standalone=False)
    segments = [only_level_free, only_levelled]
    np.testing.assert_array_equal(level_maps(segments, "area", SIZE).level("coarse"), [[1, 1, 0, 0, 0, 0]] * 4)
    np.testing.assert_array_equal(
        level_maps(segments, "three-level-score", SIZE).level("coarse"), [[0, 0, 2, 2, 2, 2]] * 4
    )


def test_three_levels_of_segments_without_levels_is_an_error():
    with pytest.raises(ValueError, match="three-level-score needs segments that know their level"):
        level_maps([segment(slice(0, 2), slice(0, 2))], "three-level-score", SIZE)


def test_more_segments_than_sixteen_bits_is_an_error():
    with pytest.raises(ValueError, match="65536 segments in one image exceed"):
        level_maps([segment(slice(0, 1), slice(0, 1))] * 65536, "area", SIZE)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["area", "three-level-score", "three-level-area"]))
def test_random_segments_follow_the_rule_pixel_by_pixel(seed, rule):
    rng = np.random.default_rng(seed)
    segments = [
        from_mask(
            rng.random(SIZE) < rng.uniform(0.1, 0.9),
            predicted_iou=float(rng.integers(3)) / 2,
            stability=float(rng.integers(3)) / 2,
            level=int(rng.integers(3)),
        )
        for _ in range(rng.integers(0, 40))
    ]
    maps = level_maps(segments, rule, SIZE)
    masks = [decode_mask(s.rle) for s in segments]
    for number, name in enumerate(level_names_of(rule)):
        for row, column in np.ndindex(SIZE):
            covering = [
                i for i, s in enumerate(segments) if masks[i][row, column] and (rule == "area" or s.level == number)
            ]
            size_sign = {"coarse": 1, "fine": -1}[name] if rule == "area" else -1

            def rank(i, sign=size_sign):
                s = segments[i]
                quality = (s.predicted_iou, s.stability, -i)
                return quality if rule == "three-level-score" else (sign * s.area, *quality)

            expected = max(covering, key=rank) + 1 if covering else 0
            assert maps.level(name)[row, column] == expected


def test_resizing_takes_the_label_under_the_centre():
    maps = np.arange(1, 9, dtype=np.uint16).reshape(1, 2, 4)
    np.testing.assert_array_equal(resize_nearest(maps, (4, 8))[0], np.kron(maps[0], np.ones((2, 2))))
    np.testing.assert_array_equal(resize_nearest(maps, (1, 2))[0], [[6, 8]])
    np.testing.assert_array_equal(resize_nearest(maps, (2, 4)), maps)


@settings(max_examples=200, deadline=None)
@example(5000, 4999)
@example(1, 5000)
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_resizing_keeps_pixel_centres_and_all_sixteen_bits(old: int, new: int):
    labels = (65535 - np.arange(old)).astype(np.uint16)
    for maps, size in ((labels[None, None], (1, new)), (labels[None, :, None], (new, 1))):
        found = 65535 - resize_nearest(maps, size).ravel().astype(np.int64)
        centres = (np.arange(new) + 0.5) * old / new
        # cv2 steps in 65536ths of a pixel, each rounded by up to half of one
        assert np.abs(found + 0.5 - centres).max() <= 0.5 + (new + 2) / 2**17, "a pixel is [i, i + 1)"
