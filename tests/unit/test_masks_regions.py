"""Superpixels of a splat: voting, borders, merging, and a scene whose right answer is known."""

import numpy as np
import pytest
import torch

from click_gaussian_ns.masks.borders import GraphBuilder, Surface
from click_gaussian_ns.masks.config import SuperpixelConfig
from click_gaussian_ns.masks.guidance import SplatGuidance
from click_gaussian_ns.masks.partition import resized_view, shortest_axes
from click_gaussian_ns.masks.regions import RegionGraph, colors_to_compare, merge_regions, sum_borders
from click_gaussian_ns.masks.segmenter import PART, SUBPART, WHOLE, decode_mask
from click_gaussian_ns.masks.superpixels import SuperpixelSegmenter
from click_gaussian_ns.raster.matrices import blend_weights
from click_gaussian_ns.raster.rasterize import prepare
from click_gaussian_ns.raster.vote import winning_labels
from click_gaussian_ns.types import PinholeView, Splats


def look_at(eye, width=96, height=72) -> PinholeView:
    """A view of the origin, z up."""
    eye = torch.tensor(eye, dtype=torch.float32)
    forward = -eye / eye.norm()
    right = torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0]))
    right = right / right.norm()
    rotation = torch.stack([right, torch.linalg.cross(forward, right), forward])
    viewmat = torch.eye(4)
    viewmat[:3, :3], viewmat[:3, 3] = rotation, -rotation @ eye
    K = torch.tensor([[90.0, 0.0, width / 2], [0.0, 90.0, height / 2], [0.0, 0.0, 1.0]])
    return PinholeView(viewmat, K, width, height)


def table_with_box() -> tuple[Splats, np.ndarray]:
    """A brown table, its right half green, and a box of the same brown on its left; with the true surface of each
    Gaussian: 0 brown table, 1 green table, 2 box."""
    step = 0.05
    grid = np.arange(-1.0, 1.0, step) + step / 2
    x, y = (axis.ravel() for axis in np.meshgrid(grid, grid))
    points = [np.stack([x, y, 0 * x], 1)]
    normals = [np.tile([0.0, 0.0, 1.0], (x.size, 1))]
    surface = [np.where(x > 0.25, 1, 0)]
    side = np.arange(-0.25, 0.25, step) + step / 2
    a, b = (axis.ravel() for axis in np.meshgrid(side, side))
    for axis, sign in ((0, -1), (0, 1), (1, -1), (1, 1), (2, 1)):
        face = np.zeros((a.size, 3))
        face[:, axis] = sign * 0.25
        face[:, (axis + 1) % 3], face[:, (axis + 2) % 3] = a, b
        normal = np.zeros((a.size, 3))
        normal[:, axis] = sign
        points.append(face + np.array([-0.4, 0.0, 0.25]))
        normals.append(normal)
        surface.append(np.full(a.size, 2))
    means, normal, label = (np.concatenate(parts) for parts in (points, normals, surface))
    axis = np.abs(normal).argmax(1)
    scales = np.full((len(means), 3), 0.6 * step)
    scales[np.arange(len(means)), axis] = 0.005
    colors = np.where((label == 1)[:, None], [0.1, 0.5, 0.2], [0.5, 0.35, 0.2])
    splats = Splats(
        means=torch.tensor(means, dtype=torch.float32),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(len(means), 1),
        log_scales=torch.tensor(np.log(scales), dtype=torch.float32),
        opacity_logits=torch.full((len(means),), 4.0),
        sh=torch.tensor((colors - 0.5) / 0.28209479177387814, dtype=torch.float32)[:, None, :],
    )
    return splats, label


VIEWS = [look_at((2.2 * np.cos(t), 2.2 * np.sin(t), 1.6)) for t in np.linspace(0, 2 * np.pi, 8, endpoint=False)]


def test_the_label_with_the_largest_sum_of_weights_wins_each_pixel():
    splats, _ = table_with_box()
    prepared = prepare(splats, VIEWS[0])
    labels = np.random.default_rng(0).integers(-1, 200, splats.num_gaussians).astype(np.int32)
    winners = winning_labels(prepared, labels)
    rows = blend_weights(prepared, torch.arange(96 * 72))
    offsets, ids, weights = rows.row_offsets.numpy(), rows.gaussian_ids.numpy(), rows.weights.numpy()
    for pixel in range(0, 96 * 72, 37):
        seen = slice(offsets[pixel], offsets[pixel + 1])
        votes = labels[ids[seen]]
        sums = np.bincount(votes[votes >= 0], weights[seen][votes >= 0], minlength=1)
        found = winners.ravel()[pixel]
        if sums.max() == 0:
            assert found == -1
        else:
            assert sums[found] == pytest.approx(sums.max(), rel=1e-5)


def test_borders_of_one_pair_become_one():
    one, other = np.array([3, 1, 5, 2]), np.array([1, 3, 5, 1])
    first, second, total = sum_borders(one, other, np.array([1.0, 2.0, 4.0, 8.0]))
    np.testing.assert_array_equal(first, [1, 1])
    np.testing.assert_array_equal(second, [2, 3])
    np.testing.assert_array_equal(total, [8.0, 3.0])


def graph_of(values, sizes, borders) -> RegionGraph:
    """Grey regions of the given lightness and area; borders are (first, second, length, contrast)."""
    sizes = np.asarray(sizes, dtype=float)
    color = np.stack([np.asarray(values, dtype=float), np.zeros(len(values)), np.zeros(len(values))], axis=1)
    first, second, length, contrast = (np.array(column) for column in zip(*borders))
    zero = np.zeros(len(first))
    return RegionGraph(
        sizes, color * sizes[:, None], np.zeros((len(values), 3)), first, second,
        length.astype(float), contrast * length.astype(float), zero, zero,
    )  # fmt: skip


def test_the_most_alike_merge_first_and_partitions_are_nested():
    graph = graph_of([10, 11, 40, 80], [0.1] * 4, [(0, 1, 0.1, 1.0), (1, 2, 0.1, 30.0), (2, 3, 0.1, 40.0)])
    fine, middle, coarse = merge_regions(graph, [10.0, 3e3, 1e6])
    assert fine[0] == fine[1]
    assert len(set(fine)) == 3
    assert len(set(middle)) == 2
    assert len(set(coarse)) == 1
    for inner, outer in ((fine, middle), (middle, coarse)):
        assert len(set(zip(inner, outer))) == len(set(inner))


def test_a_stripe_dissolves_before_a_block_of_the_same_colours():
    stripe = graph_of([20, 50], [0.02, 0.3], [(0, 1, 0.5, 30.0)])
    block = graph_of([20, 50], [0.02, 0.3], [(0, 1, 0.1, 30.0)])
    threshold = 150.0
    assert len(set(merge_regions(stripe, [threshold])[0])) == 1
    assert len(set(merge_regions(block, [threshold])[0])) == 2


def test_regions_without_a_border_stay_apart():
    graph = graph_of([10, 10, 10], [0.3] * 3, [(0, 1, 0.1, 0.0)])
    (merged,) = merge_regions(graph, [1e9])
    assert merged[0] == merged[1] != merged[2]


def test_a_builder_measures_areas_colours_and_borders():
    regions = np.zeros((6, 8), dtype=np.int32)
    regions[:, 4:] = 1
    regions[0, 0] = -1
    color = np.zeros((6, 8, 3))
    color[..., 0] = np.where(regions == 1, 70.0, 10.0)
    builder = GraphBuilder(2)
    builder.add_view(regions, color, None)
    graph = builder.build()
    np.testing.assert_allclose(graph.area, [23 / 48, 24 / 48])
    np.testing.assert_allclose(graph.color[:, 0], [230 / 48, 70 * 24 / 48])
    np.testing.assert_array_equal([graph.first[0], graph.second[0]], [0, 1])
    assert graph.length[0] == pytest.approx(6 / np.sqrt(48))
    assert graph.contrast[0] / graph.length[0] == pytest.approx(60.0)


@pytest.mark.parametrize(("sign", "expected"), [(1.0, np.sqrt(2)), (-1.0, 0.0)], ids=["valley", "ridge"])
def test_creases_count_and_ridges_do_not(sign, expected):
    """Two planes at 45 degrees that meet in the middle, seen from above (z towards the scene)."""
    rows, columns = np.mgrid[:6, :8].astype(np.float32)
    slope = np.where(columns < 4, 1.0, -1.0).astype(np.float32)
    depth = (10 + sign * -np.abs(columns - 3.5)).astype(np.float32)
    normals = np.stack([sign * slope, 0 * slope, -np.ones_like(slope)], axis=-1) / np.float32(np.sqrt(2))
    surface = Surface(
        np.stack([columns, rows, depth], axis=-1), normals.astype(np.float32), normals.astype(np.float32),
        np.ones_like(depth),
    )  # fmt: skip
    builder = GraphBuilder(2)
    builder.add_view((columns >= 4).astype(np.int32), np.zeros((6, 8, 3)), surface)
    graph = builder.build()
    assert graph.gap[0] == 0
    assert graph.concavity[0] / graph.length[0] == pytest.approx(expected, abs=1e-5)


def test_a_shadow_parts_a_green_thing_less_than_a_gray_one():
    def across(rgb):
        lit, shaded = colors_to_compare(np.array([[rgb, [channel / 2 for channel in rgb]]]))[0]
        return np.linalg.norm(lit - shaded), abs(lit[0] - shaded[0])

    (_, gray), (_, green) = across([0.4, 0.4, 0.4]), across([0.1, 0.5, 0.2])
    assert green < 0.7 * gray
    np.testing.assert_allclose(colors_to_compare(np.uint8([[[0, 0, 0], [255, 255, 255]]]))[0, :, 0], [0, 100], atol=0.1)


def test_noise_of_the_geometry_parts_nothing_and_a_crease_does():
    """Two regions of one colour: normals that turn a little, a few gaps, a crease, a silhouette."""

    def is_one(concavity, gap):
        columns = {"area": [0.3, 0.3], "color": [[15.0, 0, 0]] * 2, "normal": [[0, 0, 0.3]] * 2}
        borders = {"first": [0], "second": [1], "length": [0.5], "contrast": [0.0]}
        graph = {**columns, **borders, "concavity": [concavity * 0.5], "gap": [gap]}
        (merged,) = merge_regions(RegionGraph(**{name: np.array(column) for name, column in graph.items()}), [12.0])
        return merged[0] == merged[1]

    assert is_one(0.0, 0.0) and is_one(0.15, 0.05)
    assert not is_one(0.4, 0.0) and not is_one(0.0, 0.5)


def test_depth_jumps_are_gaps_and_join_nothing():
    rows, columns = np.mgrid[:6, :8].astype(np.float32)
    depth = np.where(columns < 4, 10.0, 20.0).astype(np.float32)
    normals = np.tile(np.float32([0, 0, -1]), (6, 8, 1))
    surface = Surface(np.stack([columns, rows, depth], axis=-1), normals, normals, np.ones_like(depth))
    builder = GraphBuilder(2)
    builder.add_view((columns >= 4).astype(np.int32), np.zeros((6, 8, 3)), surface)
    assert builder.build().first.size == 0


def test_normals_are_the_shortest_axes():
    splats, label = table_with_box()
    np.testing.assert_allclose(np.abs(shortest_axes(splats).numpy()[label < 2]), [[0, 0, 1]] * (label < 2).sum())


def test_resized_views_keep_their_field_of_view():
    view = resized_view(VIEWS[0], 48)
    assert (view.width, view.height) == (48, 36)
    torch.testing.assert_close(view.K, torch.tensor([[45.0, 0, 24], [0, 45.0, 18], [0, 0, 1]]))
    assert resized_view(VIEWS[0], 500).width == 96


def test_a_table_of_two_colours_and_a_box_of_one_of_them_are_three_things():
    splats, surface = table_with_box()
    guidance = SplatGuidance(splats, VIEWS)
    config = SuperpixelConfig(fine=40.0, middle=60.0, coarse=100.0)
    guidance.prepare(config)
    for index in (0, 3, 5):
        labels = guidance(index).labels
        truth = winning_labels(prepare(splats, VIEWS[index]), surface.astype(np.int32))
        for number in range(3):
            coarse = labels[0][truth == number]
            label = np.bincount(coarse).argmax()
            overlap = np.sum((labels[0] == label) & (truth == number)) / np.sum(
                (labels[0] == label) | (truth == number)
            )
            assert overlap > 0.85, (index, number)
    # the same IDs in all views
    centre_of_green = [
        np.bincount(
            guidance(i).labels[0][winning_labels(prepare(splats, VIEWS[i]), surface.astype(np.int32)) == 1]
        ).argmax()
        for i in range(4)
    ]
    assert len(set(centre_of_green)) == 1


def test_segments_of_guidance_are_its_label_images():
    splats, _ = table_with_box()
    guidance = SplatGuidance(splats, VIEWS)
    config = SuperpixelConfig()
    guidance.prepare(config)
    view = guidance(2)
    segments = SuperpixelSegmenter(config).segment(np.zeros((72, 96, 3), np.uint8), view)
    for level, labels in zip((WHOLE, PART, SUBPART), view.labels):
        found = [segment for segment in segments if segment.level == level]
        assert len(found) == len(set(np.unique(labels)) - {0})
        assert all(segment.standalone == (level != PART) for segment in found)
        for segment in found:
            mask = decode_mask(segment.rle)
            (value,) = np.unique(labels[mask])
            assert segment.area == mask.sum() == (labels == value).sum()


def test_a_fingerprint_tells_splats_and_views_apart():
    splats, _ = table_with_box()
    first = SplatGuidance(splats, VIEWS)
    assert first.fingerprint(0) == SplatGuidance(splats, VIEWS).fingerprint(0)
    others = {
        first.fingerprint(0),
        first.fingerprint(1),
        SplatGuidance(splats, VIEWS[:4]).fingerprint(0),
        SplatGuidance(splats, VIEWS, "antialiased").fingerprint(0),
        SplatGuidance(
            Splats(splats.means + 0.01, splats.quats, splats.log_scales, splats.opacity_logits, splats.sh), VIEWS
        ).fingerprint(0),
    }
    assert len(others) == 5
