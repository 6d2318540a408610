"""From a view's map of clusters to an object's clusters and masks."""

import numpy as np
import torch
from evaluation_scene import scene

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.selection.propagate import cluster_map, propagated_ids, propagated_mask, selection_masks_2d
from click_gaussian_ns.types import GlobalClusters

CLUSTERS = np.array([[0, 0, 1, 1, 1], [2, 2, 2, -1, 3]])
SIMILARITY = np.array([[0.95, 0.95, 0.95, 0.95, 0.95], [0.95, 0.85, 0.95, 0.0, 0.9]])


def ids(inside: np.ndarray, outside: np.ndarray | None = None, threshold: float = 0.9) -> tuple[int, ...]:
    return propagated_ids(CLUSTERS, SIMILARITY, inside, ~inside if outside is None else outside, threshold)


def test_a_cluster_belongs_to_an_object_if_most_of_its_pixels_do():
    inside = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 1]], bool)
    # 0: 2 to 0; 1: 2 to 1; 2: 1 to 1, as its pixel of similarity 0.85 does not count; 3: 0.9 does not exceed 0.9
    assert ids(inside) == (0, 1)
    assert ids(inside, threshold=0.8) == (0, 1, 2, 3)


def test_pixels_that_are_neither_inside_nor_outside_do_not_count():
    inside = np.array([[1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
    outside = np.array([[0, 0, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
    assert ids(inside, outside) == (0,)
    assert ids(np.zeros_like(inside), outside) == ()


def test_uncovered_pixels_are_no_cluster():
    uncovered = np.full((2, 2), -1)
    everything = np.ones((2, 2), bool)
    assert propagated_ids(uncovered, np.ones((2, 2)), everything, ~everything, 0.9) == ()
    assert not propagated_mask(uncovered, (0, 5)).any()


def test_a_propagated_mask_is_the_pixels_of_its_clusters():
    assert propagated_mask(CLUSTERS, (0, 3)).tolist() == [[1, 1, 0, 0, 0], [0, 0, 0, 0, 1]]
    assert not propagated_mask(CLUSTERS, ()).any()
    assert not propagated_mask(CLUSTERS, (7,)).any()


def test_cluster_map_takes_the_most_similar_centre_where_something_is():
    image = torch.tensor([[[2.0, 0.0], [3.0, 4.0], [0.0, 1.0]]])
    alpha = torch.tensor([[[1.0], [0.5], [0.49]]])
    none = torch.zeros(0, dtype=torch.int32), torch.zeros(0)
    found, similarity = cluster_map(image, alpha, GlobalClusters("coarse", torch.eye(2), *none))
    assert found.tolist() == [[0, 1, -1]]
    torch.testing.assert_close(similarity, torch.tensor([[1.0, 0.8, 0.0]]))


def test_many_selections_are_drawn_as_one_by_one():
    made, _ = scene()
    prepared = rasterize.prepare(made.splats, made.views[1].view)
    generator = torch.Generator().manual_seed(0)
    selections = torch.rand(40, made.splats.num_gaussians, generator=generator) < torch.linspace(0, 1, 40)[:, None]
    pictures = selection_masks_2d(prepared, selections)
    assert pictures.shape == (40, 32, 48) and pictures[0].sum() == 0 and pictures[-1].sum() > 500
    for selection, picture in zip(selections, pictures):
        alone = rasterize.render(prepared, selection.float()[:, None]).image[..., 0] >= 0.5
        assert (picture == alone.numpy()).all()
