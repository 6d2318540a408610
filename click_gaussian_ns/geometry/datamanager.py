"""Photos for training geometry: what it starts from, and on CPU photos that are downscaled in memory."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanagerConfig
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from torch import Tensor

from click_gaussian_ns.geometry.far_shell import Photo, far_shell
from click_gaussian_ns.geometry.settings import NUM_FAR_POINTS, GeometryDataManagerConfig
from click_gaussian_ns.scenes.photo_dataset import PhotoDataManager, PhotoDataset
from click_gaussian_ns.scenes.views import camera_view


class SeededDataManager(PhotoDataManager):
    """When geometry is trained, points far beyond SfM's are added to those that it starts from."""

    def __init__(self, config: FullImageDatamanagerConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        metadata = self.train_dataparser_outputs.metadata
        found = metadata.get("points3D_xyz", torch.zeros(0, 3)).float()
        self.sfm_points: Float[Tensor, "P 3"] = found
        """Without those that are added."""
        # an opened run has its geometry, and may have lost its photos
        if self.test_mode == "val" and len(found):
            photos = (self._photo(index) for index in range(len(self.train_dataset)))
            places, colors = far_shell(found, photos, NUM_FAR_POINTS)
            metadata["points3D_xyz"] = torch.cat([found, places])
            metadata["points3D_rgb"] = torch.cat([metadata["points3D_rgb"], colors])

    def _photo(self, index: int) -> Photo:
        data = self.cached_train[index]
        picture, mask = data["image"].cpu(), data.get("mask")
        if picture.dtype != torch.uint8:
            picture = (picture * 255).round().to(torch.uint8)
        view = camera_view(self.train_dataset.cameras[index : index + 1])
        return view, picture.numpy(), None if mask is None else mask[..., 0].cpu().numpy()


class GeometryDataManager(SeededDataManager):
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
