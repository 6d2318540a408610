"""What browsers send is read in order, once, and checked; names of objects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from click_gaussian_ns.viewer.book import ObjectBook, read_book, write_book
from click_gaussian_ns.viewer.page_events import Clicked, Commanded, Dragged, read_events

CLICK = {"n": 1, "type": "click", "x": 0.25, "y": 0.5, "mode": "add", "whole": False}
UNDO = {"n": 2, "type": "command", "name": "undo"}


def test_each_event_is_read_once_and_in_order() -> None:
    events, last = read_events(json.dumps([UNDO, CLICK]), 0)
    assert events == [Clicked((0.25, 0.5), "add", False), Commanded("undo")] and last == 2
    events, last = read_events(json.dumps([CLICK, UNDO, {**CLICK, "n": 3, "x": 7}]), last)
    assert events == [Clicked((1.0, 0.5), "add", False)] and last == 3
    assert read_events(json.dumps([CLICK]), last) == ([], 3)


def test_a_lasso_has_its_corners() -> None:
    points = [[0, 0], [1, 0], [1, 1]]
    (event,), _ = read_events(json.dumps([{"n": 1, "type": "lasso", "points": points, "mode": None}]), 0)
    assert event == Dragged(((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)), None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "{}{",
        '[{"n": 1}]',
        json.dumps([{**CLICK, "x": "nan"}]),
        json.dumps([{**CLICK, "mode": "everything"}]),
        json.dumps([{**UNDO, "name": "__class__"}]),
        json.dumps([{"n": 1, "type": "object", "action": "eval", "level": "coarse", "cluster": 1}]),
        "[" * 100_000,
        " " * 300_000,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="browser"):
        read_events(text, 0)


def test_names_are_kept_in_any_language_and_find_their_gaussians_again(tmp_path: Path) -> None:
    labels = torch.tensor([0] * 50 + [1] * 50)
    book = ObjectBook().renamed(("coarse", 1), " 杯子  <b> ").switched(("coarse", 0), show=False)
    assert book.name("coarse", 1) == "杯子 <b>" and book.name("coarse", 0) == "Object 0"
    assert book.file_stem("coarse", 1) == "coarse_001", "no name for a file"
    assert book.renamed(("coarse", 1), "mug").file_stem("coarse", 1) == "mug"
    write_book(tmp_path / "objects.json", book, {"coarse": labels})
    found = read_book(tmp_path / "objects.json", {"coarse": 1 - labels})
    assert found.name("coarse", 0) == "杯子 <b>" and found.hidden == {("coarse", 1)}
    with pytest.raises(ValueError, match="60 characters"):
        book.renamed(("coarse", 1), "x" * 61)
    (tmp_path / "objects.json").write_text("[]")
    with pytest.raises(ValueError, match="not a list of objects"):
        read_book(tmp_path / "objects.json", {"coarse": labels})
