"""Ten of the deliberate breaks of tests/mutants, other ones each day, are noticed. `make mutants` makes all of them."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "mutants" / "run.py"


@pytest.mark.slow
def test_a_sample_of_the_mutants_is_caught() -> None:
    seed = date.today().toordinal()
    done = subprocess.run(
        [sys.executable, str(RUN), "--sample", "10", "--seed", str(seed)], capture_output=True, text=True
    )
    assert done.returncode == 0, f"seed {seed}\n{done.stdout[-6000:]}{done.stderr[-3000:]}"
    assert "10 of 10 caught" in done.stdout
