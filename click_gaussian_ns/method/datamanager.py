"""Photos with poses for nerfstudio, and for training: pixels of one view with their segments.

Every `ns-*` command imports this module: kernels and segmenters are imported where they are used.
"""

from __future__ import annotations

import copy
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from torch import Tensor

from click_gaussian_ns.geometry.rooms import Rooms, camera_rooms
from click_gaussian_ns.masks.config import MaskConfig, level_names_of
from click_gaussian_ns.masks.lens import Lens
from click_gaussian_ns.masks.photo_names import photo_names
from click_gaussian_ns.masks.provenance import Provenance
from click_gaussian_ns.masks.segmenter import GuidanceSource
from click_gaussian_ns.method.settings import ClickGaussianDataManagerConfig
from click_gaussian_ns.scenes.kept_cameras import applied_transform, asked_for, read_cameras, write_cameras
from click_gaussian_ns.scenes.photo_dataset import PhotoDataManager
from click_gaussian_ns.scenes.views import NamedView, lens_view, photo_sizes
from click_gaussian_ns.splats.scene import read_applied_transform
from click_gaussian_ns.types import UNASSIGNED, LevelMapSource, PinholeView


def held_out_views(num_views: int, every: int) -> list[int]:
    """Every so-manieth view, from the middle of each run of so many; none where `every` is 0 or there are fewer."""
    return list(range(every // 2, num_views - num_views % every, every)) if every else []


class ClickGaussianDataManager(PhotoDataManager):
    """Holds label maps instead of photos; photos are loaded for evaluation only.

    The view of a step and its pixels depend on the step and the seed alone, so a resumed run sees the same.
    """

    config: ClickGaussianDataManagerConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: ClickGaussianDataManagerConfig, test_mode: str = "val", **kwargs: Any) -> None:
        self._of_scene = config
        kept = None if test_mode == "val" else read_cameras(config.kept_cameras, asked_for(config))
        if kept is not None:
            # the run's own settings go on naming the scene
            config = copy.copy(config)
            config.dataparser = kept
        super().__init__(config, test_mode=test_mode, **kwargs)
        # the model gets the train dataset's metadata, and nothing else of the data
        outputs = self.train_dataparser_outputs
        self.train_dataset.metadata.update(
            dataparser_transform=outputs.dataparser_transform,
            dataparser_scale=outputs.dataparser_scale,
            applied_transform=read_applied_transform(Path(self.config.dataparser.data))
            if kept is None
            else applied_transform(kept),
            level_names=level_names_of(self.config.mask_levels),
            # an opened run has its geometry, and perhaps no scene any more
            camera_rooms=self.camera_rooms if self.test_mode == "val" else None,
        )
        self._level_maps: LevelMapSource | None = None
        self.provenance: Provenance | None = None
        self._unassigned_shares: dict[int, float] = {}
        self._pixel_tables: dict[int, Any] = {}

    def keep_cameras(self) -> None:
        """Write the run's file of cameras, if it is to have one."""
        if self.config.kept_cameras is not None:
            write_cameras(
                self.config.kept_cameras,
                asked_for(self.config),
                Path(self.config.dataparser.data),
                self.train_dataset._dataparser_outputs,
                # training evaluates on "val", an opened run on "test"
                self.dataparser.get_dataparser_outputs(split="test"),
            )

    @cached_property
    def _straight(self) -> list[tuple[PinholeView, Lens | None]]:
        cameras = self.train_dataset.cameras
        return [lens_view(cameras[i : i + 1]) for i in range(len(self.train_dataset))]

    @property
    def train_views(self) -> list[PinholeView]:
        """Views of the training photos, undistorted, in the dataset's order."""
        return [view for view, _ in self._straight]

    @cached_property
    def named_views(self) -> list[NamedView]:
        """Views of all photos: those for training, then those for testing."""
        train, test = self.train_dataset, self.eval_dataset
        known = set(train.image_filenames)
        also = [i for i, path in enumerate(test.image_filenames) if path not in known]
        names = photo_names([*train.image_filenames, *(test.image_filenames[i] for i in also)])
        found = [
            NamedView(path, name, view, train.cameras[i : i + 1], "train")
            for i, (path, name, view) in enumerate(zip(train.image_filenames, names, self.train_views))
        ]
        for i, name in zip(also, names[len(train) :]):
            camera = test.cameras[i : i + 1]
            found.append(NamedView(test.image_filenames[i], name, lens_view(camera)[0], camera, "test"))
        return found

    def sfm_points(self) -> Float[Tensor, "P 3"] | None:
        """SfM's points of the scene in the frame of its cameras, read anew; None where it has none.

        Raises:
            ValueError: the scene cannot be read (any more).
        """
        parser: Any = copy.deepcopy(self._of_scene.dataparser)
        if not hasattr(parser, "load_3D_points"):
            return None
        parser.load_3D_points, parser.data = True, Path(self._of_scene.data or parser.data)
        points = parser.setup().get_dataparser_outputs("train").metadata.get("points3D_xyz")
        return None if points is None or len(points) == 0 else points.float()

    def camera_rooms(self) -> Rooms | None:
        """What is empty before the cameras of all photos; None where there are no points to tell by."""
        points = self.sfm_points()
        return None if points is None else camera_rooms(points, [named.view for named in self.named_views])

    @property
    def has_masks(self) -> bool:
        """Whether `prepare_masks` has run."""
        return self._level_maps is not None

    @cached_property
    def level_maps(self) -> LevelMapSource:
        """Label maps of the training views; `prepare_masks` must have run.

        Cached so that nerfstudio's viewer, which reads every other property, leaves it alone.
        """
        assert self._level_maps is not None, "prepare_masks() has not run"
        return self._level_maps

    def prepare_masks(self, guidance: GuidanceSource | None) -> None:
        """Run the mask stage, or find its results in the cache."""
        from click_gaussian_ns.masks.extract import prepare_level_maps

        made = prepare_level_maps(
            self.mask_config,
            self.train_dataset.image_filenames,
            self.photo_sizes,
            guidance,
            torch.device(self.device),
            self.train_dataset.photo_mask,
            [lens for _, lens in self._straight],
        )
        self._level_maps, self.provenance = made, made.provenance

    @property
    def mask_config(self) -> MaskConfig:
        """The part of the settings that the mask stage takes."""
        return MaskConfig(**{field.name: getattr(self.config, field.name) for field in fields(MaskConfig)})

    @property
    def photo_sizes(self) -> list[tuple[int, int]]:
        """(height, width) of the training photos as their cameras have them, px."""
        return photo_sizes(self.train_dataset.cameras)

    @cached_property
    def held_out(self) -> list[int]:
        """Training views that no step sees."""
        return held_out_views(len(self.train_dataset), self.config.hold_out_every)

    @cached_property
    def learned_views(self) -> list[int]:
        """Training views that steps see."""
        return sorted(set(range(len(self.train_dataset))) - set(self.held_out))

    def next_train(self, step: int) -> tuple[Cameras, dict[str, Any]]:
        """The view of a step (each learned view once per epoch), its `pixel_ids` [P] and their `labels` [L, P].

        All on the CPU, where the rows of the pixels are made.
        """
        from click_gaussian_ns.features.sampling import pixel_table, sample_pixels

        views = self.learned_views
        order = np.random.default_rng((self.config.seed, step // len(views))).permutation(len(views))
        index = views[int(order[step % len(views)])]
        rng = np.random.default_rng((self.config.seed, step, 0))
        maps, power = self.level_maps[index], self.config.sampling_power
        if index not in self._pixel_tables:
            self._pixel_tables[index] = pixel_table(maps, power)
        pixels = sample_pixels(maps, self.config.num_pixels, rng, power, self._pixel_tables[index])
        camera = self.train_dataset.cameras[index : index + 1]
        camera.metadata = {**(camera.metadata or {}), "cam_idx": index}
        return camera, {
            "image_idx": index,
            "pixel_ids": pixels.pixel_ids,
            "labels": pixels.labels,
        }

    def unassigned_share(self, index: int) -> float:
        """Share of a training view's pixels that no segment covers, in [0, 1]."""
        if index not in self._unassigned_shares:
            covered = (self.level_maps[index].maps != UNASSIGNED).any(axis=0)
            self._unassigned_shares[index] = 1.0 - float(covered.mean())
        return self._unassigned_shares[index]

    def get_train_rays_per_batch(self) -> int:
        """Sampled pixels per step (the base class would load every photo to count its pixels)."""
        return self.config.num_pixels
