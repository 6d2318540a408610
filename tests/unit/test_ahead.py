"""A step ahead: in order, once each, and whatever is asked for is what comes."""

import threading

import pytest

from click_gaussian_ns.method.ahead import Ahead


def test_the_next_step_is_made_meanwhile_and_none_after_the_last() -> None:
    made, made_1 = [], threading.Event()

    def make(step: int) -> int:
        made.append(step)
        if step == 1:
            made_1.set()
        return step * 10

    ahead = Ahead(make, last_step=2)
    assert ahead.take(0) == 0
    assert made_1.wait(5), "step 1 is made before it is asked for"
    ahead.wait(1)
    assert [ahead.take(1), ahead.take(2)] == [10, 20]
    assert made == [0, 1, 2]


def test_a_step_that_was_not_foreseen_is_made() -> None:
    ahead = Ahead(lambda step: step, last_step=100)
    assert [ahead.take(0), ahead.take(50), ahead.take(3)] == [0, 50, 3]


def test_what_goes_wrong_is_told_by_who_takes() -> None:
    def make(step: int) -> int:
        raise ValueError(f"step {step}: no such photo")

    ahead = Ahead(make, last_step=1)
    ahead.wait(0)
    with pytest.raises(ValueError, match="step 0"):
        ahead.take(0)
