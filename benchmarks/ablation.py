"""What each part of the method is worth: full, without each term, and with the paper's choices where ours differ.

    python benchmarks/ablation.py --data ../shared/data/kitchen --output-dir outputs/ablation [--workers 2]

Every cell trains as `ns-train` does and measures as `click-gaussian eval` does (label propagation and the single
click), in a process of its own (ablation_cell.py); `--workers` of them at a time share the cores. Masks are of three
noise strengths, and superpixels for the three-level rules. Resumable: what is finished is not run again, unless its
settings or the package's code have changed (`--reuse-other-code` keeps the latter, and the table says so). Writes
ablation.md (mIoU, mean and sample standard deviation over seeds) and ablation.json after every cell. `--only` names the
variants to run; the table always holds all that is finished.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

import click_gaussian_ns
from click_gaussian_ns.files import write_renamed

_MODEL = "--pipeline.model."
_RESEARCH = "--pipeline.model.research."
TERMS: dict[str, tuple[str, ...]] = {
    "full": (),
    "w/o prior": (f"{_RESEARCH}granularity-prior", "False"),
    "w/o GFL": (f"{_RESEARCH}gfl-weight", "0"),
    "w/o 3D norm": (f"{_RESEARCH}norm-3d-weight", "0"),
    "w/o 2D norm": (f"{_RESEARCH}norm-2d-weight", "0"),
    "w/o spatial": (f"{_RESEARCH}spatial-weight", "0"),
    "paper exact": (f"{_MODEL}paper-exact", "True"),
}
"""The paper's table 3, and the paper itself."""
CHOICES: dict[str, tuple[str, ...]] = {
    "no segment balance (paper)": (f"{_RESEARCH}segment-balance", "0"),
    "sampling power 1 (paper)": ("--pipeline.datamanager.sampling-power", "1"),
    "negative weight 0.1 (paper)": (f"{_RESEARCH}negative-weight", "0.1"),
    "spatial weight 0.5 (paper)": (f"{_RESEARCH}spatial-weight", "0.5"),
    "GFL weight 10 (paper)": (f"{_RESEARCH}gfl-weight", "10"),
    "GFL by similarity (paper)": (f"{_RESEARCH}gfl-agreement", "0"),
    "GFL pulls what is near, too": (f"{_RESEARCH}gfl-threshold", "2"),
    "clusters of features (paper)": (f"{_RESEARCH}clusters", "features", f"{_RESEARCH}gfl-start", "0.667"),
}
"""One of our choices taken back each."""
VARIANTS = {**TERMS, **CHOICES}
THREE_LEVELS: dict[str, tuple[str, ...]] = {
    f"three levels by {rule}": ("--pipeline.datamanager.mask-levels", f"three-level-{rule}")
    for rule in ("score", "area")
}
"""Only where segments know their level, which label maps do not."""
SEEDS = {"masks_weak": (0,), "masks": (0,), "masks_strong": (0, 1, 2), "superpixels": (0,)}
"""Several where global feature guidance must earn its place."""
CHOICES_ON = ("masks", "masks_strong")
"""Where our choices are taken back, with the first seed."""
METRICS = ("miou", "click_miou")
LEVELS = ("coarse", "fine")


@dataclass
class Arguments:
    """What to run."""

    data: Path
    """Scene with transforms.json, splat.ply, gt/ and masks_weak/, masks/, masks_strong/."""
    output_dir: Path = Path("outputs/ablation")
    """Where runs and tables go."""
    steps: int = 750
    """Training steps."""
    num_pixels: int = 3000
    """Sampled per step."""
    only: tuple[str, ...] = ()
    """Variants to run; all by default."""
    sources: tuple[str, ...] = tuple(SEEDS)
    """Masks to train on."""
    workers: int = 1
    """Cells at a time; each gets its share of the cores."""
    reuse_other_code: bool = False
    """Keep results that another version of the package's code made."""


@dataclass(frozen=True)
class Cell:
    """One training."""

    variant: str
    source: str
    seed: int

    @property
    def folder(self) -> str:
        name = "".join(c if c.isalnum() else "_" for c in self.variant)
        return f"{self.source}/{name}/seed{self.seed}"


def cells(sources: Sequence[str]) -> Iterator[Cell]:
    """All of them, the ones that matter most first: the terms seed by seed, `full` before what is compared with it."""
    for seed in sorted({seed for source in sources for seed in SEEDS[source]}):
        for source in sources:
            if seed in SEEDS[source]:
                for variant in ("full", *THREE_LEVELS) if source == "superpixels" else TERMS:
                    yield Cell(variant, source, seed)
    for source in sources:
        if source in CHOICES_ON:
            for variant in CHOICES:
                yield Cell(variant, source, SEEDS[source][0])


def train_arguments(cell: Cell, arguments: Arguments, folder: Path) -> list[str]:
    """Of ns-train."""
    data, steps = arguments.data, arguments.steps
    if cell.source == "superpixels":
        masks = ["--pipeline.datamanager.mask-generator", "superpixels"]
    else:
        masks = ["--pipeline.datamanager.mask-generator", "folder"]
        masks += ["--pipeline.datamanager.mask-dir", str(data / cell.source)]
    return [
        *("click-gaussian", "--data", str(data), "--output-dir", str(folder / "runs"), "--experiment-name", "ablation"),
        *("--timestamp", "run", "--vis", "tensorboard", "--max-num-iterations", str(steps)),
        *(f"{_MODEL}splat", str(data / "splat.ply"), f"{_MODEL}seed", str(cell.seed)),
        *("--pipeline.datamanager.seed", str(cell.seed)),
        *("--pipeline.datamanager.num-pixels", str(arguments.num_pixels)),
        *masks,
        *{**VARIANTS, **THREE_LEVELS}[cell.variant],
    ]


def run_cell(cell: Cell, arguments: Arguments, folder: Path) -> None:
    """Train and measure; leaves metrics.json in the folder and removes the run."""
    measured = folder / "measured.json"
    script = Path(__file__).with_name("ablation_cell.py")
    command = [sys.executable, str(script), str(arguments.data / "gt"), str(measured)]
    threads = str(max(1, (os.cpu_count() or 1) // arguments.workers))
    _call([*command, *train_arguments(cell, arguments, folder)], folder / "log.txt", threads)
    shutil.rmtree(folder / "runs")
    measured.rename(folder / "metrics.json")


def _call(command: Sequence[str], log: Path, threads: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}
    with log.open("a") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False, env=environment)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise RuntimeError(f"{' '.join(command)}\nended with {done.returncode}; the end of {log}:\n{tail}")


def code_digest() -> str:
    """Of the package's sources and of what runs a cell."""
    root = Path(click_gaussian_ns.__file__).parent
    digest = hashlib.sha256(Path(__file__).with_name("ablation_cell.py").read_bytes())
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def run_all(
    arguments: Arguments,
    run: Callable[[Cell, Arguments, Path], None] = run_cell,
    announce: Callable[[str], None] = print,
) -> None:
    """Run what is missing, and write the tables after every cell. After a failure no further cell starts."""
    if set(arguments.sources) - set(SEEDS):
        raise ValueError(f"--sources {' '.join(arguments.sources)}: choose from {', '.join(SEEDS)}")
    wanted = [cell for cell in cells(arguments.sources) if not arguments.only or cell.variant in arguments.only]
    unknown = set(arguments.only) - set(VARIANTS) - set(THREE_LEVELS)
    if unknown or not wanted:
        raise ValueError(f"--only {' '.join(arguments.only)}: choose from {', '.join([*VARIANTS, *THREE_LEVELS])}")
    if arguments.workers < 1:
        raise ValueError(f"--workers {arguments.workers}: expected 1 or more")
    writing, failed = threading.Lock(), threading.Event()

    def finish(place: int, cell: Cell) -> None:
        if failed.is_set():
            return
        folder = arguments.output_dir / cell.folder
        recipe = {"arguments": train_arguments(cell, arguments, folder), "code": code_digest()}
        done = is_finished(folder, recipe, arguments.reuse_other_code)
        announce(f"[{place}/{len(wanted)}] {cell.folder}{': finished before' if done else ''}")
        if done:
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            run(cell, arguments, folder)
            if code_digest() != recipe["code"]:
                raise RuntimeError(f"the package was edited while {cell.folder} ran: start again")
        except BaseException:
            failed.set()
            raise
        with writing:
            write_renamed(folder / "recipe.json", json.dumps(recipe, indent=1).encode())
            write_tables(arguments)

    with ThreadPoolExecutor(arguments.workers) as pool:
        for outcome in [pool.submit(finish, place, cell) for place, cell in enumerate(wanted, 1)]:
            outcome.result()
    write_tables(arguments)


def is_finished(folder: Path, recipe: dict[str, Any], any_code: bool) -> bool:
    """Whether the folder holds the result of these settings, and of this code."""
    if not (folder / "metrics.json").is_file() or not (folder / "recipe.json").is_file():
        return False
    found = json.loads((folder / "recipe.json").read_bytes())
    return found["arguments"] == recipe["arguments"] and (any_code or found["code"] == recipe["code"])


def write_tables(arguments: Arguments) -> None:
    """ablation.json with every cell that these settings have finished, ablation.md with their means."""
    rows = []
    for cell in cells(tuple(SEEDS)):
        folder = arguments.output_dir / cell.folder
        if (folder / "metrics.json").is_file() and (folder / "recipe.json").is_file():
            found = json.loads((folder / "metrics.json").read_bytes())
            recipe = json.loads((folder / "recipe.json").read_bytes())
            if recipe["arguments"] != train_arguments(cell, arguments, folder):
                continue
            metrics = {key: value for key, value in found.items() if key.split(".")[0] in (*LEVELS, "middle")}
            rows.append({**asdict(cell), "code": recipe["code"], "metrics": metrics})
    write_renamed(arguments.output_dir / "ablation.json", json.dumps(rows, indent=1).encode())
    write_renamed(arguments.output_dir / "ablation.md", table(rows, arguments).encode())


def table(rows: Sequence[dict[str, Any]], arguments: Arguments) -> str:
    """One block per source of masks, one line per variant."""
    lines = [
        f"{arguments.steps} steps of {arguments.num_pixels} pixels, guidance from step {arguments.steps * 2 // 3}; "
        "mIoU on test views, mean ± sample standard deviation over seeds.",
    ]
    for source in SEEDS:
        of_source = [row for row in rows if row["source"] == source]
        if not of_source:
            continue
        head = [f"{level} {metric.replace('_', ' ')}" for metric in METRICS for level in LEVELS]
        lines += ["", f"| {source} | " + " | ".join(head) + " | seeds |", "|---" * (len(head) + 2) + "|"]
        for variant in dict.fromkeys(row["variant"] for row in of_source):
            found = [row["metrics"] for row in of_source if row["variant"] == variant]
            values = [spread([m[f"{level}.{metric}"] for m in found]) for metric in METRICS for level in LEVELS]
            lines.append(f"| {variant} | " + " | ".join(values) + f" | {len(found)} |")
    codes = {row["code"] for row in rows}
    if len(codes) > 1:
        lines += ["", f"The rows were made by {len(codes)} versions of the code ({', '.join(sorted(codes))})."]
    return "\n".join(lines) + "\n"


def spread(values: Sequence[float]) -> str:
    """Mean, and the sample standard deviation where there are several."""
    mean = f"{statistics.fmean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.3f}"


if __name__ == "__main__":
    run_all(tyro.cli(Arguments, description=__doc__))
