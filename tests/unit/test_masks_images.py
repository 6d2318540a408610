"""Photos of every kind become 8-bit RGB in the view's pixel grid, or get one clear error."""

import io

import numpy as np
import pytest
from PIL import Image

from click_gaussian_ns.masks.images import decode_image, fit_photo, header_of, is_stored_sideways, read_photo

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
SIZE = (12, 20)


def encoded(image: Image.Image, suffix: str = ".png", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=Image.registered_extensions()[suffix], **options)
    return buffer.getvalue()


def decoded(tmp_path, data: bytes, **options) -> np.ndarray:
    return decode_image(tmp_path / "photo", data, **options)


def test_greyscale_is_repeated(tmp_path):
    grey = RGB[..., 0]
    image = decoded(tmp_path, encoded(Image.fromarray(grey)))
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=2))


def test_sixteen_bits_are_scaled_down(tmp_path):
    grey = RGB[..., 0]
    image = decoded(tmp_path, encoded(Image.fromarray(grey.astype(np.uint16) * 257)))
    np.testing.assert_array_equal(image, np.repeat(grey[..., None], 3, axis=2))


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.dstack([RGB, np.where(np.arange(20) < 10, 0, 255)[None].repeat(12, 0)]).astype(np.uint8)
    image = decoded(tmp_path, encoded(Image.fromarray(rgba)))
    assert (image[:, :10] == 255).all()
    np.testing.assert_array_equal(image[:, 10:], RGB[:, 10:])


def test_cmyk_keeps_its_colours(tmp_path):
    flat = np.broadcast_to(np.array([200, 40, 90], np.uint8), RGB.shape)
    data = encoded(Image.fromarray(flat).convert("CMYK"), ".jpg", quality=95)
    assert np.abs(decoded(tmp_path, data).astype(int) - flat).max() <= 6


def test_palette_keeps_its_colours(tmp_path):
    flat = np.broadcast_to(np.array([200, 40, 90], np.uint8), RGB.shape)
    data = encoded(Image.fromarray(flat).convert("P", palette=Image.Palette.ADAPTIVE))
    assert np.abs(decoded(tmp_path, data).astype(int) - flat).max() <= 6


def exif_turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(Image.fromarray(RGB), exif=exif)


def test_exif_flag_is_ignored_where_the_stored_grid_is_the_views(tmp_path):
    data = exif_turned(6)
    assert not is_stored_sideways(tmp_path / "photo", data, SIZE)
    np.testing.assert_array_equal(decoded(tmp_path, data), RGB)


@pytest.mark.parametrize(("orientation", "quarter_turns"), [(6, -1), (8, 1)])
def test_exif_flag_is_applied_where_only_the_turned_grid_fits(tmp_path, orientation, quarter_turns):
    data = exif_turned(orientation)
    assert is_stored_sideways(tmp_path / "photo", data, (20, 12))
    assert fit_photo(tmp_path / "photo", header_of(tmp_path / "photo", data), (20, 12))[0] == (20, 12)
    np.testing.assert_array_equal(decoded(tmp_path, data, turn=True), np.rot90(RGB, quarter_turns))


def test_half_resolution_views_have_the_photos_proportions(tmp_path):
    data = encoded(Image.fromarray(np.zeros((539, 960, 3), np.uint8)))
    assert not is_stored_sideways(tmp_path / "photo", data, (270, 480))
    assert not is_stored_sideways(tmp_path / "photo", data, (269, 480))


def test_other_proportions_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"photo is 20x12 px, but its training view is 20x20 px"):
        is_stored_sideways(tmp_path / "photo", encoded(Image.fromarray(RGB)), (20, 20))


def test_long_photos_are_downscaled(tmp_path):
    assert decoded(tmp_path, encoded(Image.fromarray(RGB)), max_side=10).shape == (6, 10, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"photo is empty \(0 bytes\)"),
        (b"not an image at all", r"photo cannot be read as an image"),
        (encoded(Image.fromarray(RGB), ".jpg")[:-150], r"photo is damaged"),
        (encoded(Image.fromarray(np.zeros((4, 4), np.float32)), ".tif"), r"photo has floating-point pixels"),
        (
            encoded(Image.fromarray(np.full((4, 4), 70000, np.int32)), ".tif"),
            r"photo has 32-bit pixels",
        ),
    ],
    ids=["zero bytes", "unreadable", "truncated", "float", "32-bit"],
)
def test_bad_photos_get_one_clear_error(tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        decoded(tmp_path, data)


def test_missing_photo_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.jpg cannot be opened"):
        read_photo(tmp_path / "gone.jpg")
