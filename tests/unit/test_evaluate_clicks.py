"""The simulated user's clicks on masks drawn by hand."""

import numpy as np

from click_gaussian_ns.evaluate.clicks import innermost_point, largest_region, next_click
from click_gaussian_ns.types import Click


def drawn(*rows: str) -> np.ndarray:
    return np.array([[character == "#" for character in row] for row in rows])


EVERYWHERE = np.ones((5, 9), bool)
NOTHING = np.zeros((5, 9), bool)


def test_innermost_point_of_a_square_is_its_middle():
    mask = np.zeros((9, 9), bool)
    mask[2:7, 3:8] = True
    assert innermost_point(mask) == (4, 5)


def test_innermost_point_keeps_off_the_border_of_the_image():
    mask = np.zeros((5, 9), bool)
    mask[:, :5] = True
    assert innermost_point(mask) == (2, 2)


def test_innermost_point_lies_in_the_thick_part():
    assert innermost_point(drawn("#########", "......###", "......###", ".........")) == (1, 7)


def test_innermost_point_is_the_first_of_equals():
    assert innermost_point(drawn("...", ".#.", "...", "##.")) == (1, 1)
    assert innermost_point(np.zeros((2, 2), bool)) is None


def test_largest_region_does_not_join_corners():
    assert largest_region(drawn("##..", "..##", "..##")).tolist() == drawn("....", "..##", "..##").tolist()


def test_largest_region_is_the_first_of_equals():
    assert largest_region(drawn("##.##")).tolist() == drawn("##...").tolist()


def test_next_click_is_positive_where_the_object_is_missed():
    truth = drawn(*["######..."] * 5)
    selected = drawn(*["##......."] * 5)
    assert next_click(truth, selected, EVERYWHERE, []) == Click(3.5, 1.5)  # 2 px deep: columns 3-4 of rows 1-3


def test_next_click_takes_the_larger_error():
    truth = drawn(*["##......."] * 5)
    selected = drawn(*["#...###.."] * 5)
    assert next_click(truth, selected, EVERYWHERE, []) == Click(5.5, 1.5, negative=True)


def test_of_equal_errors_the_missed_one_is_clicked():
    truth, selected = drawn(*["##......."] * 5), drawn(*["......##."] * 5)
    click = next_click(truth, selected, EVERYWHERE, [])
    assert click is not None and not click.negative


def test_one_large_error_outweighs_many_small_ones():
    truth = drawn("#.#.#.#.#", ".........", "#.#.#.#.#", ".........", ".........")
    selected = drawn(".........", ".........", ".........", ".##......", ".........")
    assert next_click(truth, selected, EVERYWHERE, []) == Click(1.5, 3.5, negative=True)


def test_no_pixel_is_clicked_twice():
    truth = drawn(".........", ".###.....", ".###.....", ".###.....", ".........")
    first = next_click(truth, NOTHING, EVERYWHERE, [])
    assert first == Click(2.5, 2.5)
    second = next_click(truth, NOTHING, EVERYWHERE, [first])
    assert second is not None and (second.x_px, second.y_px) != (2.5, 2.5)
    assert truth[int(second.y_px), int(second.x_px)]


def test_the_background_is_not_clicked():
    truth = drawn(*["######..."] * 5)
    clickable = drawn(*["#........"] * 5)
    assert next_click(truth, NOTHING, clickable, []) == Click(0.5, 0.5)
    assert next_click(truth, NOTHING, NOTHING, []) is None


def test_nothing_is_left_to_correct():
    truth = drawn(*["###......"] * 5)
    assert next_click(truth, truth, EVERYWHERE, []) is None
