"""Segment Anything 2.1: the `sam2` package (extra `[sam2]`) behind the segmenter protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import UInt8

from click_gaussian_ns.masks.automatic import NEUTRAL_SETTINGS, LevelAware, generator_settings
from click_gaussian_ns.masks.checkpoints import checkpoint_digest, obtain_checkpoint, read_weights
from click_gaussian_ns.masks.config import Sam2Config, flag
from click_gaussian_ns.masks.segmenter import Segment, ViewGuidance

if TYPE_CHECKING:
    from sam2.modeling.sam2_base import SAM2Base  # pyright: ignore[reportMissingImports]

_CONFIGS = {"large": "l", "base_plus": "b+", "small": "s", "tiny": "t"}


class Sam2Segmenter:
    """The automatic mask generator of SAM 2.1. The model is loaded when the first image comes."""

    name = "sam2"
    uses_guidance = False
    gives_levels = True

    def __init__(self, config: Sam2Config, device: torch.device) -> None:
        """
        Raises:
            ValueError: the package is missing, no weights can be had, or the published file is damaged.
        """
        _require_package()
        self._config = config
        self._device = device
        self._checkpoint = obtain_checkpoint(config, config.model)
        self._digest = checkpoint_digest(config, config.model, self._checkpoint)
        self._generator: Any = None

    def fingerprint(self) -> Mapping[str, Any]:
        settings = {name: value for name, value in asdict(self._config).items() if name not in NEUTRAL_SETTINGS}
        return {"weights": self._digest, **settings}

    def segment(self, image: UInt8[np.ndarray, "H W 3"], guidance: ViewGuidance | None) -> list[Segment]:
        if self._generator is None:
            self._generator = make_generator(
                load_sam2(self._checkpoint, self._config.model, self._device), self._config
            )
        return self._generator.segments_within_memory(image, self._config, self._device)


def _require_package() -> None:
    from importlib.util import find_spec

    if find_spec("sam2") is None:
        raise ValueError(
            "the generator sam2 needs the package sam2: install it with `pip install 'click-gaussian-ns[sam2]'`, "
            f"or use {flag('mask_generator', 'sam')}, or the generator superpixels"
        )


def make_generator(model: SAM2Base, config: Sam2Config) -> Any:
    """The package's automatic mask generator, which keeps the level of every mask."""
    from sam2.automatic_mask_generator import (  # pyright: ignore[reportMissingImports]
        SAM2AutomaticMaskGenerator,
    )
    from sam2.utils.amg import generate_crop_boxes  # pyright: ignore[reportMissingImports]

    class Generator(LevelAware, SAM2AutomaticMaskGenerator):
        _crop_boxes = staticmethod(generate_crop_boxes)

    generator = Generator(model, **generator_settings(config))  # pyright: ignore[reportCallIssue]
    generator.record_levels("_predict")
    return generator


def load_sam2(checkpoint: Path, model: str, device: torch.device) -> SAM2Base:
    """SAM 2.1 of the given size in evaluation mode with the weights of a checkpoint.

    Raises:
        ValueError: truncated, no SAM 2.1, or one of another size.
    """
    from sam2.build_sam import build_sam2  # pyright: ignore[reportMissingImports]

    weights = read_weights(checkpoint)
    built = build_sam2(f"configs/sam2.1/sam2.1_hiera_{_CONFIGS[model]}.yaml", None, device=str(device))
    try:
        built.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(
            f"{checkpoint} is no checkpoint of SAM 2.1 {model} ({str(error).splitlines()[-1].strip()}): "
            "use the setting `model` that it was made for, or the published file"
        ) from error
    return built
