"""A file is whole or not there, and nothing else is left beside it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from click_gaussian_ns.files import save_picture, write_renamed, written_aside


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
