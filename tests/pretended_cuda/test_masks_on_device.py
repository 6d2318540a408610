"""SAM on the pretended device: the small model of the unit tests finds what it finds on the CPU."""

from pathlib import Path

import numpy as np
import torch
from mask_scenes import write_photos
from PIL import Image
from pretend_cuda import LOG, pretend_cuda
from small_sam import write_small_sam

from click_gaussian_ns.masks.config import SamConfig
from click_gaussian_ns.masks.sam import SamSegmenter


def test_sams_segments_are_the_cpus(tmp_path: Path) -> None:
    checkpoint = write_small_sam(tmp_path / "small.pth")
    (path,) = write_photos(tmp_path / "photo", 1, (96, 128))
    photo = np.array(Image.open(path))
    config = SamConfig(
        checkpoint=checkpoint,
        model="from-checkpoint",
        points_per_side=8,
        pred_iou_thresh=-1e9,
        stability_score_thresh=0.0,
    )
    expected = SamSegmenter(config, torch.device("cpu")).segment(photo, None)
    with pretend_cuda():
        found = SamSegmenter(config, torch.device("cuda")).segment(photo, None)
        assert any(direction == "to cuda" for direction, _ in LOG.transfers), "the model is on the device"
    assert len(expected) >= 3
    assert [s.rle["counts"] for s in found] == [s.rle["counts"] for s in expected]
