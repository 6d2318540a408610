"""What `paper_exact` promises."""

from __future__ import annotations

from click_gaussian_ns.method.settings import (
    PAPER_EXACT,
    PAPER_SAMPLING_POWER,
    ClickGaussianDataManagerConfig,
    ClickGaussianModelConfig,
    ClickGaussianPipelineConfig,
)


def test_paper_exact_overrides_whatever_the_flags_say() -> None:
    flags = {name: not value if isinstance(value, bool) else 0.3 for name, value in PAPER_EXACT.items()}
    model = ClickGaussianModelConfig(paper_exact=True, **flags)
    config = ClickGaussianPipelineConfig(datamanager=ClickGaussianDataManagerConfig(sampling_power=0.3), model=model)
    assert {name: getattr(config.model, name) for name in PAPER_EXACT} == PAPER_EXACT
    assert config.datamanager.sampling_power == PAPER_SAMPLING_POWER


def test_ours_by_default() -> None:
    config = ClickGaussianPipelineConfig()
    assert all(getattr(config.model, name) != value for name, value in PAPER_EXACT.items())
    assert config.datamanager.sampling_power != PAPER_SAMPLING_POWER


def test_at_a_border_no_segment_wins_on_average() -> None:
    """A pixel is drawn in proportion to n^-p and pulled by n^((1 - p) (1 - balance))."""
    config = ClickGaussianPipelineConfig()
    p, balance = config.datamanager.sampling_power, config.model.segment_balance
    assert abs(-p + (1 - p) * (1 - balance)) < 1e-9
