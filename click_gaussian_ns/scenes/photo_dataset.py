"""Photos for nerfstudio, read by the one reader: for training geometry and for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanager, FullImageDatamanagerConfig
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.datasets.base_dataset import InputDataset

from click_gaussian_ns.masks.images import decode_view
from click_gaussian_ns.scenes.data_layout import settle_dataparser
from click_gaussian_ns.scenes.dataparsers import PHOTO_MASKS
from click_gaussian_ns.scenes.photo_masks import read_photo_mask
from click_gaussian_ns.scenes.views import photo_sizes


class PhotoDataset(InputDataset):
    """Every photo comes at its camera's size, whatever its file has, and with its mask."""

    photo_masks: list[Path | None]
    """Of each photo; None: all of it counts."""

    def __init__(self, dataparser_outputs: DataparserOutputs, scale_factor: float = 1.0) -> None:
        super().__init__(dataparser_outputs, scale_factor)
        masks = self.metadata.pop(PHOTO_MASKS, None) or dataparser_outputs.mask_filenames
        self.photo_masks = list(masks) if masks else [None] * len(self)
        # kept: undistorting writes other sizes into the cameras
        self._sizes = photo_sizes(self.cameras)

    def get_numpy_image(self, image_idx: int) -> npt.NDArray[np.uint8]:
        """uint8 [H, W, 3], or [H, W, 4] where the photo has transparency.

        Raises:
            ValueError: see `decode_view`.
        """
        return decode_view(self.image_filenames[image_idx], self._sizes[image_idx])

    def photo_mask(self, image_idx: int) -> Bool[np.ndarray, "H W"] | None:
        """Pixels of the photo that count; None: all do."""
        path = self.photo_masks[image_idx]
        return None if path is None else read_photo_mask(path, self._sizes[image_idx], self.image_filenames[image_idx])

    def get_data(self, image_idx: int, image_type: Literal["uint8", "float32"] = "float32") -> dict[str, Any]:
        read = self.get_image_float32 if image_type == "float32" else self.get_image_uint8
        data: dict[str, Any] = {"image_idx": image_idx, "image": read(image_idx)}
        if any(self.photo_masks):
            counts = self.photo_mask(image_idx)
            if counts is None:
                counts = np.ones(self._sizes[image_idx], dtype=bool)
            data["mask"] = torch.from_numpy(counts)[..., None]
            if self.mask_color:
                white = 255 if image_type == "uint8" else 1
                color = (torch.tensor(self.mask_color) * white).to(data["image"].dtype)
                data["image"] = torch.where(data["mask"], data["image"], color)
        return data

    def __getitem__(self, image_idx: int) -> dict[str, Any]:
        """How nerfstudio's viewer asks for its thumbnails: of a run whose photos are gone, they are grey."""
        if self.image_filenames[image_idx].exists():
            return self.get_data(image_idx)
        return {"image_idx": image_idx, "image": torch.full((*self._sizes[image_idx], 3), 0.5)}


class LazyEvaluation(Sequence[Any]):
    """What nerfstudio evaluates on, a camera and a photo each; made when it is looked at."""

    def __init__(self, length: int, make: Callable[[], Sequence[Any]]) -> None:
        self._length, self._make = length, make

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Any]:
        return iter(self._make())

    def __getitem__(self, index: Any) -> Any:
        return self._make()[index]


class PhotoDataManager(FullImageDatamanager[PhotoDataset]):
    """nerfstudio's, over `PhotoDataset`."""

    config: FullImageDatamanagerConfig
    train_dataset: PhotoDataset
    eval_dataset: PhotoDataset

    def __init__(self, config: FullImageDatamanagerConfig, **kwargs: Any) -> None:
        settle_dataparser(config)
        super().__init__(config, **kwargs)

    @property
    def fixed_indices_eval_dataloader(self) -> LazyEvaluation:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Cameras and photos for evaluation; photos are read when the first is asked for.

        nerfstudio's viewer reads every property when it starts: of a run whose photos are gone, too.
        """
        return LazyEvaluation(
            len(self.eval_dataset), lambda: super(PhotoDataManager, self).fixed_indices_eval_dataloader
        )

    def _load_images(
        self, split: Literal["train", "eval"], cache_images_device: Literal["cpu", "gpu"]
    ) -> list[dict[str, Any]]:
        # "gpu" means .to(self.device) there; "cpu" would pin memory, which needs a driver
        return super()._load_images(split, cache_images_device if torch.cuda.is_available() else "gpu")
