"""The ablation's bookkeeping, with a stand-in for training."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("ablation", ROOT / "benchmarks" / "ablation.py")
assert spec is not None and spec.loader is not None
ablation = sys.modules["ablation"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ablation)


CELLS = len(ablation.TERMS) * (1 + 3) + 2 * len(ablation.CHOICES)
"""Of masks, with one seed, and masks_strong, with three."""


class Trainings:
    """Writes figures that depend on the cell alone."""

    def __init__(self, fail_at: str = "") -> None:
        self.done: list[str] = []
        self.fail_at = fail_at

    def __call__(self, cell, arguments, folder: Path) -> None:
        if self.fail_at and self.fail_at in cell.folder:
            raise RuntimeError("no power")
        self.done.append(cell.folder)
        value = 0.5 + 0.1 * cell.seed + (0.2 if cell.variant == "full" else 0.0)
        metrics = {f"{level}.{name}": value for level in ("coarse", "fine") for name in ("miou", "click_miou")}
        (folder / "metrics.json").write_text(json.dumps({**metrics, "dataset": "label-maps", "objects": []}))


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ablation, "code_digest", lambda: "this")
    return ablation.Arguments(data=Path("scene"), output_dir=tmp_path, steps=30, sources=("masks", "masks_strong"))


def run(arguments, trainings: Trainings) -> list[str]:
    said: list[str] = []
    ablation.run_all(arguments, trainings, said.append)
    return said


def test_every_cell_runs_once(arguments):
    trainings = Trainings()
    run(arguments, trainings)
    assert len(trainings.done) == len(set(trainings.done)) == CELLS
    again = Trainings()
    said = run(arguments, again)
    assert again.done == [] and all(line.endswith("finished before") for line in said)


def test_workers_run_the_same_cells(arguments):
    arguments.workers = 3
    trainings = Trainings()
    run(arguments, trainings)
    assert len(trainings.done) == len(set(trainings.done)) == CELLS
    assert len(json.loads((arguments.output_dir / "ablation.json").read_text())) == CELLS


def test_it_goes_on_where_it_was_stopped(arguments):
    with pytest.raises(RuntimeError, match="no power"):
        run(arguments, Trainings(fail_at="masks_strong/w_o_GFL/seed0"))
    assert "| full | 0.700 |" in (arguments.output_dir / "ablation.md").read_text()
    rest = Trainings()
    run(arguments, rest)
    assert rest.done[0] == "masks_strong/w_o_GFL/seed0"
    assert "masks/full/seed0" not in rest.done


def test_other_settings_and_other_code_run_again(arguments, monkeypatch: pytest.MonkeyPatch):
    run(arguments, Trainings())
    monkeypatch.setattr(ablation, "code_digest", lambda: "other")
    arguments.only, arguments.sources = ("full",), ("masks",)
    arguments.reuse_other_code = True
    kept = Trainings()
    run(arguments, kept)
    assert kept.done == []
    arguments.reuse_other_code = False
    changed = Trainings()
    run(arguments, changed)
    assert changed.done == ["masks/full/seed0"]
    assert "made by 2 versions of the code" in (arguments.output_dir / "ablation.md").read_text()
    arguments.steps = 31
    longer = Trainings()
    run(arguments, longer)
    assert longer.done == ["masks/full/seed0"]


def test_the_code_is_told_by_its_contents():
    assert len(ablation.code_digest()) == 12 and ablation.code_digest() == ablation.code_digest()


def test_the_table_has_means_and_spreads(arguments):
    run(arguments, Trainings())
    lines = (arguments.output_dir / "ablation.md").read_text().splitlines()
    assert "| masks | coarse miou | fine miou | coarse click miou | fine click miou | seeds |" in lines
    assert "| w/o GFL | 0.500 | 0.500 | 0.500 | 0.500 | 1 |" in lines
    spread = "0.800 ± 0.100"  # 0.7, 0.8, 0.9
    assert f"| full | {spread} | {spread} | {spread} | {spread} | 3 |" in lines
    rows = json.loads((arguments.output_dir / "ablation.json").read_text())
    assert len(rows) == CELLS and rows[0]["metrics"]["coarse.miou"] == 0.7


def test_each_variant_changes_one_thing(arguments):
    folder = Path("x")
    full = ablation.train_arguments(ablation.Cell("full", "masks", 0), arguments, folder)
    for variant, flags in ablation.VARIANTS.items():
        assert ablation.train_arguments(ablation.Cell(variant, "masks", 0), arguments, folder) == [*full, *flags]


def test_ns_train_knows_every_flag(arguments, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import ablation_cell

    given = ablation.train_arguments(ablation.Cell("full", "superpixels", 2), arguments, Path("x"))
    flags = {flags[0]: flags[1] for flags in [*ablation.VARIANTS.values(), *ablation.THREE_LEVELS.values()] if flags}
    flags["--pipeline.model.paper-exact"] = "False"  # else it overrides the others
    given += [word for flag in flags.items() for word in flag]
    config = ablation_cell.training_config(given[1:])
    assert config.pipeline.model.seed == 2 and config.max_num_iterations == 30
    research = config.pipeline.model.research
    assert not research.granularity_prior and research.gfl_weight == 10


def test_unknown_variants_are_named(arguments):
    arguments.only = ("w/o everything",)
    with pytest.raises(ValueError, match="w/o everything: choose from full, w/o prior"):
        run(arguments, Trainings())


def test_a_failed_command_shows_the_end_of_its_log(tmp_path: Path):
    with pytest.raises(RuntimeError, match=r"ended with 3; the end of .*log\.txt:\nsorry"):
        ablation._call([sys.executable, "-c", "import sys; print('sorry'); sys.exit(3)"], tmp_path / "log.txt", "1")
