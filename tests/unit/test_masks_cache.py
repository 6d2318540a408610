"""The cache: what was written comes back, anything else is noticed."""

import json
import os

import numpy as np
import pytest

from click_gaussian_ns.masks.cache import DamagedCacheFile, ImageSegments, SegmentCache
from click_gaussian_ns.masks.segmenter import Segment, encode_masks

FIELDS = {"image": "a" * 64, "generator": "sam", "sam.points_per_side": 32, "sam.box_nms_thresh": 0.7}


def found(seed: int = 0) -> ImageSegments:
    masks = np.random.default_rng(seed).random((3, 5, 7)) < 0.5
    return ImageSegments(
        (5, 7),
        tuple(
            Segment(rle, int(mask.sum()), predicted_iou=0.1 + 0.2, stability=1 / 3, level=level, standalone=level != 1)
            for rle, mask, level in zip(encode_masks(masks), masks, (None, 0, 1))
        ),
    )


def test_segments_come_back_exactly(tmp_path):
    cache = SegmentCache(tmp_path)
    assert cache.read(FIELDS) is None
    cache.write(FIELDS, found())
    assert SegmentCache(tmp_path).read(FIELDS) == found()
    assert cache.read({**FIELDS, "sam.points_per_side": 16}) is None


def test_two_photos_of_one_content_share_a_file(tmp_path):
    cache = SegmentCache(tmp_path)
    for folder in ("a", "b"):
        cache.note(tmp_path / folder / "photo.jpg", FIELDS)
        cache.write(FIELDS, found())
    assert len(list(tmp_path.glob("segments/*/*.json"))) == 1
    assert len(list(tmp_path.glob("manifest/*.json"))) == 2


def test_manifest_is_readable_and_names_what_changed(tmp_path):
    cache = SegmentCache(tmp_path)
    photo = tmp_path / "photo.jpg"
    assert cache.changed_fields(photo, FIELDS) == []
    cache.write(FIELDS, found())
    cache.note(photo, FIELDS)
    (manifest,) = tmp_path.glob("manifest/photo-*.json")
    content = json.loads(manifest.read_text())
    assert content["image"] == str(photo)
    assert content["key"]["sam.points_per_side"] == 32
    assert (tmp_path / "segments" / content["file"][:2] / content["file"]).is_file()
    changed = {**FIELDS, "sam.points_per_side": 16, "image": "b" * 64}
    assert cache.changed_fields(photo, changed) == ["image changed", "sam.points_per_side changed from 32 to 16"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "truncated or no cache file"),
        (lambda text: b"", "truncated or no cache file"),
        (lambda text: b"\xff\xfe junk", "truncated or no cache file"),
        (lambda text: b"[1, 2]", "truncated or no cache file"),
        (lambda text: text.replace(b'"area": 1', b'"area": 2'), "was altered"),
        (lambda text: text.replace(b'"generator": "sam"', b'"generator": "foo"'), "segments of something else"),
    ],
    ids=["half", "empty", "binary", "foreign", "altered", "renamed"],
)
def test_damaged_files_are_noticed(tmp_path, damage, message):
    cache = SegmentCache(tmp_path)
    cache.write(FIELDS, found())
    path = cache.path(FIELDS)
    text = path.read_bytes()
    assert damage(text) != text
    path.write_bytes(damage(text))
    with pytest.raises(DamagedCacheFile, match=message):
        cache.read(FIELDS)


def test_no_temporary_file_is_left(tmp_path):
    cache = SegmentCache(tmp_path)
    cache.write(FIELDS, found())
    assert list(tmp_path.rglob("*.tmp")) == []


def test_only_what_a_killed_writer_left_is_removed(tmp_path):
    cache = SegmentCache(tmp_path)
    cache.write(FIELDS, found())
    own = [cache.path(FIELDS), tmp_path / "manifest" / "photo-0123456789ab.json"]
    stale = [path.with_name(f"{path.name}.{'0a' * 16}.tmp") for path in own]
    young = [path.with_name(f"{path.name}.{'1b' * 16}.tmp") for path in own]
    foreign = [tmp_path / "notes.tmp", tmp_path / "work" / "a.tmp", cache.path(FIELDS).with_name("thesis.tmp")]
    foreign.append(tmp_path / "work" / stale[0].name)
    folder = tmp_path / "manifest" / f"folder.{'2c' * 16}.tmp"
    folder.mkdir()
    (tmp_path / "work").mkdir()
    for path in (*stale, *young, *foreign):
        path.write_bytes(b"x")
    for path in (*stale, *foreign, folder):
        os.utime(path, (0, 0))
    SegmentCache(tmp_path)
    assert not any(path.exists() for path in stale)
    assert all(path.exists() for path in (*young, *foreign, folder))
