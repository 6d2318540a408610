"""Lists of tiles against those of whole boxes: what is left out meets no pixel, so pictures stay the same."""

import numpy as np
import pytest
import scenes

from click_gaussian_ns.raster import cpu, rasterize
from click_gaussian_ns.raster.cpu_engine import _ALL, _project
from click_gaussian_ns.types import PinholeView, Splats

SCENES = {
    **{f"cloud {seed}": (scenes.cloud(300, seed), scenes.camera(seed=seed)) for seed in range(8)},
    **scenes.degenerate_scenes(),
}


def lists_of_boxes(boxes: np.ndarray, tiles_x: int, tiles_y: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and entries of every tile's list, from whole boxes."""
    lists: list[list[int]] = [[] for _ in range(tiles_x * tiles_y)]
    for j, (x0, x1, y0, y1) in enumerate(boxes):
        for ty in range(y0, y1):
            for tx in range(x0, x1):
                lists[ty * tiles_x + tx].append(j)
    offsets = np.concatenate([[0], np.cumsum([len(entries) for entries in lists])]).astype(np.int64)
    return offsets, np.array([j for entries in lists for j in entries], np.int32)


@pytest.mark.parametrize("mode", ["classic", "antialiased"])
@pytest.mark.parametrize("name", SCENES)
def test_pictures_are_those_of_whole_boxes(name: str, mode: str) -> None:
    splats, view = SCENES[name]
    prepared = rasterize.prepare(splats, view, mode)
    packed, ids, offsets, entries = prepared.lists
    whole = lists_of_boxes(_boxes(splats, view, mode, ids), prepared.tiles_x, prepared.tiles_y)
    values = np.random.default_rng(0).standard_normal((splats.num_gaussians, 3)).astype(np.float32)
    size = view.width, view.height, prepared.tiles_x
    expected = cpu.blend(packed, ids, *whole, values, *size)
    for found, wanted in zip(cpu.blend(packed, ids, offsets, entries, values, *size), expected):
        np.testing.assert_array_equal(found, wanted)
    assert len(entries) <= len(whole[1])


def test_long_gaussians_are_listed_where_they_are() -> None:
    splats, view = scenes.cloud(300, 0), scenes.camera(seed=0)
    prepared = rasterize.prepare(splats, view)
    boxes = _boxes(splats, view, "classic", prepared.lists[1])
    sides = (boxes[:, 1::2] - boxes[:, 0::2]).clip(0).astype(int)
    assert len(prepared.lists[3]) < 0.9 * sides.prod(axis=1).sum()


def _boxes(splats: Splats, view: PinholeView, mode: str, ids: np.ndarray) -> np.ndarray:
    return _project(splats, view, mode, ids if ids.size else _ALL).boxes[: ids.size]
