"""A generator of masks is a module and a line of the registry: all else derives from it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch

from click_gaussian_ns.masks import config as masks_config
from click_gaussian_ns.masks.config import MaskConfig, segmenters
from click_gaussian_ns.masks.resolve import make_segmenter
from click_gaussian_ns.masks.segmenter import Segment, Segmenter, ViewGuidance, partition_segments
from click_gaussian_ns.method.settings import ClickGaussianDataManagerConfig

CPU = torch.device("cpu")


@dataclass
class HalvesConfig:
    """A generator that is not the package's own."""

    column: int = 2


class Halves:
    """Left and right of a column."""

    name = "halves"
    uses_guidance = False
    gives_levels = False

    def __init__(self, config: HalvesConfig, device: torch.device) -> None:
        self.config, self.device = config, device

    def fingerprint(self) -> Mapping[str, Any]:
        return asdict(self.config)

    def segment(self, image: np.ndarray, guidance: ViewGuidance | None) -> list[Segment]:
        labels = np.ones(image.shape[:2], np.int32)
        labels[:, self.config.column :] = 2
        return partition_segments(labels, None)


@dataclass
class WithHalves(MaskConfig):
    halves: HalvesConfig = field(default_factory=HalvesConfig, metadata={"segmenter": f"{__name__}:Halves"})


def test_a_line_of_the_registry_makes_a_generator() -> None:
    config = WithHalves(halves=HalvesConfig(column=3))
    config.mask_generator = "halves"
    made = make_segmenter(config, CPU)
    assert isinstance(made, Segmenter) and made.fingerprint() == {"column": 3}
    segments = made.segment(np.zeros((2, 4, 3), np.uint8), None)
    assert [segment.area for segment in segments] == [6, 2]


@pytest.mark.parametrize(("name", "target"), segmenters().items())
def test_the_registry_names_what_exists(name: str, target: str) -> None:
    if name == "sam2":
        pytest.importorskip("sam2")
    module, _, class_name = target.partition(":")
    segmenter = getattr(import_module(module), class_name)
    assert segmenter.name == name
    assert isinstance(getattr(MaskConfig(), name), get_type_hints(MaskConfig)[name])


def test_settings_and_command_line_derive_from_the_registry() -> None:
    choices = {"auto", "folder", *segmenters()}
    assert set(get_args(masks_config.Generator)) == choices
    assert set(segmenters()) <= {f.name for f in fields(ClickGaussianDataManagerConfig)}
    command = [sys.executable, "-m", "click_gaussian_ns.cli", "masks", "--help"]
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "200"}
    ).stdout
    for name in segmenters():
        for setting in fields(type(getattr(MaskConfig(), name))):
            assert f"--{name}.{setting.name.replace('_', '-')}" in told
    assert all(choice in told.partition("--generator")[2].partition("--mask-dir")[0] for choice in choices)


def test_the_registry_is_light() -> None:
    code = (
        "import sys, click_gaussian_ns.masks.config\n"
        "print([name for name in ('numba', 'torch', 'numpy', 'cv2', 'segment_anything') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
