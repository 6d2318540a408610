"""Photos rendered of a bare .ply: found again by what they were made of, and no file of the user is touched."""

import dataclasses
import json
from pathlib import Path

import pytest
from splats_factory import random_splats

from click_gaussian_ns.scenes.splat_data import SplatDataParserConfig, rendered_views
from click_gaussian_ns.splats.ply import write_ply


@pytest.fixture
def config(tmp_path: Path) -> SplatDataParserConfig:
    write_ply(tmp_path / "scene.ply", random_splats(40))
    return SplatDataParserConfig(
        data=tmp_path / "scene.ply",
        num_views=3,
        num_test_views=1,
        width=32,
        height=24,
        placement="outside-in",
        views_dir=tmp_path / "views",
    )


def test_views_are_rendered_once_and_read_by_their_record(config: SplatDataParserConfig) -> None:
    folder = rendered_views(config)
    (folder / "0000-edited.png").write_bytes(b"the user's own, added later")
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    parser = config.setup()
    train, test = (parser.get_dataparser_outputs(split) for split in ("train", "val"))
    assert sorted(path.name for path in (*train.image_filenames, *test.image_filenames)) == [
        f"{index:04d}.png" for index in range(4)
    ]
    assert len(train.cameras) == len(train.image_filenames)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_views_of_something_else_are_refused(config: SplatDataParserConfig, tmp_path: Path) -> None:
    rendered_views(config)
    with pytest.raises(ValueError, match=r"views holds views of another \.ply or other settings .*delete the folder"):
        rendered_views(dataclasses.replace(config, width=40))
    write_ply(config.data, random_splats(41))
    with pytest.raises(ValueError, match=r"views holds views of another \.ply or other settings"):
        rendered_views(config)


@pytest.mark.parametrize("text", ["", "[]", '{"focal": 30.0, "camera_to_worlds": []}'])
def test_a_foreign_record_is_refused(config: SplatDataParserConfig, text: str) -> None:
    assert config.views_dir is not None
    config.views_dir.mkdir()
    (config.views_dir / "views.json").write_text(text)
    with pytest.raises(ValueError, match=r"views\.json is no record of rendered views"):
        rendered_views(config)


def test_a_missing_view_is_named(config: SplatDataParserConfig) -> None:
    folder = rendered_views(config)
    assert len(json.loads((folder / "views.json").read_text())["names"]) == 4
    (folder / "0002.png").unlink()
    with pytest.raises(ValueError, match=r"0002\.png is missing, a photo that was rendered earlier"):
        rendered_views(config)


def test_a_folder_of_the_users_own_is_left_alone(config: SplatDataParserConfig) -> None:
    assert config.views_dir is not None
    config.views_dir.mkdir()
    own = config.views_dir / "0000.png"
    own.write_bytes(b"the user's own")
    with pytest.raises(ValueError, match=r"it is no empty folder and has no views\.json"):
        rendered_views(config)
    assert own.read_bytes() == b"the user's own"
    with pytest.raises(ValueError, match="it is no empty folder"):
        rendered_views(dataclasses.replace(config, views_dir=own))
