"""The one reader of photos, for masks, geometry and evaluation: 8-bit sRGB in the pixel grid of the training views."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from click_gaussian_ns.masks.lens import Lens

_EXIF_ORIENTATION = 0x0112
_SWAPS_SIDES = (5, 6, 7, 8)


def _open(path: Path, data: bytes) -> Image.Image:
    return _opened(path, io.BytesIO(data))


def _opened(path: Path, file: Any) -> Image.Image:
    if not file.read(1):
        raise ValueError(f"{path} is empty (0 bytes): copy the photo again or remove it from the scene")
    file.seek(0)
    try:
        return Image.open(file)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} cannot be read as an image ({error}): "
            "expected a JPEG, PNG, TIFF or WebP photo; replace it or remove it from the scene"
        ) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged ({error}): copy the photo again or remove it from the scene")


@dataclass(frozen=True)
class PhotoHeader:
    """What a photo's file says before its pixels."""

    size: tuple[int, int]
    """(height, width) of the stored pixel grid, px."""
    orientation: int
    """EXIF's: 1 as stored, 5 to 8 stored sideways."""


def read_header(path: Path) -> PhotoHeader:
    """Of a photo's file; its pixels are not read.

    Raises:
        ValueError: there is no such file, or it is no image.
    """
    try:
        with path.open("rb") as file, _opened(path, file) as image:
            return _header(path, image)
    except OSError as error:
        raise _unopened(path, error) from error


def header_of(path: Path, data: bytes) -> PhotoHeader:
    """Of the bytes of a photo's file.

    Raises:
        ValueError: they are no image.
    """
    with _open(path, data) as image:
        return _header(path, image)


def _header(path: Path, image: Image.Image) -> PhotoHeader:
    try:
        return PhotoHeader((image.height, image.width), image.getexif().get(_EXIF_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError) as error:
        raise _damaged(path, error) from error


def fit_photo(path: Path, header: PhotoHeader, size: tuple[int, int]) -> tuple[tuple[int, int], bool]:
    """How a photo fits its training view: (height, width) of the photo in the view's orientation, and whether its EXIF
    flag must be applied to have it so.

    nerfstudio reads photos without looking at the flag, so the stored pixel grid is right as long as it has the
    view's proportions; a scene whose cameras were solved on upright copies has them the other way round.

    Args:
        path: names the photo in errors.
        header: of its file.
        size: (height, width) of the training view, px.

    Raises:
        ValueError: its proportions fit the view neither way.
    """
    height, width = header.size
    if same_proportions((height, width), size):
        return (height, width), False
    if header.orientation in _SWAPS_SIDES and same_proportions((width, height), size):
        return (width, height), True
    raise ValueError(
        f"{path} is {width}x{height} px, but its training view is {size[1]}x{size[0]} px: "
        "the proportions differ, so this is not the photo that the camera was solved for"
    )


def is_stored_sideways(path: Path, data: bytes, size: tuple[int, int]) -> bool:
    """Whether the photo must be turned by its EXIF flag to match its training view; see `fit_photo`."""
    return fit_photo(path, header_of(path, data), size)[1]


def read_photo(path: Path) -> bytes:
    """Bytes of a photo's file.

    Raises:
        ValueError: there is no such file.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unopened(path, error) from error


def _unopened(path: Path, error: OSError) -> ValueError:
    return ValueError(f"the photo {path} cannot be opened ({error.strerror}): check the paths of the scene")


def same_proportions(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Equal up to the rounding of a downscaled side to whole pixels."""
    return abs(a[0] * b[1] - a[1] * b[0]) <= max(max(a), max(b))


def decode_image(path: Path, data: bytes, *, turn: bool = False, max_side: int = 0) -> UInt8[np.ndarray, "H W 3"]:
    """Photo as 8-bit sRGB.

    Greyscale is repeated, 16-bit is scaled down, CMYK and palettes are converted, transparency is laid on white.

    Args:
        path: names the photo in errors.
        data: bytes of the file.
        turn: apply the EXIF orientation.
        max_side: longer images are downscaled to this longer side; 0 keeps the size.

    Raises:
        ValueError: the file is unreadable, truncated, or of a pixel format that is no photo.
    """
    with _open(path, data) as image:
        photo = _converted(path, image, turn)
    if photo.mode == "RGBA":
        photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), photo).convert("RGB")
    return np.array(_at_most(photo, max_side))


def decode_straight(
    path: Path, data: bytes, turn: bool, max_side: int, lens: Lens | None
) -> UInt8[np.ndarray, "H W 3"]:
    """`decode_image`, without the distortion of the photo's lens."""
    if lens is None:
        return decode_image(path, data, turn=turn, max_side=max_side)
    photo = Image.fromarray(decode_image(path, data, turn=turn))
    straight = lens.straighten(np.array(_resized(photo, lens.photo_size)))
    return np.array(_at_most(Image.fromarray(straight), max_side))


def _at_most(photo: Image.Image, max_side: int) -> Image.Image:
    """Downscaled to this longer side if it is longer; 0 keeps the size."""
    scale = max_side / max(photo.size) if max_side else 1.0
    if scale >= 1.0:
        return photo
    return _resized(photo, (max(1, round(photo.height * scale)), max(1, round(photo.width * scale))))


def decode_view(path: Path, size: tuple[int, int]) -> UInt8[np.ndarray, "H W C"]:
    """The photo of a training view at the view's size: RGB, or RGBA where it has transparency.

    Args:
        path: the photo's file.
        size: (height, width) of the view, px.

    Raises:
        ValueError: see `read_photo`, `fit_photo` and `decode_image`.
    """
    data = read_photo(path)
    turn = is_stored_sideways(path, data, size)
    with _open(path, data) as image:
        if image.format == "JPEG" and image.mode in ("L", "RGB"):
            # decodes at a half, a quarter or an eighth, never below what is asked for
            image.draft(None, (max(size), max(size)) if turn else (size[1], size[0]))
        photo = _converted(path, image, turn)
    return np.array(_resized(photo, size))


def _resized(photo: Image.Image, size: tuple[int, int]) -> Image.Image:
    if (photo.height, photo.width) == size:
        return photo
    return photo.resize((size[1], size[0]), Image.Resampling.LANCZOS)


def _converted(path: Path, image: Image.Image, turn: bool) -> Image.Image:
    """The pixels as RGB or RGBA, turned by the EXIF orientation if asked for."""
    try:
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _damaged(path, error) from error
    photo = _in_color(path, image)
    if turn:
        photo.info, exif = {}, image.getexif()
        photo.getexif()[_EXIF_ORIENTATION] = exif.get(_EXIF_ORIENTATION, 1)
        photo = ImageOps.exif_transpose(photo)
    return photo


def _in_color(path: Path, image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.float64)
        if grey.max(initial=0) > 65535 or grey.min(initial=0) < 0:
            raise ValueError(f"{path} has 32-bit pixels: expected an 8- or 16-bit photo")
        return Image.fromarray(np.round(grey / 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError(f"{path} has floating-point pixels: expected an 8- or 16-bit photo")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("RGB")
