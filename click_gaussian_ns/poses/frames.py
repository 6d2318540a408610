"""A video's sharp frames: the sharpest of each stretch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

_JPEG_QUALITY = 95
_COMPARED_SIDE_PX = 960
"""Frames are compared downscaled to this longer side: noise of single pixels is not sharpness."""


def sharpness(frame: UInt8[np.ndarray, "H W 3"]) -> float:
    """Variance of the Laplacian of the grey picture: larger is sharper, among pictures of the same thing."""
    grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
    scale = _COMPARED_SIDE_PX / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def sharpest_of_stretches(scores: Iterator[float], length: int, num_stretches: int) -> Iterator[tuple[int, bool]]:
    """Go through the frames of a video once, and say which one is the best of its stretch so far.

    Args:
        scores: sharpness of the frames, in their order.
        length: how many frames there are; the last stretch is longer or shorter if there are others.
        num_stretches: how many frames are wanted.

    Yields:
        for each frame its stretch, and whether it is the sharpest of it so far.
    """
    num_stretches = min(num_stretches, length)
    current, best = -1, 0.0
    for index, score in enumerate(scores):
        stretch = min(index * num_stretches // length, num_stretches - 1)
        is_best = stretch != current or score > best
        if is_best:
            current, best = stretch, score
        yield stretch, is_best


def write_sharp_frames(video: Path, num_frames: int, folder: Path, tell: Callable[[int, int], None]) -> list[str]:
    """Write the sharpest frame of each of `num_frames` stretches of a video, as JPEGs of high quality.

    Args:
        video: the file.
        num_frames: how many; fewer are written if the video has fewer.
        folder: where they go. They are called after their place in the video, from 0.
        tell: is called with how many frames of how many were looked at.

    Returns:
        their names.

    Raises:
        ValueError: the file is no video that OpenCV can read.
    """
    length = _count_frames(video)
    frames = _frames(video)
    chosen: dict[int, tuple[int, UInt8[np.ndarray, "H W 3"]]] = {}
    names: list[str] = []
    latest: list[UInt8[np.ndarray, "H W 3"]] = []

    def scores() -> Iterator[float]:
        for frame in frames:
            latest[:] = [frame]
            yield sharpness(frame)

    def write(stretch: int) -> None:
        index, frame = chosen.pop(stretch)
        names.append(f"frame_{index:06d}.jpg")
        # Pillow writes it without thinning out colours, which OpenCV does
        picture = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        picture.save(folder / names[-1], quality=_JPEG_QUALITY, subsampling=0)

    for index, (stretch, is_best) in enumerate(sharpest_of_stretches(scores(), length, num_frames)):
        if chosen and stretch not in chosen:
            write(min(chosen))
        if is_best:
            chosen[stretch] = (index, latest[0])
        tell(index + 1, max(length, index + 1))
    if chosen:
        write(min(chosen))
    if not names:
        raise _unreadable(video)
    return names


def _unreadable(video: Path) -> ValueError:
    return ValueError(
        f"{video} cannot be read as a video: expected a file that OpenCV opens, such as .mp4 or .mov in H.264; copy it "
        "again or convert it, or give a folder of photos"
    )


def _count_frames(video: Path) -> int:
    """What the file claims; where it claims nothing, its frames are counted."""
    capture = cv2.VideoCapture(str(video))
    try:
        claimed = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if claimed > 0:
            return claimed
        counted = 0
        while capture.grab():
            counted += 1
    finally:
        capture.release()
    if not counted:
        raise _unreadable(video)
    return counted


def _frames(video: Path) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """In colour (blue, green, red), upright: OpenCV turns those of a phone that was held upright."""
    capture = cv2.VideoCapture(str(video))
    try:
        while True:
            ok, frame = capture.read()
            if not ok:
                return
            yield np.asarray(frame, np.uint8)
    finally:
        capture.release()
