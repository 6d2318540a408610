"""Metrics against values that were worked out by hand."""

import math

import numpy as np
import pytest

from click_gaussian_ns.evaluate.metrics import (
    adjusted_rand_index,
    boundary_band,
    boundary_iou,
    boundary_width_px,
    contingency,
    iou,
    matched_ious,
    pixel_accuracy,
)


def rectangle(rows: slice, columns: slice, size: tuple[int, int] = (10, 12)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return mask


def test_iou_and_accuracy_of_overlapping_rectangles():
    a, b = rectangle(slice(0, 4), slice(0, 6)), rectangle(slice(2, 6), slice(3, 9))  # 24 px each, 6 shared
    assert iou(a, b) == 6 / 42
    assert pixel_accuracy(a, b) == 1 - 36 / 120


def test_iou_of_nothing():
    empty, mask = np.zeros((3, 3), bool), np.ones((3, 3), bool)
    assert iou(empty, mask) == iou(mask, empty) == 0.0
    assert iou(empty, empty) == 1.0


def test_boundary_band_is_the_ring_of_a_rectangle():
    mask = rectangle(slice(2, 9), slice(1, 11))  # 7 x 10
    band = boundary_band(mask, 2)
    assert band.sum() == 70 - 3 * 6
    assert not band[4:7, 3:9].any()
    assert (band <= mask).all()


def test_the_border_of_the_image_is_a_boundary():
    assert boundary_band(np.ones((5, 5), bool), 1).sum() == 16


def test_boundary_band_of_a_hole_and_of_nothing():
    mask = np.ones((7, 7), bool)
    mask[3, 3] = False
    assert boundary_band(mask, 1).sum() == 24 + 8
    assert not boundary_band(np.zeros((4, 4), bool), 3).any()


def test_boundary_iou_sees_what_iou_does_not():
    truth = rectangle(slice(10, 90), slice(10, 90), (100, 100))
    shifted = rectangle(slice(11, 91), slice(10, 90), (100, 100))
    assert iou(truth, shifted) == (80 * 79) / (80 * 81)
    # rings 1 px wide of 316 px: the left and right sides share 78 rows, the corners of the shifted ends 2 more each
    sides = 2 * 79
    assert boundary_iou(truth, shifted, 1) == sides / (2 * 316 - sides)


def test_boundary_width_is_two_percent_of_the_diagonal():
    assert boundary_width_px((384, 512), 0.02) == 13  # 640 px
    assert boundary_width_px((3, 4), 0.02) == 1


def test_contingency_counts_pairs():
    pairs = contingency(np.array([[0, 1], [1, 2]], np.uint16), np.array([[3, 0], [0, 0]]), 3, 4)
    assert pairs.tolist() == [[0, 0, 0, 1], [2, 0, 0, 0], [1, 0, 0, 0]]


def test_matching_is_one_to_one_and_best_in_sum():
    # object 0 overlaps both segments, object 1 only segment 0: greedy matching of 0-0 would leave 1 with nothing
    intersections = np.array([[60, 40], [30, 0]])
    assert matched_ious(intersections, np.array([100, 30]), np.array([90, 40])) == [40 / 100, 30 / 90]


def test_an_object_without_a_segment_of_its_own_counts_zero():
    assert matched_ious(np.array([[5], [10]]), np.array([5, 10]), np.array([15])) == [0.0, 10 / 15]
    assert matched_ious(np.zeros((2, 0), np.int64), np.array([5, 10]), np.zeros(0, np.int64)) == [0.0, 0.0]


def test_adjusted_rand_index_against_the_definition():
    # Hubert and Arabie: sum of cell pairs 1+1+1 = 3, rows 3+3, columns 3+1+0... worked out below
    pairs = np.array([[2, 1], [0, 3]])
    cells, rows, columns, total = 1 + 3, 3 + 3, 1 + 6, 15
    expected = rows * columns / total
    assert adjusted_rand_index(pairs) == pytest.approx((cells - expected) / ((rows + columns) / 2 - expected))


def test_adjusted_rand_index_of_equal_and_of_unrelated_labels():
    assert adjusted_rand_index(np.array([[0, 7], [5, 0]])) == 1.0
    assert adjusted_rand_index(np.array([[10**6, 10**6], [10**6, 10**6]])) == pytest.approx(0, abs=1e-5)
    assert adjusted_rand_index(np.array([[9]])) == 1.0


def test_adjusted_rand_index_does_not_overflow():
    huge = np.array([[3 * 10**9, 0], [0, 10**9]])
    assert math.isclose(adjusted_rand_index(huge), 1.0)


def test_boundary_band_is_what_repeated_erosion_leaves():
    """As the boundary IoU of LERF-Mask's authors has it: 3 x 3 erosions of the mask in a border of zeros."""
    import cv2

    rng = np.random.default_rng(0)
    for width_px in (1, 2, 5):
        for _ in range(5):
            mask = cv2.resize(rng.random((8, 11)).astype(np.float32), (88, 64)) > 0.45
            padded = np.pad(mask.astype(np.uint8), 1)
            eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width_px)[1:-1, 1:-1]
            assert (boundary_band(mask, width_px) == (mask & (eroded == 0))).all()
