"""The folder that `click-gaussian poses` fills: what in it is ours, what is kept between calls, and the last renames.

DATA/images/, DATA/sparse/   photos and models; they appear at the end, whole
DATA/poses.json, poses.jpg   what was found; poses.json appears last
DATA/.poses/                 the work: COLMAP's database, kept and used again; what is not yet finished
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click_gaussian_ns.files import write_renamed

REPORT, PICTURE = "poses.json", "poses.jpg"
_MADE = {"images", "sparse", PICTURE, REPORT}
_OTHERS_SCENE = ("colmap", "transforms.json")
"""nerfstudio would read these in place of ours."""
_LAST = ("sparse", REPORT)
"""Put there in this order, after all others, and taken away first, in the other one: photos without a model are no
scene, but a model without its photos breaks the trainer."""


class Workplace:
    """`data` is DATA above."""

    def __init__(self, data: Path):
        self.data = data
        self.work = data / ".poses"
        self.images = self.work / "images"
        self.numbered = self.work / "numbered"
        self.models = self.work / "sparse"
        self.database = self.work / "database.db"

    def refuse_foreign(self, images: Path) -> None:
        """Nothing of the user's is replaced, and nothing is written into the photos' folder.

        Raises:
            ValueError: there is something that no earlier `poses` made, or the photos and the output overlap.
        """
        data, source = self.data.resolve(), images.resolve()
        made = [data / name for name in ("images", "sparse", self.work.name)]
        if data == source or source in data.parents or any(at == source or at in source.parents for at in made):
            raise ValueError(
                f"--output-dir {self.data} and --images {images} are in each other's way: nothing is written where the "
                f"photos are. Give another --output-dir, for example {source.parent / (source.stem + '_with_poses')}"
            )
        if self.data.exists() and not self.data.is_dir():
            raise ValueError(f"--output-dir {self.data} is a file: expected a folder, or a name that is free")
        found = [path.name for path in self._outputs()] if not self._is_ours() else []
        for name in (*found, *_OTHERS_SCENE):
            if os.path.lexists(self.data / name):
                raise ValueError(
                    f"{self.data / name} is there already and was not made by `click-gaussian poses`: give another "
                    "--output-dir"
                )

    def _outputs(self) -> list[Path]:
        """What is there under names that the command gives, in the order in which it is taken away."""
        found = sorted(path for path in self.data.glob("*") if path.name in _MADE)
        return sorted(found, key=lambda path: -_LAST.index(path.name) - 1 if path.name in _LAST else 0)

    def _is_ours(self) -> bool:
        """Whether an earlier call made what is there under these names."""
        return self.finished() is not None or (self.work / "finishing").exists()

    def finished(self) -> dict[str, Any] | None:
        """What the call wrote down that finished last; None if none did."""
        try:
            report = json.loads((self.data / REPORT).read_text(encoding="utf8"))
        except (OSError, ValueError):
            return None
        return report if isinstance(report, dict) and "key" in report else None

    def is_whole(self) -> bool:
        """Whether what a finished call made is still there."""
        return (self.data / "sparse" / "0" / "images.bin").is_file() and (self.data / "images").is_dir()

    @contextmanager
    def held(self) -> Iterator[None]:
        """While the block runs, no other process works in the same folder. A killed one lets go of it.

        Raises:
            ValueError: one does.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        with (self.work / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ValueError(
                    f"another `click-gaussian poses` is at work in {self.data}: wait for it, or give another "
                    "--output-dir"
                ) from error
            except OSError:  # some network drives have no locks
                pass
            yield

    def begin(self, key: Mapping[str, Any]) -> bool:
        """Make room for the work. Features and matches stay if they were made of the same photos and settings.

        Args:
            key: all that they depend on.

        Returns:
            whether some stayed.
        """
        noted = self.work / "key.json"
        text = json.dumps(key, sort_keys=True)
        same = noted.is_file() and noted.read_text(encoding="utf8") == text
        if not same:
            for file in self.work.glob(f"{self.database.name}*"):
                file.unlink()
            write_renamed(noted, text.encode())
        for leftover in (self.images, self.numbered, self.models):
            _remove(leftover)
        for folder in (self.images, self.numbered, self.models):
            folder.mkdir()
        return same and self.database.is_file()

    def finish(self, report: Mapping[str, Any]) -> None:
        """Put photos, models, the report and the picture, which lies in `work`, where they belong.

        What an earlier call made goes away first.
        """
        for name in ("mapper", "summary.json", "largest.npz"):
            _remove(self.models / name)
        write_renamed(self.work / REPORT, json.dumps(report, indent=1).encode())
        old = self.work / "old"
        _remove(old)
        old.mkdir()
        write_renamed(self.work / "finishing", b"")
        for path in self._outputs():
            os.replace(path, old / path.name)
        new = [path.name for path in self.work.iterdir() if path.name in _MADE and path.name not in _LAST]
        for name in (*sorted(new), *_LAST):
            os.replace(self.work / name, self.data / name)
        for leftover in (old, self.numbered, self.work / "finishing"):
            _remove(leftover)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
