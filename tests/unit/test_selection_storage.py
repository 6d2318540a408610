"""Selections on disk: what was saved comes back, anything else is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from click_gaussian_ns.selection.storage import list_selections, read_selection, read_selection_mask, write_selection
from click_gaussian_ns.types import Selection

MASK = torch.arange(20) % 7 == 6


def test_a_selection_comes_back(tmp_path: Path) -> None:
    folder = write_selection(tmp_path, "mug", Selection("fine", (2, 5), MASK), {"camera": "a.png"})
    found = read_selection(tmp_path, "mug", 20)
    assert (found.level, found.cluster_ids) == ("fine", (2, 5)) and torch.equal(found.mask, MASK)
    account = json.loads((folder / "selection.json").read_text())
    assert account["camera"] == "a.png" and (account["num_selected"], account["num_gaussians"]) == (2, 20)
    assert list_selections(tmp_path) == ["mug"] and list_selections(tmp_path / "mug") == []
    with pytest.raises(ValueError, match=r"holds no selection\. Saved in this run: mug"):
        read_selection(tmp_path, "cup", 20)


@pytest.mark.parametrize("ids", [[20], [3, 21], [-1]])
def test_a_selection_of_another_scene_is_refused(tmp_path: Path, ids: list[int]) -> None:
    path = tmp_path / "selection.npy"
    np.save(path, np.array(ids, np.int32))
    with pytest.raises(ValueError, match=r"selection\.npy: selects Gaussian .* belongs to another run"):
        read_selection_mask(path, 20)


@pytest.mark.parametrize("ids", [np.zeros((2, 2), np.int32), np.array([0.5])])
def test_what_is_no_list_of_ids_is_refused(tmp_path: Path, ids: np.ndarray) -> None:
    path = tmp_path / "selection.npy"
    np.save(path, ids)
    with pytest.raises(ValueError, match="expected a one-dimensional array of Gaussian IDs"):
        read_selection_mask(path, 20)


GOOD = ["große Tasse", "青い椅子", "чашка 2", "mug.v2", "a", "gro\u00dfe (1)", "हिन्दी", "z" * 120]


@pytest.mark.parametrize("name", GOOD)
def test_names_of_any_script_are_kept(tmp_path: Path, name: str) -> None:
    write_selection(tmp_path, name, Selection("fine", (2,), MASK), {})
    assert list_selections(tmp_path) == [name]
    assert torch.equal(read_selection(tmp_path, name, 20).mask, MASK)


def test_a_name_is_the_same_composed_or_not(tmp_path: Path) -> None:
    write_selection(tmp_path, "Tu\u0308r", Selection("fine", (2,), MASK), {})
    assert list_selections(tmp_path) == ["T\u00fcr"]
    assert read_selection(tmp_path, "T\u00fcr", 20).num_selected == MASK.sum()


BAD = [
    "",
    " a",
    "a ",
    "a.",
    ".a",
    "a/b",
    "a\\b",
    "a\nb",
    "a\u2028b",
    "a\u202eb",
    "a\u200bb",
    "a\x00",
    "\ud800",
    "é" * 61,
]


@pytest.mark.parametrize("name", [*BAD, "con", "NUL.txt", "com1", "a:b", "a*", '"', "$(x)", "a;b", "a`b"])
def test_names_that_some_system_refuses_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a selection"):
        write_selection(tmp_path, name, Selection("fine", (2,), MASK), {})
    assert not list(tmp_path.iterdir())
