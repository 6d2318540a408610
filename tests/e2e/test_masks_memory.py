"""Memory of extraction and of reading label maps does not grow with the number of photos (small version of
benchmarks/masks_memory.py)."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from click_gaussian_ns.masks import extract
from click_gaussian_ns.masks.config import MaskConfig
from click_gaussian_ns.masks.segmenter import Segment, encode_masks

SIZE = (240, 320)
RESIDENT_MB = 1


class Stripes:
    """Nested stripes, 20 per photo."""

    name = "stripes"
    uses_guidance = False
    gives_levels = False

    def fingerprint(self):
        return {}

    def segment(self, image, guidance):
        segments = []
        for number in range(20):
            mask = np.zeros(image.shape[:2], dtype=bool)
            mask[:, 10 * number : 10 * number + 100] = True
            (rle,) = encode_masks(mask[None])
            segments.append(Segment(rle, int(mask.sum()), number / 20, 1.0))
        return segments


def peak_bytes(folder, num_photos):
    photos = []
    for index in range(num_photos):
        photos.append(folder / f"{num_photos}_{index}.png")
        Image.fromarray(np.full((*SIZE, 3), index, np.uint8)).save(photos[-1])
    config = MaskConfig(
        mask_generator="superpixels", mask_cache_dir=folder / f"cache_{num_photos}", resident_mb=RESIDENT_MB
    )
    tracemalloc.start()
    source = extract.prepare_level_maps(config, photos, [SIZE] * num_photos)
    for epoch in range(2):
        for index in range(num_photos):
            assert source[index].maps.shape == (2, *SIZE), epoch
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.fixture
def stripes(monkeypatch):
    monkeypatch.setattr(extract, "make_segmenter", lambda config, device: Stripes())


def test_peak_memory_is_that_of_a_few_photos(tmp_path, stripes):
    peak_bytes(tmp_path, 2)
    few, many = peak_bytes(tmp_path, 8), peak_bytes(tmp_path, 64)
    maps_bytes = 56 * 2 * 2 * SIZE[0] * SIZE[1]
    assert many - few < maps_bytes / 10
