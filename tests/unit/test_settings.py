"""What `paper_exact` promises."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stdout
from typing import Any

import pytest
import tyro

from click_gaussian_ns.features.terms import TERMS
from click_gaussian_ns.method.research import PAPER_EXACT, ResearchConfig
from click_gaussian_ns.method.settings import (
    PAPER_SAMPLING_POWER,
    ClickGaussianDataManagerConfig,
    ClickGaussianModelConfig,
    ClickGaussianPipelineConfig,
)


def test_paper_exact_overrides_whatever_the_flags_say() -> None:
    ours = {name: getattr(ResearchConfig(), name) for name in PAPER_EXACT}
    flags: dict[str, Any] = {name: 0.3 if isinstance(value, float) else value for name, value in ours.items()}
    model = ClickGaussianModelConfig(paper_exact=True, research=ResearchConfig(**flags))
    config = ClickGaussianPipelineConfig(datamanager=ClickGaussianDataManagerConfig(sampling_power=0.3), model=model)
    assert {name: getattr(config.model.research, name) for name in PAPER_EXACT} == PAPER_EXACT
    assert config.datamanager.sampling_power == PAPER_SAMPLING_POWER


def test_guidance_takes_its_share_of_any_run() -> None:
    config = ResearchConfig(gfl_start=2 / 3)
    assert config.guidance_steps(3000) == (2000, 200)
    assert {num: config.guidance_steps(num) for num in (1000, 300, 240, 10, 1)} == {
        1000: (666, 66),
        300: (200, 20),
        240: (160, 16),
        10: (6, 1),
        1: (0, 1),
    }
    for num in range(3, 5000):  # shares are no whole numbers: none falls below its step
        assert config.guidance_steps(num) == (num * 2 // 3, max(1, num // 15))
    assert config.guidance_steps(3000, guided_at=2500) == (2000, 200), "resumed to the same end: as if never stopped"
    assert config.guidance_steps(6000, guided_at=3000) == (3000, 400), "resumed for longer: guided all along"
    assert ResearchConfig(gfl_start=1.0, gfl_update_every=1.0).guidance_steps(50) == (50, 50)


@pytest.mark.parametrize(
    ("name", "value"),
    [("gfl_start", 2000.0), ("gfl_start", -0.1), ("gfl_update_every", 200.0), ("gfl_update_every", 0.0)],
)
def test_steps_where_shares_are_expected_are_refused(name: str, value: float) -> None:
    flag = name.replace("_", "-")
    with pytest.raises(
        ValueError, match=f"--pipeline.model.research.{flag} {value}: expected a share of the run's steps"
    ):
        ResearchConfig(**{name: value})
    read_from_a_file = ResearchConfig()
    setattr(read_from_a_file, name, value)
    with pytest.raises(ValueError, match="expected a share"):
        read_from_a_file.guidance_steps(3000)


def test_ours_by_default() -> None:
    config = ClickGaussianPipelineConfig()
    assert all(getattr(config.model.research, name) != value for name, value in PAPER_EXACT.items())
    assert config.datamanager.sampling_power != PAPER_SAMPLING_POWER


def test_at_a_border_no_segment_wins_on_average() -> None:
    """A pixel is drawn in proportion to n^-p and pulled by n^((1 - p) (1 - balance))."""
    config = ClickGaussianPipelineConfig()
    p, balance = config.datamanager.sampling_power, config.model.research.segment_balance
    assert abs(-p + (1 - p) * (1 - balance)) < 1e-9


def help_of_flags() -> str:
    """What --help says of the model's flags, in one line."""
    told = io.StringIO()
    with redirect_stdout(told), pytest.raises(SystemExit):
        tyro.cli(ClickGaussianModelConfig, args=["--help"])
    return re.sub(r"[\s│╭╰─╮╯]+", " ", re.sub(r"\x1b\[[\d;]*m", "", told.getvalue()))


def test_every_term_has_its_weight_and_its_flags_help() -> None:
    """A new term is a file and a line in TERMS: its setting is made of it."""
    config = ResearchConfig()
    assert {term.setting: getattr(config, term.setting) for term in TERMS} == {t.setting: t.default for t in TERMS}
    told = help_of_flags()
    for term in TERMS:
        assert f"--research.{term.setting.replace('_', '-')}" in told
        assert term.help[:40] in told


def test_twelve_flags_at_most_are_for_everyone() -> None:
    flags = set(re.findall(r"--([a-z][\w.-]*)", help_of_flags())) - {"help"}
    assert 0 < len({flag for flag in flags if "." not in flag}) <= 12
    assert {flag.split(".")[0] for flag in flags if "." in flag} == {"research"}
