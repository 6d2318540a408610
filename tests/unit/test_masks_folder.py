"""Masks brought in from other tools: what is read, and the one clear error for what cannot be."""

import json
import shutil

import numpy as np
import pytest
from mask_scenes import SIZE, random_boxes, write_photos
from PIL import Image

from click_gaussian_ns.masks.config import MaskConfig
from click_gaussian_ns.masks.extract import prepare_level_maps
from click_gaussian_ns.masks.levels import level_maps
from click_gaussian_ns.masks.mask_files import read_label_map

NAMES = ("coarse", "fine")


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "images", 3)


def write_maps(folder, photos, size=SIZE, names=NAMES, dtype=np.uint16):
    rng = np.random.default_rng(0)
    written = {}
    for photo in photos:
        for name in names:
            labels = rng.integers(0, 5, size).astype(dtype)
            path = folder / name / f"{photo.stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels).save(path)
            written[photo.stem, name] = labels
    return written


def prepared(folder, photos, sizes=None, **fields):
    return prepare_level_maps(MaskConfig(mask_dir=folder, **fields), photos, sizes or [SIZE] * len(photos))


def test_label_maps_come_back_as_they_are(tmp_path, photos):
    written = write_maps(tmp_path / "masks", photos)
    source = prepared(tmp_path / "masks", photos)
    assert source.names == NAMES
    assert len(source) == 3
    for index, photo in enumerate(photos):
        for name in NAMES:
            np.testing.assert_array_equal(source[index].level(name), written[photo.stem, name])


def test_eight_bit_maps_are_read_too(tmp_path, photos):
    written = write_maps(tmp_path / "masks", photos, dtype=np.uint8)
    np.testing.assert_array_equal(
        prepared(tmp_path / "masks", photos)[1].level("fine"), written[photos[1].stem, "fine"]
    )


def test_maps_of_the_photos_size_serve_views_of_another(tmp_path, photos):
    written = write_maps(tmp_path / "masks", photos)
    half = (SIZE[0] // 2, SIZE[1] // 2)
    source = prepared(tmp_path / "masks", photos, [half] * 3)
    np.testing.assert_array_equal(source[0].level("coarse"), written[photos[0].stem, "coarse"][1::2, 1::2])


def test_three_levels_need_three_folders(tmp_path, photos):
    write_maps(tmp_path / "masks", photos, names=("coarse", "middle", "fine"))
    assert prepared(tmp_path / "masks", photos, mask_levels="three-level-area").names == ("coarse", "middle", "fine")
    shutil.rmtree(tmp_path / "masks" / "middle")
    with pytest.raises(ValueError, match="middle is missing: expected label maps of coarse, middle, fine"):
        prepared(tmp_path / "masks", photos, mask_levels="three-level-area")


def test_binary_masks_are_levelled(tmp_path, photos):
    segments = {photo.stem: random_boxes(seed, 4, SIZE) for seed, photo in enumerate(photos)}
    for stem, boxes in segments.items():
        (tmp_path / "masks" / stem).mkdir(parents=True)
        for number, box in enumerate(boxes):
            from click_gaussian_ns.masks.segmenter import decode_mask

            Image.fromarray(decode_mask(box.rle).astype(np.uint8) * 255).save(
                tmp_path / "masks" / stem / f"{number}.png"
            )
    source = prepared(tmp_path / "masks", photos)
    for index, photo in enumerate(photos):
        plain = [type(s)(s.rle, s.area, 1.0, 1.0) for s in segments[photo.stem]]
        np.testing.assert_array_equal(source[index].maps, level_maps(plain, "area", SIZE).maps)


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: {"annotations": a}], ids=["list", "SA-1B"])
@pytest.mark.parametrize("compressed", [True, False])
def test_coco_json_is_levelled(tmp_path, photos, wrap, compressed):
    (tmp_path / "masks").mkdir()
    segments = {photo.stem: random_boxes(seed, 4, SIZE) for seed, photo in enumerate(photos)}
    for stem, boxes in segments.items():
        annotations = [
            {
                "segmentation": {"size": list(SIZE), "counts": counts_of(box, compressed)},
                "predicted_iou": box.predicted_iou,
                "stability_score": box.stability,
                "level": box.level,
            }
            for box in boxes
        ]
        (tmp_path / "masks" / f"{stem}.json").write_text(json.dumps(wrap(annotations)))
    for rule in ("area", "three-level-score"):
        source = prepared(tmp_path / "masks", photos, mask_levels=rule)
        for index, photo in enumerate(photos):
            expected = level_maps(segments[photo.stem], rule, SIZE)
            np.testing.assert_array_equal(source[index].maps, expected.maps)


def counts_of(box, compressed):
    if compressed:
        return box.rle["counts"].decode()
    from click_gaussian_ns.masks.segmenter import decode_mask

    flat = decode_mask(box.rle).ravel(order="F").astype(int)
    bounds = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    return [int(run) for run in np.diff(np.concatenate([[0], bounds]))]


def resize(folder, photos):
    for name in NAMES:
        Image.fromarray(np.ones((10, 10), np.uint16)).save(folder / name / "photo_001.png")


def resize_one_level(folder, photos):
    Image.fromarray(np.ones((10, 10), np.uint16)).save(folder / "fine" / "photo_001.png")


def colour(folder, photos):
    Image.fromarray(np.full((*SIZE, 3), (1, 2, 3), np.uint8)).save(folder / "coarse" / "photo_001.png")


def damage(folder, photos):
    path = folder / "coarse" / "photo_001.png"
    path.write_bytes(path.read_bytes()[:60])


def empty(folder, photos):
    for name in NAMES:
        for photo in photos:
            Image.fromarray(np.zeros(SIZE, np.uint16)).save(folder / name / f"{photo.stem}.png")


def rename(folder, photos):
    for name in NAMES:
        for photo in photos:
            (folder / name / f"{photo.stem}.png").rename(folder / name / f"other_{photo.stem}.png")


def clear(folder, photos):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (resize, r"masks of photo_001\.png in .* are 10x10 px: expected 64x48 px"),
        (resize_one_level, r"masks of photo_001\.png in .* are 10x10 px: expected 64x48 px, or another size"),
        (colour, r"coarse/photo_001\.png has RGB pixels: expected a greyscale PNG of 16 bits"),
        (damage, r"coarse/photo_001\.png cannot be read as an image"),
        (empty, r"holds no segment for any of the 3 photos"),
        (rename, r"holds masks of other images, .*\(6 \.png: coarse/other_photo_000\.png, .*none of photo_000\.png"),
        (clear, r"holds no masks: expected label maps \{coarse,fine\}/NAME\.png, "),
        (lambda folder, photos: shutil.rmtree(folder), r"does not exist"),
    ],
)
def test_bad_label_maps_get_one_clear_error(tmp_path, photos, spoil, message):
    write_maps(tmp_path / "masks", photos)
    spoil(tmp_path / "masks", photos)
    with pytest.raises(ValueError, match=message):
        prepared(tmp_path / "masks", photos)


def test_label_above_sixteen_bits_is_an_error(tmp_path):
    Image.fromarray(np.full(SIZE, 70000, np.int32)).save(tmp_path / "map.tif")
    with pytest.raises(ValueError, match="segment IDs above 65535"):
        read_label_map(tmp_path / "map.tif")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"photo_000\.json is not a list of COCO masks"),
        ('[{"bbox": [0, 0, 1, 1]}]', r"photo_000\.json is not a list of COCO masks \(KeyError"),
        ('[{"segmentation": {"size": [48, 64], "counts": "04"}}]', r"garbled or do not cover the 64x48 pixels"),
        ('[{"segmentation": {"size": [48, 64], "counts": [5, 7]}}]', r"garbled or do not cover the 64x48 pixels"),
        ('[{"segmentation": {"size": [48, 64], "counts": "!!"}}]', r"garbled or do not cover the 64x48 pixels"),
        (
            '[{"segmentation": {"size": [1, 2], "counts": [1, 1]}}, {"segmentation": {"size": [2, 1], "counts": [2]}}]',
            r"photo_000\.json: mask 1 is 1x2 px, but mask 0 is 2x1 px",
        ),
        ('[{"segmentation": {"size": [48, 64], "counts": [3072]}, "level": 7}]', r"level 7 is none of 0 \(whole\)"),
    ],
)
def test_bad_json_gets_one_clear_error(tmp_path, photos, text, message):
    (tmp_path / "masks").mkdir()
    for photo in photos:
        (tmp_path / "masks" / f"{photo.stem}.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        prepared(tmp_path / "masks", photos)


def test_one_photo_without_segments_is_a_warning(tmp_path, photos, caplog):
    write_maps(tmp_path / "masks", photos)
    for name in NAMES:
        Image.fromarray(np.zeros(SIZE, np.uint16)).save(tmp_path / "masks" / name / "photo_001.png")
    prepared(tmp_path / "masks", photos)
    assert "found no segment in photo_001.png" in caplog.text


def test_photos_that_differ_in_their_ending_alone_are_an_error(tmp_path):
    (first,) = write_photos(tmp_path / "images", 1)
    Image.open(first).save(first.with_suffix(".bmp"))
    photos = [first, first.with_suffix(".bmp")]
    write_maps(tmp_path / "masks", photos)
    with pytest.raises(ValueError, match="two photos are called photo_000"):
        prepared(tmp_path / "masks", photos)
