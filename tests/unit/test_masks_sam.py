"""SAM for real: a small one with random weights, through checkpoint, points, masks, levels and cache."""

import hashlib
import http.server
import threading

import numpy as np
import pytest
import torch
from mask_scenes import write_photos
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.build_sam import sam_model_registry
from small_sam import small_sam, write_small_sam

from click_gaussian_ns.masks import automatic, checkpoints
from click_gaussian_ns.masks.checkpoints import OFFICIAL, OfficialWeights, checkpoint_digest, obtain_checkpoint
from click_gaussian_ns.masks.config import MaskConfig, SamConfig
from click_gaussian_ns.masks.extract import prepare_level_maps
from click_gaussian_ns.masks.levels import level_maps
from click_gaussian_ns.masks.sam import SamSegmenter, _build, load_sam

SIZE = (96, 128)
CPU = torch.device("cpu")
LOOSE = {"points_per_side": 8, "pred_iou_thresh": -1e9, "stability_score_thresh": 0.0}
"""Random weights pass no threshold."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_small_sam(tmp_path_factory.mktemp("weights") / "small.pth")


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    from PIL import Image

    (path,) = write_photos(tmp_path_factory.mktemp("photo"), 1, SIZE)
    return np.array(Image.open(path))


def config_of(checkpoint, **fields):
    return SamConfig(checkpoint=checkpoint, model="from-checkpoint", **{**LOOSE, **fields})


def test_a_checkpoint_tells_its_architecture(checkpoint):
    rebuilt, original = load_sam(checkpoint, "from-checkpoint"), small_sam()
    image = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        torch.testing.assert_close(rebuilt.image_encoder(image), original.image_encoder(image))
    assert [block.window_size for block in rebuilt.image_encoder.blocks] == [4, 0, 4]


def test_the_published_models_are_told_apart():
    with torch.device("meta"):
        for name in ("vit_h", "vit_l", "vit_b"):
            original = sam_model_registry[name]()
            found, rebuilt = _build(original.state_dict())
            assert found == name
            assert {k: v.shape for k, v in rebuilt.state_dict().items()} == {
                k: v.shape for k, v in original.state_dict().items()
            }
            assert [b.window_size for b in rebuilt.image_encoder.blocks] == [
                b.window_size for b in original.image_encoder.blocks
            ]


@pytest.mark.parametrize(
    "fields", [{}, {"crop_n_layers": 1, "points_per_side": 4}, {"min_mask_region_area": 40}, {"box_nms_thresh": 0.4}]
)
def test_the_level_free_set_is_the_generators_own(checkpoint, photo, fields):
    config = config_of(checkpoint, **fields)
    segments = [s for s in SamSegmenter(config, CPU).segment(photo, None) if s.standalone]
    generator = SamAutomaticMaskGenerator(small_sam(), **{**LOOSE, **fields}, output_mode="coco_rle")
    expected = [record for record in generator.generate(photo) if record["area"] > 0]
    assert expected
    assert [s.rle["counts"].decode() for s in segments] == [r["segmentation"]["counts"] for r in expected]
    assert [s.area for s in segments] == [r["area"] for r in expected]
    np.testing.assert_allclose([s.predicted_iou for s in segments], [r["predicted_iou"] for r in expected], rtol=1e-5)
    np.testing.assert_allclose([s.stability for s in segments], [r["stability_score"] for r in expected], rtol=1e-5)


def test_every_level_keeps_its_own_segments(checkpoint, photo):
    """The levels' sets are what the generator finds when the decoder answers with one of its three masks alone."""
    segments = SamSegmenter(config_of(checkpoint), CPU).segment(photo, None)
    for output in range(3):
        generator = SamAutomaticMaskGenerator(small_sam(), **LOOSE, output_mode="coco_rle")
        predict = generator.predictor.predict_torch
        generator.predictor.predict_torch = lambda *args, _p=predict, _o=output, **kwargs: tuple(
            found[:, _o : _o + 1] for found in _p(*args, **kwargs)
        )
        expected = sorted(r["segmentation"]["counts"] for r in generator.generate(photo) if r["area"] > 0)
        assert expected
        level = 2 - output
        assert sorted(s.rle["counts"].decode() for s in segments if s.level == level) == expected


@pytest.mark.parametrize("rule", ["area", "three-level-score", "three-level-area"])
def test_from_points_to_levels_through_the_cache(tmp_path, checkpoint, rule):
    photos = write_photos(tmp_path / "images", 2, SIZE)
    config = MaskConfig(
        mask_generator="sam", mask_cache_dir=tmp_path / "cache", mask_levels=rule, sam=config_of(checkpoint)
    )
    source = prepare_level_maps(config, photos, [SIZE] * 2)
    from PIL import Image

    for index, path in enumerate(photos):
        segments = SamSegmenter(config.sam, CPU).segment(np.array(Image.open(path)), None)
        np.testing.assert_array_equal(source[index].maps, level_maps(segments, rule, SIZE).maps)
        assert source[index].maps.any()


def test_another_checkpoint_and_threshold_are_named(tmp_path, checkpoint, caplog):
    photos = write_photos(tmp_path / "images", 1, SIZE)

    def run(**fields):
        config = MaskConfig(
            mask_generator="sam",
            mask_cache_dir=tmp_path / "cache",
            sam=config_of(fields.pop("checkpoint", checkpoint), points_per_batch=fields.pop("batch", None), **fields),
        )
        caplog.clear()
        prepare_level_maps(config, photos, [SIZE])
        return caplog.text

    assert run() == ""
    assert run(batch=5) == ""
    assert "sam.box_nms_thresh changed from 0.7 to 0.5" in run(box_nms_thresh=0.5)
    other = write_small_sam(tmp_path / "other.pth", seed=1)
    assert "sam.weights changed" in run(checkpoint=other, box_nms_thresh=0.5)


def test_batches_do_not_change_results(checkpoint, photo):
    by_size = [SamSegmenter(config_of(checkpoint, points_per_batch=n), CPU).segment(photo, None) for n in (7, 64)]
    assert [s.rle for s in by_size[0]] == [s.rle for s in by_size[1]]


def test_points_per_batch_follow_the_free_memory(monkeypatch):
    monkeypatch.setattr(automatic, "free_memory_bytes", lambda: 2**30)
    assert automatic.points_that_fit(1920 * 1080, CPU) == 5
    assert automatic.points_that_fit(64, CPU) == 256
    assert automatic.points_that_fit(10**9, CPU) == 1


def test_a_full_gpu_gets_smaller_batches(checkpoint, photo, monkeypatch):
    segmenter = SamSegmenter(config_of(checkpoint, points_per_batch=32), CPU)
    expected = segmenter.segment(photo, None)
    generator = segmenter._generator
    tried = []
    process = type(generator)._process_batch

    def limited(self, points, *args, **kwargs):
        tried.append(len(points))
        if len(points) > 8:
            raise torch.cuda.OutOfMemoryError("full")
        return process(self, points, *args, **kwargs)

    monkeypatch.setattr(type(generator), "_process_batch", limited)
    assert segmenter.segment(photo, None) == expected
    assert tried[:3] == [32, 16, 8]


def vit_b_shapes(path):
    torch.save({k: torch.zeros(1).expand(v.shape) for k, v in meta_vit_b().items()}, path)
    return path


def meta_vit_b():
    with torch.device("meta"):
        return sam_model_registry["vit_b"]().state_dict()


@pytest.mark.parametrize(
    ("make", "model", "message"),
    [
        (vit_b_shapes, "vit_h", r"weights\.pth holds the model vit_b, not vit_h: use the setting `model vit_b`"),
        (write_small_sam, "vit_b", r"holds the model of 3 blocks of width 32, not vit_b: .*`model from-checkpoint`"),
        (
            lambda path: torch.save({"conv.weight": torch.zeros(3)}, path),
            "vit_h",
            r"weights\.pth is no checkpoint of SAM",
        ),
        (lambda path: torch.save([1, 2], path), "vit_h", r"weights\.pth holds no table of weights"),
        (lambda path: path.write_bytes(b"hello"), "vit_h", r"weights\.pth: cannot be read as a checkpoint"),
        (lambda path: path.write_bytes(b""), "vit_h", r"weights\.pth: cannot be read as a checkpoint"),
        (
            lambda path: path.write_bytes(write_small_sam(path).read_bytes()[:20000]),
            "vit_h",
            r"weights\.pth: cannot be read as a checkpoint .*truncated",
        ),
        (lambda path: torch.save(small_sam(), path), "vit_h", r"weights\.pth: cannot be read as a checkpoint"),
    ],
    ids=["vit_b", "small", "other", "list", "text", "zero bytes", "truncated", "pickled module"],
)
def test_bad_checkpoints_get_one_clear_error(tmp_path, make, model, message):
    path = tmp_path / "weights.pth"
    make(path)
    with pytest.raises(ValueError, match=message):
        load_sam(path, model)


def test_a_tensor_of_another_shape_is_named(tmp_path):
    weights = small_sam().state_dict()
    weights["mask_decoder.iou_token.weight"] = torch.zeros(2, 32)
    torch.save(weights, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"does not fit the architecture of SAM: .*iou_token"):
        load_sam(tmp_path / "weights.pth", "from-checkpoint")


def test_a_missing_given_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint .*gone\.pth does not exist"):
        SamSegmenter(SamConfig(checkpoint=tmp_path / "gone.pth"), CPU)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves 3 MB of "weights" on this machine, published as vit_b."""
    data = np.random.default_rng(0).bytes(3 * 2**20)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "sam_vit_b_01ec64.pth").write_bytes(data)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path / "served"))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{httpd.server_port}/sam_vit_b_01ec64.pth"
        monkeypatch.setenv("CLICK_GAUSSIAN_CHECKPOINTS", str(tmp_path / "checkpoints"))
        monkeypatch.setitem(
            OFFICIAL, "vit_b", OfficialWeights("sam_vit_b_01ec64.pth", url, hashlib.sha256(data).hexdigest(), 1)
        )
        yield data
        httpd.shutdown()
        thread.join()


def test_official_weights_are_downloaded_once(tmp_path, server):
    path = obtain_checkpoint(SamConfig(), "vit_b")
    assert path == tmp_path / "checkpoints" / "sam_vit_b_01ec64.pth"
    assert path.read_bytes() == server
    (tmp_path / "served" / path.name).unlink()
    assert obtain_checkpoint(SamConfig(), "vit_b") == path
    assert checkpoint_digest(SamConfig(), "vit_b", path) == OFFICIAL["vit_b"].sha256


def test_a_damaged_download_is_thrown_away(tmp_path, server):
    (tmp_path / "served" / "sam_vit_b_01ec64.pth").write_bytes(server[:-1])
    with pytest.raises(ValueError, match=r"download of http://127.* is damaged: its SHA-256 is"):
        obtain_checkpoint(SamConfig(), "vit_b")
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_damaged_official_weights_are_named(tmp_path, server):
    path = obtain_checkpoint(SamConfig(), "vit_b")
    path.write_bytes(server[:1000])
    with pytest.raises(ValueError, match=r"sam_vit_b_01ec64\.pth is damaged: its SHA-256 is .* Delete it"):
        checkpoint_digest(SamConfig(), "vit_b", path)


@pytest.mark.parametrize(("download", "reason"), [(True, "could not be downloaded"), (False, "are missing")])
def test_offline_the_message_says_what_to_do(tmp_path, monkeypatch, download, reason):
    monkeypatch.setenv("CLICK_GAUSSIAN_CHECKPOINTS", str(tmp_path))
    unreachable = OfficialWeights("sam_vit_l_0b3195.pth", "http://127.0.0.1:9/sam_vit_l_0b3195.pth", "0" * 64, 1)
    monkeypatch.setitem(checkpoints.OFFICIAL, "vit_l", unreachable)
    with pytest.raises(ValueError, match=r"sam_vit_l_0b3195\.pth") as caught:
        SamSegmenter(SamConfig(model="vit_l", download=download), CPU)
    message = str(caught.value)
    assert f"Download {unreachable.url} and put it at {tmp_path / unreachable.filename}" in message
    assert "--sam.checkpoint FILE (ns-train: --pipeline.datamanager.sam.checkpoint FILE)" in message
    assert "--generator superpixels (ns-train: --pipeline.datamanager.mask-generator superpixels)" in message
    assert list(tmp_path.iterdir()) == []
