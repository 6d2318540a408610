"""The stage: what is segmented again and what is not, and why; sizes, statistics, exports and bad settings."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
from mask_scenes import SIZE, BoxSegmenter, random_boxes, write_photos
from PIL import Image

from click_gaussian_ns import cli
from click_gaussian_ns.masks import checkpoints, extract, resolve, sam_cost
from click_gaussian_ns.masks.command import run_masks
from click_gaussian_ns.masks.config import MaskConfig, SamConfig, SuperpixelConfig
from click_gaussian_ns.masks.extract import prepare_level_maps
from click_gaussian_ns.masks.levels import level_maps
from click_gaussian_ns.masks.provenance import provenance, read_provenance, write_provenance
from click_gaussian_ns.masks.resolve import resolve_generator


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "images", 4)


@pytest.fixture
def segmenter(monkeypatch):
    """Stands in for `superpixels`, to count calls and control what is found."""
    boxes = BoxSegmenter()
    monkeypatch.setattr(extract, "make_segmenter", lambda config, device: boxes)
    return boxes


def stage(tmp_path, photos, sizes=None, **fields):
    config = MaskConfig(mask_generator="superpixels", mask_cache_dir=tmp_path / "cache", **fields)
    return prepare_level_maps(config, photos, sizes or [SIZE] * len(photos))


def test_maps_are_the_levels_of_the_segments(tmp_path, photos, segmenter):
    source = stage(tmp_path, photos)
    assert segmenter.calls == 4
    for index, photo in enumerate(photos):
        boxes = random_boxes(int(np.array(Image.open(photo)).astype(np.int64).sum()), 5, SIZE)
        np.testing.assert_array_equal(source[index].maps, level_maps(boxes, "area", SIZE).maps)


def test_nothing_is_segmented_twice(tmp_path, photos, segmenter):
    first = [stage(tmp_path, photos)[i].maps for i in range(4)]
    again = stage(tmp_path, photos)
    relevelled = stage(tmp_path, photos, mask_levels="three-level-area")
    assert segmenter.calls == 4
    np.testing.assert_array_equal(first, [again[i].maps for i in range(4)])
    assert relevelled.names == ("coarse", "middle", "fine")
    assert relevelled[0].maps.shape == (3, *SIZE)


def test_a_copy_of_the_scene_elsewhere_is_not_segmented_again(tmp_path, photos, segmenter):
    stage(tmp_path, photos)
    stage(tmp_path, write_photos(tmp_path / "copy", 4))
    assert segmenter.calls == 4


def test_a_changed_setting_is_named(tmp_path, photos, segmenter, caplog):
    stage(tmp_path, photos)
    assert caplog.text == ""
    segmenter.count = 6
    stage(tmp_path, photos)
    assert segmenter.calls == 8
    assert (
        "Segmenting photo_000.png, photo_001.png, photo_002.png and 1 more again: boxes.count changed from 5 to 6"
        in caplog.text
    )


def test_a_changed_photo_is_named(tmp_path, photos, segmenter, caplog):
    stage(tmp_path, photos)
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(photos[2])
    stage(tmp_path, photos)
    assert segmenter.calls == 5
    assert "Segmenting photo_002.png again: image changed" in caplog.text


def test_a_damaged_file_is_made_again(tmp_path, photos, segmenter, caplog):
    before = stage(tmp_path, photos)
    files = sorted((tmp_path / "cache" / "segments").glob("*/*.json"))
    contents = [file.read_bytes() for file in files]
    files[0].write_bytes(contents[0][:100])
    after = stage(tmp_path, photos)
    assert segmenter.calls == 5
    assert f"{files[0]} is truncated or no cache file" in caplog.text
    assert [file.read_bytes() for file in files] == contents
    np.testing.assert_array_equal([before[i].maps for i in range(4)], [after[i].maps for i in range(4)])


def test_a_file_deleted_while_in_use_is_named(tmp_path, photos, segmenter):
    source = stage(tmp_path, photos, resident_mb=0)
    for file in (tmp_path / "cache" / "segments").glob("*/*.json"):
        file.unlink()
    with pytest.raises(ValueError, match=r"segments of .*photo_000\.png .* were deleted while in use"):
        source[0]


def test_long_photos_are_segmented_small_and_brought_back(tmp_path, segmenter):
    photos = write_photos(tmp_path / "images", 1, size=(96, 128))
    source = stage(tmp_path, photos, [(96, 128)], max_side=32)
    maps = source[0].maps
    assert maps.shape == (2, 96, 128)
    np.testing.assert_array_equal(maps, np.kron(maps[:, ::4, ::4], np.ones((1, 4, 4), np.uint16)))


def test_resident_maps_are_bounded(tmp_path, photos, segmenter):
    source = stage(tmp_path, photos, resident_mb=1)
    kept = source[0]
    assert source[0] is kept
    one_map_bytes = kept.maps.nbytes
    assert one_map_bytes * 4 < 2**20
    unbounded = stage(tmp_path, photos, resident_mb=0)
    assert unbounded[0] is not unbounded[0]


def test_photos_without_segments_are_named(tmp_path, photos, segmenter, caplog):
    segmenter.count = 0
    stage(tmp_path, photos)
    assert "found no segment in photo_000.png, photo_001.png, photo_002.png and 1 more" in caplog.text


def test_command_writes_maps_statistics_and_a_contact_sheet(tmp_path, photos, segmenter, capsys):
    config = MaskConfig(mask_generator="superpixels", mask_cache_dir=tmp_path / "cache")
    out, sheet = tmp_path / "out", tmp_path / "sheet.png"
    statistics = run_masks(config, photos, output_dir=out, preview=sheet)
    source = prepare_level_maps(MaskConfig(mask_dir=out), photos, [SIZE] * 4)
    original = prepare_level_maps(config, photos, [SIZE] * 4)
    for index in range(4):
        np.testing.assert_array_equal(source[index].maps, original[index].maps)
    coarse = original[1].level("coarse")
    assert statistics[1].image == "photo_001.png"
    assert statistics[1].levels["coarse"].num_segments == len(set(np.unique(coarse)) - {0})
    assert statistics[1].levels["coarse"].unassigned_share == pytest.approx(np.mean(coarse == 0))
    assert len(json.loads((out / "statistics.json").read_text())) == 4
    assert Image.open(sheet).size == (3 * 320, 4 * 240)
    assert "segments per image" in capsys.readouterr().out


def test_contact_sheet_draws_borders_and_darkens_the_unassigned():
    from click_gaussian_ns.masks.preview import label_colors, overlay_labels

    photo = np.full((4, 6, 3), 200, np.uint8)
    labels = np.zeros((4, 6), np.uint16)
    labels[:, 3:] = 1
    picture = overlay_labels(photo, labels)
    assert (picture[:, 3] == 255).all()
    assert (picture[:, 0] == 70).all()
    assert picture[0, 5].tolist() != picture[0, 0].tolist()
    assert len(np.unique(label_colors(50), axis=0)) == 50


def test_auto_prefers_a_folder_then_weights_at_hand_then_superpixels(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CLICK_GAUSSIAN_CHECKPOINTS", str(tmp_path))
    assert resolve_generator(MaskConfig(mask_dir=tmp_path)) == "folder"
    assert resolve_generator(MaskConfig()) == "superpixels"
    assert "SAM is not used (there is no GPU). Segments: superpixels, which know" in caplog.text
    (tmp_path / "sam_vit_h_4b8939.pth").write_bytes(b"weights")
    assert resolve_generator(MaskConfig()) == "sam"
    assert resolve_generator(MaskConfig(sam=SamConfig(model="vit_b"))) == "superpixels"


@pytest.mark.parametrize("allowed", [True, False])
def test_auto_downloads_sam_with_a_gpu_if_it_may(allowed: bool, tmp_path, monkeypatch, caplog):
    """And says why not where it cannot: the server here is one that nobody answers at."""
    monkeypatch.setenv("CLICK_GAUSSIAN_CHECKPOINTS", str(tmp_path))
    nowhere = replace(checkpoints.OFFICIAL["vit_h"], url="http://127.0.0.1:9/sam_vit_h_4b8939.pth")
    monkeypatch.setitem(checkpoints.OFFICIAL, "vit_h", nowhere)
    assert resolve_generator(MaskConfig(sam=SamConfig(download=allowed)), "cuda") == "superpixels"
    reason = "could not be downloaded" if allowed else "sam_vit_h_4b8939.pth are missing"
    assert "SAM is not used (the weights" in caplog.text and reason in caplog.text
    assert ("Downloading sam_vit_h_4b8939.pth once, 2,565 MB, from http://127.0.0.1:9" in caplog.text) == allowed
    monkeypatch.setattr(checkpoints, "_download", lambda weights, path, place: path.write_bytes(b"weights"))
    if allowed:
        assert resolve_generator(MaskConfig(), "cuda") == "sam"


def test_what_sam_would_take_is_said_of_the_first_photo(tmp_path, monkeypatch, caplog, photos):
    monkeypatch.setenv("CLICK_GAUSSIAN_CHECKPOINTS", str(tmp_path))
    asked = []
    monkeypatch.setattr(resolve, "seconds_per_photo", lambda photo: asked.append(photo) or 90.0)
    assert resolve_generator(MaskConfig(), "cpu", photos) == "superpixels"
    assert asked == [photos[0]]
    assert "SAM ViT-B would take about 90 s per photo on this CPU, 6 min for all 4" in caplog.text


def test_what_sam_takes_is_measured_once(tmp_path, monkeypatch, photos):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = sam_cost.seconds_per_photo(photos[0])
    if first is None:
        assert sam_cost.free_memory_bytes() < 6 * 2**30
        return
    assert 1 < first < 10_000
    monkeypatch.setattr(sam_cost, "_measure", None)
    assert sam_cost.seconds_per_photo(photos[1]) == first


@pytest.mark.parametrize("generator", ["superpixels", "sam", "sam2", "folder"])
def test_what_made_segments_is_kept(tmp_path, generator: str):
    config = MaskConfig(mask_generator=generator, mask_dir=tmp_path)
    found = provenance(config)
    write_provenance(tmp_path, found)
    assert read_provenance(tmp_path) == found and read_provenance(tmp_path / "none") is None
    assert ("Better:" in found.sentence) == (generator == "superpixels")


def test_contradicting_settings_are_errors(tmp_path, photos):
    with pytest.raises(ValueError, match=r"generator folder needs --mask-dir DIR \(ns-train: --pipeline"):
        prepare_level_maps(MaskConfig(mask_generator="folder"), photos, [SIZE] * 4)
    with pytest.raises(ValueError, match=r"is read by the generator folder only, not by sam: use --generator folder"):
        prepare_level_maps(MaskConfig(mask_generator="sam", mask_dir=tmp_path), photos, [SIZE] * 4)


def test_three_levels_of_a_segmenter_without_levels_are_refused_before_it_runs(tmp_path, photos, segmenter):
    segmenter.gives_levels = False
    with pytest.raises(ValueError, match=r"three-level-score need a generator that knows levels.*use --levels area"):
        stage(tmp_path, photos, mask_levels="three-level-score")
    assert segmenter.calls == 0


def test_bad_photo_is_named_and_finished_ones_are_kept(tmp_path, photos, segmenter):
    data = photos[3].read_bytes()
    photos[3].write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"photo_003\.png is damaged"):
        stage(tmp_path, photos)
    photos[3].write_bytes(data)
    stage(tmp_path, photos)
    assert segmenter.calls == 4


def test_superpixels_without_a_splat_find_the_coloured_shapes(tmp_path):
    photos = write_photos(tmp_path / "images", 2, size=(120, 160))
    config = MaskConfig(
        mask_generator="superpixels",
        mask_cache_dir=tmp_path / "cache",
        superpixels=SuperpixelConfig(fine=8.0, coarse=150.0),
    )
    source = prepare_level_maps(config, photos, [(120, 160)] * 2)
    for index, photo in enumerate(photos):
        colors = np.array(Image.open(photo)).reshape(-1, 3)
        values, counts = np.unique(colors, axis=0, return_counts=True)
        for value in values[counts > 150]:
            shape = (colors == value).all(axis=1)
            fine = source[index].level("fine").reshape(-1)
            label = np.bincount(fine[shape]).argmax()
            overlap = np.sum(shape & (fine == label)) / np.sum(shape | (fine == label))
            assert overlap > 0.8
        coarse, fine = source[index].maps
        assert len(np.unique(coarse)) < len(np.unique(fine))


def test_logging_is_quiet_when_all_is_well(tmp_path, photos, segmenter, caplog):
    with caplog.at_level(logging.INFO):
        stage(tmp_path, photos)
        stage(tmp_path, photos)
    assert caplog.text == ""


def test_photos_that_would_share_a_label_map_are_refused_before_segmenting(tmp_path, segmenter):
    (first,) = write_photos(tmp_path, 1)
    Image.open(first).save(first.with_suffix(".bmp"))
    photos = [first, first.with_suffix(".bmp")]
    config = MaskConfig(mask_generator="superpixels", mask_cache_dir=tmp_path / "cache")
    with pytest.raises(ValueError, match=r"two photos are called photo_000: masks in .*out go by name"):
        run_masks(config, photos, output_dir=tmp_path / "out")
    assert segmenter.calls == 0
    assert len(run_masks(config, photos)) == 2


def test_nothing_of_the_users_is_replaced(tmp_path, photos, segmenter):
    config = MaskConfig(mask_generator="superpixels", mask_cache_dir=tmp_path / "cache")
    mine = tmp_path / "out" / "fine" / f"{photos[2].stem}.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    before = photos[0].read_bytes()
    with pytest.raises(ValueError, match=r"fine/photo_002.png exists already: give another --output-dir"):
        run_masks(config, photos, output_dir=tmp_path / "out")
    with pytest.raises(ValueError, match=r"photo_000.png exists already: give another --preview"):
        run_masks(config, photos, preview=photos[0])
    assert mine.read_bytes() == b"mine" and photos[0].read_bytes() == before and segmenter.calls == 0
    run_masks(config, photos, output_dir=tmp_path / "out", overwrite=True)
    assert mine.read_bytes() != b"mine"
    run_masks(config, photos, output_dir=tmp_path / "out")  # its own are made anew


def test_label_maps_of_photos_in_folders_come_back(tmp_path, segmenter):
    """Two photos of one name, in two folders."""
    photos = [*write_photos(tmp_path / "cam1", 1), *write_photos(tmp_path / "cam2", 1, seed=1)]
    config = MaskConfig(mask_generator="superpixels", mask_cache_dir=tmp_path / "cache")
    run_masks(config, photos, output_dir=tmp_path / "out")
    made = prepare_level_maps(config, photos, [SIZE] * 2)
    read = prepare_level_maps(MaskConfig(mask_dir=tmp_path / "out"), photos, [SIZE] * 2)
    assert not np.array_equal(made[0].maps, made[1].maps)
    for index in range(2):
        np.testing.assert_array_equal(read[index].maps, made[index].maps)


@pytest.mark.parametrize("has_gpu", [False, True])
def test_the_command_segments_on_the_gpu_where_there_is_one(tmp_path, monkeypatch, has_gpu):
    devices = []
    monkeypatch.setattr("click_gaussian_ns.masks.command.run_masks", lambda *args, **kwargs: devices.append(args[4]))
    monkeypatch.setattr("torch.cuda.is_available", lambda: has_gpu)
    write_photos(tmp_path, 1)
    cli.main(["masks", "--data", str(tmp_path)])
    assert devices == ["cuda" if has_gpu else "cpu"]
