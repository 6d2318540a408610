"""A file is whole or not there, and nothing else is left beside it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from click_gaussian_ns.files import (
    folder_aside,
    folder_replaced,
    refuse_existing,
    save_picture,
    write_renamed,
    written_aside,
)


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.txt"
    write_renamed(path, b"old")

    def fail() -> None:
        with written_aside(path) as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        fail()
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]
    write_renamed(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(("name", "kind"), [("a.jpg", "JPEG"), ("a.PNG", "PNG")])
def test_a_picture_has_the_format_of_its_name(tmp_path: Path, name: str, kind: str) -> None:
    picture = np.full((4, 6, 3), 128, np.uint8)
    save_picture(tmp_path / name, picture, quality=90)
    assert Image.open(tmp_path / name).format == kind
    assert np.abs(np.asarray(Image.open(tmp_path / name)).astype(int) - picture).max() <= 2


def test_a_picture_without_a_known_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.xyz: a picture's name must end in \.jpg or \.png"):
        save_picture(tmp_path / "a.xyz", np.zeros((2, 2, 3), np.uint8), quality=90)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    refuse_existing(tmp_path / "new.ply", False, "give another --name")
    refuse_existing(tmp_path, True, "give another --name")
    with pytest.raises(ValueError, match="exists already: give another --name, or --overwrite to replace it"):
        refuse_existing(tmp_path, False, "give another --name")


def test_a_folder_aside_takes_away_what_killed_processes_left(tmp_path: Path) -> None:
    """Those of processes that live are left alone, and so is what only looks like it."""
    code = (
        "import os, sys; from pathlib import Path; from click_gaussian_ns.files import folder_aside\n"
        "with folder_aside(Path(sys.argv[1])) as aside: (aside / 'half').touch(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "coarse_objects")], check=False)
    (left,) = tmp_path.iterdir()
    living = left.with_name(f".coarse_objects.{os.getppid()}-{'0' * 32}.part")
    foreign = left.with_name(".users.part")
    for folder in (living, foreign):
        folder.mkdir()
    with folder_aside(tmp_path / "fine_objects") as aside:
        assert set(tmp_path.iterdir()) == {living, foreign, aside}
        (aside / "file").touch()
    assert set(tmp_path.iterdir()) == {living, foreign}


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "mug"
    folder.mkdir()
    (folder / "old").touch()

    def replace(fail: bool) -> None:
        with folder_replaced(folder):
            folder.mkdir()
            (folder / "new").touch()
            if fail:
                raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        replace(fail=True)
    assert list(folder.iterdir()) == [folder / "old"]
    replace(fail=False)
    assert list(folder.iterdir()) == [folder / "new"]
    assert list(tmp_path.iterdir()) == [folder]
