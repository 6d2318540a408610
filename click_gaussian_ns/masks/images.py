"""Reading photos as the trainer does: 8-bit RGB in the pixel grid of the training views."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

_EXIF_ORIENTATION = 0x0112
_SWAPS_SIDES = (5, 6, 7, 8)


def _open(path: Path, data: bytes) -> Image.Image:
    if not data:
        raise ValueError(f"{path} is empty (0 bytes): copy the photo again or remove it from the scene")
    try:
        return Image.open(io.BytesIO(data))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} cannot be read as an image ({error}): "
            "expected a JPEG, PNG, TIFF or WebP photo; replace it or remove it from the scene"
        ) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged ({error}): copy the photo again or remove it from the scene")


def is_stored_sideways(path: Path, data: bytes, size: tuple[int, int]) -> bool:
    """Whether the photo must be turned by its EXIF flag to match its training view.

    nerfstudio reads photos without looking at the flag, so the stored pixel grid is right as long as it has the
    view's proportions; a scene whose cameras were solved on upright copies has them the other way round.

    Args:
        path: names the photo in errors.
        data: bytes of the file; only its header is read.
        size: (height, width) of the training view, px.

    Raises:
        ValueError: the file is no image, or its proportions fit the view neither way.
    """
    with _open(path, data) as image:
        width, height = image.size
        if _same_proportions((height, width), size):
            return False
        try:
            orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
        except (OSError, SyntaxError) as error:
            raise _damaged(path, error) from error
    if orientation in _SWAPS_SIDES and _same_proportions((width, height), size):
        return True
    raise ValueError(
        f"{path} is {width}x{height} px, but its training view is {size[1]}x{size[0]} px: "
        "the proportions differ, so this is not the photo that the camera was solved for"
    )


def read_photo(path: Path) -> bytes:
    """Bytes of a photo's file.

    Raises:
        ValueError: there is no such file.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"the photo {path} cannot be opened ({error.strerror}): check the paths of the scene"
        ) from error


def stored_size(path: Path, data: bytes) -> tuple[int, int]:
    """(height, width) of a photo's stored pixel grid, px."""
    with _open(path, data) as image:
        return image.height, image.width


def photo_size(path: Path, data: bytes, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a photo in px, in the orientation of its training view (see `is_stored_sideways`)."""
    height, width = stored_size(path, data)
    return (width, height) if is_stored_sideways(path, data, size) else (height, width)


def _same_proportions(a: tuple[int, int], b: tuple[int, int]) -> bool:
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
        try:
            image.load()
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise _damaged(path, error) from error
        rgb = _to_rgb(path, image)
        if turn:
            rgb.info, exif = {}, image.getexif()
            rgb.getexif()[_EXIF_ORIENTATION] = exif.get(_EXIF_ORIENTATION, 1)
            rgb = ImageOps.exif_transpose(rgb)
    if max_side and max(rgb.size) > max_side:
        scale = max_side / max(rgb.size)
        rgb = rgb.resize(
            (max(1, round(rgb.width * scale)), max(1, round(rgb.height * scale))), Image.Resampling.LANCZOS
        )
    return np.array(rgb)


def _to_rgb(path: Path, image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.float64)
        if grey.max(initial=0) > 65535 or grey.min(initial=0) < 0:
            raise ValueError(f"{path} has 32-bit pixels: expected an 8- or 16-bit photo")
        return Image.fromarray(np.round(grey / 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError(f"{path} has floating-point pixels: expected an 8- or 16-bit photo")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
