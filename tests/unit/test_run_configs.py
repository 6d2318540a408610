"""Runs that users have keep loading: their config.yml names modules and classes of ours.

tests/data holds the config.yml of a run of each method. If a test here fails, the move must leave the old name behind;
a new file there is right only for a new name.
"""

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from nerfstudio.engine.trainer import TrainerConfig

from click_gaussian_ns.method.methods import click_gaussian_method, splatfacto_cpu_method
from click_gaussian_ns.runs.files import read_run

DATA = Path(__file__).resolve().parents[1] / "data"
METHODS = {"click-gaussian": click_gaussian_method, "splatfacto-cpu": splatfacto_cpu_method}


def load(method: str) -> TrainerConfig:
    """As nerfstudio's `eval_setup` does."""
    return yaml.load((DATA / f"{method}.yml").read_text(), Loader=yaml.Loader)


def names_of_ours(text: str) -> set[str]:
    return set(re.findall(r"!!python/\w+:(click_gaussian_ns\.[\w.]+)", text))


def missing_settings(config: Any, at: str = "") -> list[str]:
    """Fields of a loaded config, and of those in it, that have no value."""
    missing = []
    for field in fields(config):
        if not hasattr(config, field.name):
            missing.append(f"{at}{field.name}")
        elif is_dataclass(value := getattr(config, field.name)) and not isinstance(value, type):
            missing += missing_settings(value, f"{at}{field.name}.")
    return missing


@pytest.mark.parametrize("method", METHODS)
def test_a_config_of_an_earlier_run_loads(method: str) -> None:
    config = load(method)
    assert type(config) is type(METHODS[method]().config)
    assert config.method_name == method and config.max_num_iterations == 3
    assert config.pipeline.datamanager.dataparser.data == Path("/home/user/scene")
    assert missing_settings(config) == []


@pytest.mark.parametrize("method", METHODS)
def test_it_names_all_that_a_config_of_today_names(method: str) -> None:
    assert names_of_ours(yaml.dump(METHODS[method]().config)) <= names_of_ours((DATA / f"{method}.yml").read_text())


@pytest.mark.parametrize("method", METHODS)
def test_it_is_read_without_running_what_it_names(method: str) -> None:
    run = read_run(DATA / f"{method}.yml")
    assert run is not None and (run.method, run.num_steps, run.last_step) == (method, 3, -1)
