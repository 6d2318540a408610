"""Pictures of clusters and selections on the pretended device."""

import numpy as np
import torch
from click_scene import front_view, small_scene
from pretend_cuda import LOG, pretend_cuda, to_cuda

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.selection.propagate import cluster_map, selection_masks_2d
from click_gaussian_ns.types import GlobalClusters, Splats


def test_a_map_without_clusters_is_where_the_picture_is() -> None:
    """The split view asks for one before there are clusters: a map on the CPU ended that browser's thread."""
    with pretend_cuda():
        labels, confidence = torch.zeros(3).int().to("cuda"), torch.zeros(3).to("cuda")
        none = GlobalClusters("coarse", torch.zeros(0, 12).to("cuda"), labels, confidence)
        found = cluster_map(torch.zeros(4, 5, 12).to("cuda"), torch.ones(4, 5, 1).to("cuda"), none)
        assert all(part.is_cuda for part in found)


def test_many_selections_are_drawn_in_as_few_renders_as_gsplat_can() -> None:
    """It draws 32 channels at once, and depth is one of them: 33 cost two renders."""
    splats, objects, _ = small_scene()
    masks = torch.stack([objects == i % 3 for i in range(40)])
    expected = selection_masks_2d(rasterize.prepare(splats, front_view()), masks)
    with pretend_cuda():
        moved = Splats(**{name: to_cuda(value) for name, value in vars(splats).items()})
        found = selection_masks_2d(rasterize.prepare(moved, front_view()), to_cuda(masks))
        assert [channels for _, _, channels, _ in LOG.renders] == [32, 10]
    assert expected[0].sum() > 100
    np.testing.assert_array_equal(found, expected)
