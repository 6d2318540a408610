"""The list of deliberate breaks does not rot: each can still be made, and the tests named for it are there."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from mutants import run
from mutants.mutants import MUTANTS, Mutant

TESTS = Path(__file__).parents[1]
PACKAGE = TESTS.parent / "click_gaussian_ns"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_break_can_be_made_and_has_tests(mutant: Mutant) -> None:
    source = (PACKAGE / mutant.file).read_text()
    assert run.broken(source, mutant) != source
    ast.parse(run.broken(source, mutant))
    assert mutant.tests
    for node in mutant.tests:
        file, name = node.split("::")
        functions = [item for item in ast.walk(ast.parse((TESTS / file).read_text())) if hasattr(item, "name")]
        assert name in {item.name for item in functions}, node


def test_breaks_are_many_and_told_apart() -> None:
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names) >= 40
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(names)
    assert not [mutant.name for mutant in MUTANTS if mutant.quick and mutant.in_kernels]
    assert len([mutant for mutant in MUTANTS if mutant.quick]) >= 10


def test_a_line_that_has_changed_is_said() -> None:
    mutant = Mutant("gone", "files.py", "no such line", "", ("unit/test_files.py::test_nothing_is_replaced_unasked",))
    with pytest.raises(ValueError, match=r"gone: its text occurs 0 times in files\.py instead of once"):
        run.broken("some source", mutant)
    with pytest.raises(ValueError, match="occurs 2 times"):
        run.broken("no such line\n" * 2, mutant)


def test_what_is_run_is_what_was_asked_for() -> None:
    assert run.chosen(None, None, 0) == list(MUTANTS)
    assert run.chosen(MUTANTS[3].name, None, 0) == [MUTANTS[3]]
    with pytest.raises(ValueError, match="--only nothing: there is no such mutant"):
        run.chosen("nothing", None, 0)
    samples = [run.chosen(None, 10, seed) for seed in range(5)]
    assert all(len(set(sample)) == 10 and all(mutant.quick for mutant in sample) for sample in samples)
    assert samples[0] == run.chosen(None, 10, 0) != samples[1]
