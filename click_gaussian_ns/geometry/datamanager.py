"""Photos for training geometry on CPU: downscaled in memory, cameras to match."""

from __future__ import annotations

import torch
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from click_gaussian_ns.geometry.settings import GeometryDataManagerConfig
from click_gaussian_ns.scenes.photo_dataset import PhotoDataManager, PhotoDataset


class GeometryDataManager(PhotoDataManager):
    """On photos of at most `max_side` px."""

    config: GeometryDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def create_train_dataset(self) -> PhotoDataset:
        return self._downscaled(self.train_dataparser_outputs)

    def create_eval_dataset(self) -> PhotoDataset:
        return self._downscaled(self.dataparser.get_dataparser_outputs(split=self.test_split))

    def _downscaled(self, outputs: DataparserOutputs) -> PhotoDataset:
        cameras = outputs.cameras
        longest = int(torch.maximum(cameras.width, cameras.height).max())
        scale = self.config.camera_res_scale_factor
        if longest * scale > self.config.max_side:
            # sizes are rounded down: a quarter pixel keeps off the edge
            scale = (self.config.max_side + 0.25) / longest
        dataset = PhotoDataset(outputs, scale)
        # sizes are whole pixels: intrinsics that follow the factor instead are off by up to a pixel at the far edges
        across, down = dataset.cameras.width / cameras.width, dataset.cameras.height / cameras.height
        dataset.cameras.fx, dataset.cameras.cx = cameras.fx * across, cameras.cx * across
        dataset.cameras.fy, dataset.cameras.cy = cameras.fy * down, cameras.cy * down
        return dataset
