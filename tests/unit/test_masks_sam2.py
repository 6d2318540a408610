"""SAM 2 for real, where the extra [sam2] is installed: the package's own model, small prompts, random weights."""

import numpy as np
import pytest
import torch

from click_gaussian_ns.masks.config import MaskConfig, Sam2Config
from click_gaussian_ns.masks.resolve import make_segmenter

CPU = torch.device("cpu")


def test_without_the_package_the_message_says_what_to_do(monkeypatch, tmp_path):
    from click_gaussian_ns.masks import sam2

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'click-gaussian-ns\[sam2\]'"):
        sam2.Sam2Segmenter(Sam2Config(checkpoint=tmp_path), CPU)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    build_sam = pytest.importorskip("sam2.build_sam", reason="the extra [sam2] is not installed")
    torch.manual_seed(0)
    model = build_sam.build_sam2("configs/sam2.1/sam2.1_hiera_t.yaml", None, device="cpu")
    path = tmp_path_factory.mktemp("weights") / "tiny.pt"
    torch.save({"model": model.state_dict()}, path)
    return path


LOOSE = {"points_per_side": 3, "pred_iou_thresh": -1e9, "stability_score_thresh": 0.0}


def test_the_level_free_set_is_the_generators_own(checkpoint):
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

    from click_gaussian_ns.masks.sam2 import load_sam2

    photo = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    config = Sam2Config(model="tiny", checkpoint=checkpoint, **LOOSE)
    segments = make_segmenter(MaskConfig(mask_generator="sam2", sam2=config), CPU).segment(photo, None)
    generator = SAM2AutomaticMaskGenerator(load_sam2(checkpoint, "tiny", CPU), **LOOSE, output_mode="coco_rle")
    expected = [record for record in generator.generate(photo) if record["area"] > 0]
    assert expected
    found = [segment for segment in segments if segment.standalone]
    assert [s.rle["counts"].decode() for s in found] == [r["segmentation"]["counts"] for r in expected]
    assert {s.level for s in segments} >= {0, 1, 2}


def test_another_size_is_named(checkpoint):
    from click_gaussian_ns.masks.sam2 import load_sam2

    with pytest.raises(ValueError, match=r"tiny\.pt is no checkpoint of SAM 2\.1 small"):
        load_sam2(checkpoint, "small", CPU)
