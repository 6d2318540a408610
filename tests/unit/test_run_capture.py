"""Which of a run's photos its capture is measured by, and how they are read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs
from nerfstudio.data.scene_box import SceneBox
from PIL import Image
from small_run import small_run

from click_gaussian_ns.runs import capture
from click_gaussian_ns.runs.open_run import Run
from click_gaussian_ns.scenes.photo_dataset import PhotoDataset
from click_gaussian_ns.scenes.views import NamedView, lens_view

SIZE = (90, 120)
BENT = [-0.2, 0.0, 0.0, 0.0, 0.0, 0.0]


def dataset(folder: Path, names: list[str], distortion: list[float] | None = None) -> PhotoDataset:
    """Photos that are red at the left and green at the right; their masks leave out what is below."""
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[:, : SIZE[1] // 2, 0], picture[:, SIZE[1] // 2 :, 1] = 200, 200
    counted = np.zeros(SIZE, np.uint8)
    counted[: SIZE[0] // 2] = 255
    for name in names:
        Image.fromarray(picture).save(folder / f"{name}.png")
        Image.fromarray(counted).save(folder / f"{name}.mask.png")
    poses = torch.eye(4)[None, :3].repeat(len(names), 1, 1)
    bent = None if distortion is None else torch.tensor([distortion] * len(names))
    cameras = Cameras(poses, 100.0, 100.0, 60.0, 45.0, SIZE[1], SIZE[0], distortion_params=bent)
    box = SceneBox(aabb=torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    photos = [folder / f"{name}.png" for name in names]
    masks = [folder / f"{name}.mask.png" for name in names]
    return PhotoDataset(DataparserOutputs(image_filenames=photos, cameras=cameras, scene_box=box, mask_filenames=masks))


def run_of(folder: Path, train: PhotoDataset, test: PhotoDataset) -> Run:
    views = []
    for split, photos in (("train", train), ("test", test)):
        for i, path in enumerate(photos.image_filenames):
            if all(view.path != path for view in views):
                camera = photos.cameras[i : i + 1]
                views.append(NamedView(path, path.name, lens_view(camera)[0], camera, split))  # pyright: ignore[reportArgumentType]
    manager = SimpleNamespace(train_dataset=train, eval_dataset=test)
    return replace(small_run(folder, {}), views=views, pipeline=SimpleNamespace(datamanager=manager))


def test_of_many_photos_some_of_each_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "_MOST_PHOTOS", 3)
    run = run_of(tmp_path, dataset(tmp_path, list("abcde")), dataset(tmp_path, ["e", "f", "g"]))
    photos = list(capture._photos(capture._chosen(run)))
    assert [photo.name for photo in photos] == ["a.png", "c.png", "e.png", "f.png", "g.png"]
    assert [photo.split for photo in photos] == ["train"] * 3 + ["test"] * 2, "e is trained on, whatever else it is"


@pytest.mark.parametrize("distortion", [None, BENT])
def test_photos_come_as_their_views_have_them(tmp_path: Path, distortion: list[float] | None) -> None:
    run = run_of(tmp_path, dataset(tmp_path, ["a"], distortion), dataset(tmp_path, ["a"], distortion))
    (photo,) = capture._photos(capture._chosen(run))
    height, width = photo.view.height, photo.view.width
    assert photo.rgb.shape == (height, width, 3) and photo.counted.shape == (height, width)
    assert bool((photo.rgb[2 : height // 2 - 2, 2 : width // 2 - 2] == (200, 0, 0)).all())
    assert bool(photo.counted[2 : height // 2 - 2, 2:-2].all()) and not photo.counted[height // 2 + 2 :].any()
