"""Which view and which pixels a training step gets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mask_scenes import SIZE, write_photos
from PIL import Image

from click_gaussian_ns.method.datamanager import ClickGaussianDataManager
from click_gaussian_ns.method.methods import click_gaussian_method

NUM_VIEWS, NUM_PIXELS = 4, 50


@pytest.fixture
def make(tmp_path: Path):
    """Makes a datamanager of a seed over four training photos, whose masks differ and leave the right half out."""
    frames, names = [], []
    for index, path in enumerate(write_photos(tmp_path / "images", NUM_VIEWS + 1)):
        matrix = [[1.0, 0, 0, 0.2 * index], [0, 0, -1.0, -4.0], [0, 1.0, 0, 0], [0, 0, 0, 1]]
        names.append(f"images/{path.name}")
        frames.append({"file_path": names[-1], "transform_matrix": matrix})
        for level, cell in (("coarse", 12), ("fine", 6)):
            rows, columns = np.indices(SIZE)
            labels = np.where(columns < SIZE[1] // 2, 1 + index + rows // cell * 20 + columns // cell, 0)
            (tmp_path / "masks" / level).mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels.astype(np.uint16)).save(tmp_path / "masks" / level / f"{path.stem}.png")
    lens = {"fl_x": 60.0, "fl_y": 60.0, "cx": 32.0, "cy": 24.0, "w": SIZE[1], "h": SIZE[0]}
    splits = {"train_filenames": names[:-1], "val_filenames": names[-1:], "test_filenames": names[-1:]}
    meta = {"camera_model": "OPENCV", **lens, **splits, "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(meta))

    def made(seed: int = 0) -> ClickGaussianDataManager:
        config = click_gaussian_method().config.pipeline.datamanager
        config.data = config.dataparser.data = tmp_path
        config.mask_generator, config.mask_dir = "folder", tmp_path / "masks"
        config.num_pixels, config.seed = NUM_PIXELS, seed
        manager = config.setup(device="cpu", test_mode="val", world_size=1, local_rank=0)
        manager.prepare_masks(None)
        return manager

    return made


def test_every_step_has_pixels_of_its_own(make) -> None:
    """Of its view, with their labels, and none that no segment covers; the same in a run that is resumed."""
    manager, resumed = make(), make()
    seen = []
    for step in range(3 * NUM_VIEWS):
        camera, batch = manager.next_train(step)
        maps = manager.level_maps[batch["image_idx"]].maps.reshape(2, -1)
        assert camera.metadata["cam_idx"] == batch["image_idx"]
        assert batch["pixel_ids"].shape == (NUM_PIXELS,)
        assert (batch["labels"].numpy() == maps[:, batch["pixel_ids"]]).all() and (batch["labels"] > 0).all()
        seen.append(batch["pixel_ids"])
    assert len({tuple(ids.tolist()) for ids in seen}) == 3 * NUM_VIEWS
    assert torch.equal(resumed.next_train(7)[1]["pixel_ids"], seen[7])
    assert not torch.equal(make(seed=1).next_train(7)[1]["pixel_ids"], seen[7])


def test_every_view_comes_once_per_epoch_in_another_order(make) -> None:
    manager = make()
    order = [manager.next_train(step)[1]["image_idx"] for step in range(8 * NUM_VIEWS)]
    epochs = [tuple(order[start : start + NUM_VIEWS]) for start in range(0, len(order), NUM_VIEWS)]
    assert all(sorted(epoch) == list(range(NUM_VIEWS)) for epoch in epochs)
    assert len(set(epochs)) > 1


def test_no_step_sees_a_view_that_is_held_out(make) -> None:
    manager = make()
    manager.config.hold_out_every = 2
    assert manager.held_out == [1, 3]
    assert {manager.next_train(step)[1]["image_idx"] for step in range(20)} == {0, 2}


def test_the_share_that_no_segment_covers(make) -> None:
    assert make().unassigned_share(0) == pytest.approx(0.5)
