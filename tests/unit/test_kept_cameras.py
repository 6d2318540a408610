"""A run's own cameras: exact, of the test split, and only where they are what is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from nerfstudio.cameras.cameras import Cameras, CameraType
from nerfstudio.data.dataparsers.base_dataparser import DataparserOutputs

from click_gaussian_ns.scenes.kept_cameras import applied_transform, read_cameras, write_cameras

ASKED = ["/data", None]


def outputs(count: int) -> DataparserOutputs:
    generator = torch.Generator().manual_seed(count)
    cameras = Cameras(
        camera_to_worlds=torch.randn(count, 3, 4, generator=generator),
        fx=torch.rand(count, 1, generator=generator) * 100,
        fy=torch.rand(count, 1, generator=generator) * 100,
        cx=torch.rand(count, 1, generator=generator) * 100,
        cy=torch.rand(count, 1, generator=generator) * 100,
        width=torch.full((count, 1), 64),
        height=torch.full((count, 1), 48),
        distortion_params=torch.randn(count, 6, generator=generator),
        camera_type=CameraType.FISHEYE,
    )
    photos = [Path(f"/photos/cam{i % 2}/{i}.png") for i in range(count)]
    return DataparserOutputs(photos, cameras, dataparser_transform=torch.randn(3, 4), dataparser_scale=0.1)


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, DataparserOutputs, DataparserOutputs]:
    rows = [[0, 1, 0, 0.5], [1, 0, 0, 0], [0, 0, -1, 0]]
    (tmp_path / "transforms.json").write_text(json.dumps({"applied_transform": rows, "applied_scale": 2.0}))
    train, test = outputs(7), outputs(3)
    write_cameras(tmp_path / "cameras.json", ASKED, tmp_path, train, test)
    return tmp_path / "cameras.json", train, test


def test_cameras_come_back_bit_for_bit(kept) -> None:
    path, train, test = kept
    config = read_cameras(path, ASKED)
    assert config is not None
    for split, expected in (("train", train), ("test", test), ("val", test)):
        found = config.setup().get_dataparser_outputs(split)
        assert found.image_filenames == expected.image_filenames
        for name in ("camera_to_worlds", "fx", "fy", "cx", "cy", "distortion_params", "width", "height", "camera_type"):
            assert torch.equal(getattr(found.cameras, name), getattr(expected.cameras, name)), name
        assert torch.equal(found.dataparser_transform, train.dataparser_transform)
        assert found.dataparser_scale == train.dataparser_scale
    applied = applied_transform(config)
    assert applied is not None and applied.scale == 2.0 and applied.translation.tolist() == [0.5, 0, 0]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"version": 9}', '{"version": 1, "asked": ["/data", null]}'])
def test_what_cannot_be_read_is_read_from_the_scene(kept, content: str) -> None:
    path, _, _ = kept
    assert read_cameras(path, ["/other", None]) is None and read_cameras(path, ["/data", 2]) is None
    path.write_text(content)
    assert read_cameras(path, ASKED) is None
    path.unlink()
    assert read_cameras(path, ASKED) is None and read_cameras(None, ASKED) is None
