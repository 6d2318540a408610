"""Photos for training geometry on CPU: downscaled in memory, cameras to match."""

from __future__ import annotations

from typing import Any, Literal

import torch
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset

from click_gaussian_ns.geometry.settings import GeometryDataManagerConfig
from click_gaussian_ns.scenes.data_layout import settle_dataparser


class GeometryDataManager(FullImageDatamanager[InputDataset]):
    """nerfstudio's, on photos of at most `max_side` px."""

    config: GeometryDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    train_dataset: InputDataset
    eval_dataset: InputDataset

    def __init__(self, config: GeometryDataManagerConfig, **kwargs: Any) -> None:
        settle_dataparser(config)
        super().__init__(config, **kwargs)

    def create_train_dataset(self) -> InputDataset:
        return self._downscaled(self.train_dataparser_outputs)

    def create_eval_dataset(self) -> InputDataset:
        return self._downscaled(self.dataparser.get_dataparser_outputs(split=self.test_split))

    def _downscaled(self, outputs: DataparserOutputs) -> InputDataset:
        cameras = outputs.cameras
        longest = int(torch.maximum(cameras.width, cameras.height).max())
        scale = self.config.camera_res_scale_factor
        if longest * scale > self.config.max_side:
            scale = (
                self.config.max_side + 0.25
            ) / longest  # sizes are rounded down: a quarter pixel keeps off the edge
        dataset = InputDataset(outputs, scale)
        # sizes are whole pixels: intrinsics that follow the factor instead are off by up to a pixel at the far edges
        across, down = dataset.cameras.width / cameras.width, dataset.cameras.height / cameras.height
        dataset.cameras.fx, dataset.cameras.cx = cameras.fx * across, cameras.cx * across
        dataset.cameras.fy, dataset.cameras.cy = cameras.fy * down, cameras.cy * down
        return dataset

    def _load_images(
        self, split: Literal["train", "eval"], cache_images_device: Literal["cpu", "gpu"]
    ) -> list[dict[str, Any]]:
        # "gpu" means .to(self.device) there; "cpu" would pin memory, which needs a driver
        return super()._load_images(split, "gpu")
