"""What benchmarks conclude from their figures, on figures made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scale(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import scale

    return scale


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import growth

    return growth


def record(scale, slower: float = 1.0, machine: float = 1.0, **changed):
    """Figures of a run, on a machine that is so many times slower."""
    times = {name: 10.0 * slower * machine for name in scale._GATED}
    size = {name: 7 for name in scale._SIZE}
    return {**times, **size, "calibration": {"arithmetic_ms": 2.0 * machine}, **changed}


def test_the_gate_fails_what_is_a_quarter_slower_on_any_machine(scale):
    assert scale.failures(record(scale, machine=3.0), record(scale)) == []
    assert scale.failures(record(scale, slower=1.2, machine=0.5), record(scale)) == []
    assert len(scale.failures(record(scale, slower=1.3), record(scale))) == len(scale._GATED)
    (only,) = scale.failures(record(scale, setup_s=20.0), record(scale))
    assert only == "setup_s is 2.00 times the baseline's"


@pytest.mark.parametrize("name", ["num_gaussians", "num_steps", "width"])
def test_the_gate_refuses_another_size(scale, name):
    with pytest.raises(ValueError, match="another size"):
        scale.failures(record(scale, **{name: 8}), record(scale))


def test_the_full_recipe_is_extrapolated_from_its_parts(scale):
    parts = {"first_steps_ms": 20.0, "step_ms": 10.0, "refresh_s": 2.0, "setup_s": 5.0}
    parts |= {"clusters_s": 3.0, "checkpoints_s": 0.5, "eval_s": 0.25}
    found = scale.extrapolate(parts, num_views=60)
    trained = 60 * 0.020 + 2940 * 0.010 + 15 * 2.0 + 6 * 0.5 + 3 * 0.25
    assert found == pytest.approx({"train_s": trained, "total_s": trained + 8.0})


def test_a_scene_of_another_size_is_not_measured(scale, tmp_path):
    scale.write_files(tmp_path, 300, 2, 32, 24)
    assert scale.written_size(tmp_path) == (300, 2, 32, 24)
    wanted = scale.Arguments(num_gaussians=400, num_views=2, width=32, height=24, scene_dir=tmp_path)
    with pytest.raises(ValueError, match=r"holds \(300, 2, 32, 24\).*not \(400, 2, 32, 24\): name another folder"):
        scale.main(wanted)


def test_the_slope_is_the_power(growth):
    assert growth.slope([10, 100, 1000], [3.0, 30.0, 300.0]) == pytest.approx(1.0)
    assert growth.slope([1, 4, 16], [5.0, 10.0, 20.0]) == pytest.approx(0.5)


def test_a_record_of_other_settings_is_not_reused(growth):
    wanted = {"num_steps": 210, "width": 640, "height": 480}
    assert growth._has({**wanted, "step_ms": 1.0}, wanted)
    assert not growth._has({**wanted, "width": 320}, wanted) and not growth._has({}, wanted)
