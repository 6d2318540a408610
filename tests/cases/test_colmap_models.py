"""Where people's COLMAP models lie, and which of several is trained on."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import pytest
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig

from click_gaussian_ns.scenes.data_layout import guess_dataparser, num_registered, settle_dataparser
from click_gaussian_ns.scenes.transforms_json import read_transforms


def binary_model(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    photos = (struct.pack("<i7di", k, 1, *[0.0] * 6, 1) + b"0.png\0" + struct.pack("<Q", 0) for k in range(count))
    (folder / "images.bin").write_bytes(struct.pack("<Q", count) + b"".join(photos))


def text_model(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    lines = (f"{k} 1 0 0 0 0 0 0 1 a photo {k}.png\n{'1 2 -1' if k % 2 else ''}\n" for k in range(count))
    (folder / "images.txt").write_text("# Image list\n# two lines each\n" + "".join(lines))


def photos(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for index in range(count):
        (folder / f"{index}.JPG").write_bytes(b"")


PLACES = [
    # models and how many photos they hold; the photos' folder: expected model, folder
    pytest.param({"sparse/0": 12}, "images", "sparse/0", "images", id="3DGS scene"),
    pytest.param({"colmap/sparse/0": 12}, "images", "colmap/sparse/0", "images", id="ns-process-data"),
    pytest.param({"sparse": 12}, "images", "sparse", "images", id="sparse itself"),
    pytest.param({"sparse/1": 12}, "images", "sparse/1", "images", id="only sparse/1"),
    pytest.param({"sparse/0": 2, "sparse/1": 12}, "images", "sparse/1", "images", id="the second is larger"),
    pytest.param({"sparse/0": 2, "sparse/1": 5, "sparse/2": 4}, "images", "sparse/1", "images", id="of three"),
    pytest.param({"sparse/0": 3, "colmap/sparse/0": 2}, "images", "sparse/0", "images", id="not nerfstudio's own"),
    pytest.param({"sparse/0": 12, "distorted/sparse/0": 12}, "images", "sparse/0", "images", id="undistorted first"),
    pytest.param({"dense/0/sparse": 12}, "dense/0/images", "dense/0/sparse", "dense/0/images", id="dense/0"),
    pytest.param({"dense/sparse": 12}, "dense/images", "dense/sparse", "dense/images", id="dense"),
    pytest.param({"distorted/sparse/0": 12}, "input", "distorted/sparse/0", "input", id="distorted"),
    pytest.param({"sparse/0": 12}, "input", "sparse/0", "input", id="photos in input"),
]


@pytest.mark.parametrize("make", [binary_model, text_model])
@pytest.mark.parametrize(("models", "where", "expected", "folder"), PLACES)
def test_the_largest_model_is_found(make, models: dict, where: str, expected: str, folder: str, tmp_path: Path) -> None:
    for place, count in models.items():
        make(tmp_path / place, count)
    photos(tmp_path / where, 12)
    found = guess_dataparser(tmp_path)
    assert isinstance(found, ColmapDataParserConfig)
    assert (found.colmap_path, found.images_path) == (Path(expected), Path(folder))


def test_what_was_left_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    binary_model(tmp_path / "sparse/0", 2)
    binary_model(tmp_path / "sparse/1", 9)
    photos(tmp_path / "images", 30)
    with caplog.at_level(logging.WARNING):
        guess_dataparser(tmp_path)
    assert "COLMAP model sparse/1 with 9 photos is taken; there are also sparse/0 (2)" in caplog.text
    assert "COLMAP placed only 9 of 30 photos" in caplog.text


class Manager:
    def __init__(self, data: Path, parser: ColmapDataParserConfig) -> None:
        self.data, self.dataparser = data, parser


@pytest.mark.parametrize(("asked", "expected"), [(None, "sparse/1"), ("sparse/0", "sparse/0"), ("gone", "sparse/1")])
def test_a_model_that_was_asked_for_is_kept(asked: str | None, expected: str, tmp_path: Path) -> None:
    binary_model(tmp_path / "colmap/sparse/0", 1)
    binary_model(tmp_path / "sparse/0", 2)
    binary_model(tmp_path / "sparse/1", 9)
    parser = ColmapDataParserConfig(data=tmp_path)
    if asked is not None:
        parser.colmap_path = Path(asked)
    settle_dataparser(Manager(tmp_path, parser))
    assert parser.colmap_path == Path(expected)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, 500])
def test_a_damaged_model_is_refused(keep: int, tmp_path: Path) -> None:
    binary_model(tmp_path / "sparse/0", 12)
    path = tmp_path / "sparse/0/images.bin"
    path.write_bytes(path.read_bytes()[:keep])
    assert num_registered(path.parent) == 0
    with pytest.raises(ValueError, match=r"sparse/0: the COLMAP model holds no photos or is cut off"):
        guess_dataparser(tmp_path)


TRANSFORMS = [
    pytest.param(b'{"frames": [', "cannot be read as JSON", id="cut off"),
    pytest.param(b"", "cannot be read as JSON", id="empty"),
    pytest.param(b"\xef\xbb\xbf{}", "it lists no photos", id="byte order mark"),
    pytest.param(b"[1, 2]", "it lists no photos", id="a list"),
    pytest.param(b"{}", "it lists no photos", id="no frames"),
    pytest.param(b'{"frames": []}', "it lists no photos", id="no photo"),
    pytest.param(b'{"frames": [{"file_path": "a.png"}]}', "frame 0 has no `transform_matrix`", id="no pose"),
    pytest.param(b'{"frames": [{"transform_matrix": []}]}', "frame 0 has no `file_path`", id="no path"),
    pytest.param(b'{"frames": [3]}', "frame 0 has no `file_path`", id="no frame"),
]


@pytest.mark.parametrize(("content", "message"), TRANSFORMS)
def test_a_bad_transforms_json_is_refused_in_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "transforms.json").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_transforms(tmp_path / "transforms.json")
    assert str(error.value).startswith(f"{tmp_path / 'transforms.json'}: ") and "\n" not in str(error.value)


def test_a_damaged_model_beside_a_whole_one_is_passed_over(tmp_path: Path) -> None:
    binary_model(tmp_path / "sparse/0", 12)
    (tmp_path / "sparse/0/images.bin").write_bytes(b"")
    binary_model(tmp_path / "sparse/1", 3)
    found = guess_dataparser(tmp_path)
    assert isinstance(found, ColmapDataParserConfig) and found.colmap_path == Path("sparse/1")
