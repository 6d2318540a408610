"""Files and folders that appear whole or not at all: written under another name beside their place, then renamed."""

from __future__ import annotations

import atexit
import logging
import math
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8, UInt16

logger = logging.getLogger(__name__)

DEBUG = "CLICK_GAUSSIAN_DEBUG"
"""Environment variable: set, an error shows where in the code it came from."""

_TEMPORARY_NAME = re.compile(r".+\.[0-9a-f]{32}\.tmp")
_FOLDER_ASIDE = re.compile(r"\..+\.(\d+)-[0-9a-f]{32}\.part")


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks: for messages of our own."""
    return " ".join(str(error).split())


def listed(names: Sequence[str], most: int = 3) -> str:
    """A few names, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A name for this call alone to write to; renamed to `path` if the block ends well, removed if it does not.

    A missing parent folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """A new folder beside `path` for this call alone, which is gone afterwards with all that is still in it.

    Those that killed processes left there are removed: the name holds the process's ID.
    """
    import psutil

    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(".*.part"):
        found = _FOLDER_ASIDE.fullmatch(left.name)
        if found and not psutil.pid_exists(int(found[1])):
            shutil.rmtree(left, ignore_errors=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex}.part")
    aside.mkdir()
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def folder_replaced(path: Path) -> Iterator[None]:
    """While the block writes a new folder at `path`, an old one is out of the way: it comes back if the block fails."""
    with folder_aside(path) as aside:
        old = aside / "old"
        if path.exists():
            os.replace(path, old)
        try:
            yield
        except BaseException:
            if old.exists():
                shutil.rmtree(path, ignore_errors=True)
                os.replace(old, path)
            raise


def cache_home() -> Path:
    """The user's cache folder of this package, whether it is there or not."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "click-gaussian-ns"


def cache_folder(name: str) -> Path:
    """A folder of the user's cache, made where it is missing; a temporary one where nothing can be written there."""
    folder = cache_home() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        return _temporary_cache(folder, str(error))


@cache
def _temporary_cache(folder: Path, reason: str) -> Path:
    """One for as long as the process lasts."""
    temporary = Path(tempfile.mkdtemp(prefix=f"click-gaussian-ns-{folder.name}-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    logger.warning(
        "%s cannot be written to (%s): what belongs there is made anew each time, in %s. Set XDG_CACHE_HOME to a "
        "folder that can",
        folder,
        reason,
        temporary,
    )
    return temporary


def refuse_existing(path: Path, overwrite: bool, instead: str) -> None:
    """The rule of all commands that write what a user named: nothing is replaced unasked.

    Raises:
        ValueError: there is something at `path`; `instead` is another way out, as in "give another --name".
    """
    if path.exists() and not overwrite:
        raise ValueError(f"{path} exists already: {instead}, or --overwrite to replace it")


def is_written_aside(path: Path) -> bool:
    """Whether a file's name is one that `written_aside` gives."""
    return _TEMPORARY_NAME.fullmatch(path.name) is not None and path.is_file()


def write_renamed(path: Path, data: bytes) -> None:
    """Write a whole file: readers see all of it or none."""
    with written_aside(path) as temporary:
        temporary.write_bytes(data)


def read_npy(path: Path, expected: str) -> np.ndarray:
    """The array of a .npy file. Runs no code of the file, and takes no memory for more than it holds.

    Args:
        path: the file.
        expected: what it should be, for errors: a sentence.

    Raises:
        ValueError: it is missing, cut off or damaged, or no .npy of numbers.
    """
    try:
        with path.open("rb") as file:
            check_npy_header(file, path.stat().st_size)
        return np.load(path, allow_pickle=False)
    # numpy reads the header as Python's source, and passes on all that can go wrong there
    except Exception as error:
        raise ValueError(f"{path}: cannot be read as a .npy file ({one_line(error)}). {expected}") from error


def check_npy_header(file: Any, size: int) -> None:
    """Numbers in a .npy file are not more than it has bytes for.

    Args:
        file: open, at its beginning.
        size: of the file, bytes.

    Raises:
        ValueError: they are more; numpy raises all kinds for what is no .npy.
    """
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    # by Python's whole numbers: numpy's would wrap around
    promised, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if promised > held:
        raise ValueError(f"it promises {promised} bytes of numbers and has {held}")


def read_torch_file(path: Path, advice: str, *, mmap: bool = False) -> Any:
    """What `torch.save` wrote, on the CPU. Runs no code of the file.

    Args:
        path: the file.
        advice: what was expected and what to do, for the error.
        mmap: leave tensors on disk until they are read; refuses files of PyTorch before 1.6.

    Raises:
        ValueError: truncated, no such file, or one with other objects than tensors and plain values.
    """
    import torch

    try:
        return torch.load(str(path), map_location="cpu", weights_only=True, mmap=mmap)
    # PyTorch passes on all that can go wrong in a damaged pickle
    except Exception as error:
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"{path}: cannot be read as a checkpoint ({reason[0] if reason else type(error).__name__}). {advice}"
        ) from error


def save_picture(
    path: Path, picture: UInt8[np.ndarray, "H W *channels"] | UInt16[np.ndarray, "H W"], quality: int = 95
) -> None:
    """Write a picture in the format that its name ends in; `quality` is that of a JPEG, 1 to 95."""
    from PIL import Image

    with written_aside(path) as temporary:
        Image.fromarray(picture).save(temporary, format=_picture_format(path), quality=quality)


def _picture_format(path: Path) -> str:
    from PIL import Image

    found = Image.registered_extensions().get(path.suffix.lower())
    if found is None:
        raise ValueError(f"{path}: a picture's name must end in .jpg or .png")
    return found
