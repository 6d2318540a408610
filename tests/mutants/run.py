"""Breaks the package on purpose, one line at a time, and says which breaks the tests named for them do not notice.

    python tests/mutants/run.py [--only NAME] [--sample N --seed S]

The package and its tests are copied to a temporary folder. Each break is made there, its tests run, and the line is put
back. Exits with 1 if a break survives or cannot be judged: its line has changed, or its tests do not pass without it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
_COPIED = ("click_gaussian_ns", "tests", "benchmarks", "pyproject.toml")
_SHARED_DATA = "CLICK_GAUSSIAN_SHARED_DATA"
_LIBRARIES = (
    *("torch", "numba", "scipy.spatial", "scipy.ndimage", "hypothesis", "beartype", "plyfile", "pytest"),
    *("nerfstudio.models.splatfacto", "viser"),
)
"""Imported once: every run of pytest is a fork of this process, which saves it ten seconds.

None that loads nerfstudio's plugins: that would load this package.
"""
_OPTIONS = ("-q", "-x", "-p", "no:cacheprovider", "-p", "no:warnings", "-p", "no:unraisableexception")
"""Without what takes seconds in every run: here also the plugins of libraries, which pytest would load."""
_PASSED, _FAILED = 0, 1
"""Of pytest's exit codes, the two of a run that could be made: others say that a file cannot be imported, and so on."""


def chosen(only: str | None, sample: int | None, seed: int) -> list[Mutant]:
    """All mutants, the one of that name, or so many of those that need no kernel to be compiled.

    Raises:
        ValueError: there is none of that name.
    """
    if only is not None:
        found = [mutant for mutant in MUTANTS if mutant.name == only]
        if not found:
            raise ValueError(f"--only {only}: there is no such mutant in tests/mutants/mutants.py")
        return found
    if sample is None:
        return list(MUTANTS)
    quick = [mutant for mutant in MUTANTS if mutant.quick]
    return random.Random(seed).sample(quick, min(sample, len(quick)))


def broken(source: str, mutant: Mutant) -> str:
    """The source of the mutant's file with its break.

    Raises:
        ValueError: the old text is not there exactly once.
    """
    count = source.count(mutant.old)
    if count != 1:
        raise ValueError(
            f"{mutant.name}: its text occurs {count} times in {mutant.file} instead of once: bring "
            "tests/mutants/mutants.py up to date"
        )
    return source.replace(mutant.old, mutant.new)


@contextlib.contextmanager
def copy_of_the_package() -> Iterator[Path]:
    """A folder to break things in."""
    with tempfile.TemporaryDirectory(prefix="click-gaussian-mutants-") as folder:
        copy = Path(folder) / "copy"
        copy.mkdir()
        for name in _COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, copy / name)
        yield copy


def _pytest(copy: Path, nodes: Sequence[str], kernels: Path, log: Path) -> None:
    """In a process of its own: run tests of the copy, and exit with pytest's code."""
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(copy), os.environ.get("PYTHONPATH"))))
        os.environ.setdefault(_SHARED_DATA, str(ROOT.parent / "shared" / "data"))
        os.environ["NUMBA_CACHE_DIR"] = str(kernels)
        import numba

        numba.config.CACHE_DIR = str(kernels)  # pyright: ignore[reportAttributeAccessIssue]
        os.chdir(copy)
        sys.path.insert(0, str(copy))
        sys.dont_write_bytecode = False  # of the copy: all but the broken file is compiled once
        found = importlib.util.find_spec("click_gaussian_ns")
        assert found is not None and Path(found.origin or "").is_relative_to(copy), "another package would be tested"
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        import pytest

        code = pytest.main([*_OPTIONS, *nodes])
        sys.stdout.flush()
    os._exit(int(code))


def run_tests(copy: Path, nodes: Sequence[str], fresh_kernels: bool = False) -> tuple[int, str]:
    """pytest's exit code for some tests of the copy, and what it printed.

    Kernels that were compiled before are used, whatever the file says that they take constants from, unless
    `fresh_kernels`.
    """
    kernels, log = copy.parent / ("fresh" if fresh_kernels else "kernels"), copy.parent / "log.txt"
    shutil.rmtree(copy.parent / "fresh", ignore_errors=True)
    process = multiprocessing.get_context("fork").Process(target=_pytest, args=(copy, nodes, kernels, log))
    process.start()
    process.join()
    return process.exitcode if process.exitcode is not None else -1, log.read_text()


def judged(copy: Path, mutant: Mutant) -> str:
    """ "caught", "SURVIVED", or why it cannot be said. The file is put back."""
    path = copy / "click_gaussian_ns" / mutant.file
    source, times = path.read_text(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    try:
        path.write_text(broken(source, mutant))
    except ValueError as error:
        return str(error)
    try:
        code, printed = run_tests(copy, [f"tests/{node}" for node in mutant.tests], fresh_kernels=mutant.in_kernels)
    finally:
        path.write_text(source)
        os.utime(path, ns=times)  # else its kernels would count as changed
    if code == _FAILED:
        return "caught"
    return "SURVIVED" if code == _PASSED else f"its tests cannot be run ({code}): {printed[-2000:]}"


def survivors(mutants: Sequence[Mutant]) -> list[str]:
    """Names of those that were not caught; a line is printed for each mutant."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    left = []
    with copy_of_the_package() as copy:
        nodes = sorted({f"tests/{node}" for mutant in mutants for node in mutant.tests})
        code, printed = run_tests(copy, nodes)
        if code != _PASSED:
            raise ValueError(f"the tests do not pass without any break ({code}):\n{printed[-4000:]}")
        for mutant in mutants:
            verdict = judged(copy, mutant)
            print(f"{verdict.splitlines()[0]:10} {mutant.name}", flush=True)
            if verdict != "caught":
                left.append(f"{mutant.name}: {verdict}")
    return left


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="the one mutant of this name")
    parser.add_argument("--sample", type=int, help="so many of those that need no kernel to be compiled")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    args = parser.parse_args()
    try:
        mutants = chosen(args.only, args.sample, args.seed)
        left = survivors(mutants)
    except ValueError as error:
        print(error)
        return 1
    print(f"{len(mutants) - len(left)} of {len(mutants)} caught", *left, sep="\n")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
