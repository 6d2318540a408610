"""Blending weights of single pixels and of segments against the dense picture and the brute force; gradients."""

from itertools import pairwise

import brute_force
import numpy as np
import pytest
import scenes
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from click_gaussian_ns.raster import cpu_engine, matrices, rasterize
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.types import BlendWeights, PinholeView, SegmentWeights, Splats

MODES = ["classic", "antialiased"]


def _features(num: int, channels: int = 24) -> Tensor:
    return torch.randn(num, channels, generator=torch.Generator().manual_seed(17))


def _all_pixels(view: PinholeView) -> Tensor:
    return torch.arange(view.width * view.height)


def _dense(rows: BlendWeights | SegmentWeights) -> np.ndarray:
    """[R, N]; no Gaussian may come twice in a row."""
    offsets, ids = rows.row_offsets.numpy(), rows.gaussian_ids.numpy()
    matrix = np.zeros((len(offsets) - 1, rows.num_gaussians), np.float32)
    for r in range(len(offsets) - 1):
        row = ids[offsets[r] : offsets[r + 1]]
        assert len(np.unique(row)) == len(row)
        matrix[r, row] = rows.weights[offsets[r] : offsets[r + 1]].numpy()
    return matrix


def _needles(log_length: float, seed: int) -> tuple[Splats, PinholeView]:
    splats = scenes.cloud(200, seed, opacity=4.0)
    splats = Splats(**{**vars(splats), "log_scales": torch.tensor([log_length, -7.0, -7.0]).repeat(200, 1)})
    return splats, scenes.camera(width=400, height=300, fx=375.0, fy=375.0, seed=seed)


SCENES = {
    **scenes.degenerate_scenes(),
    **{f"cloud {seed}": (scenes.cloud(300, seed), scenes.camera(seed=seed)) for seed in range(3)},
    # at the tips of these the sparse rows once had a weight of 1/255 that the picture had not
    "needle tips 1": _needles(-0.5, 4),
    "needle tips 2": _needles(0.5, 10),
}


def _sample(prepared: PreparedView, features: torch.Tensor, pixel_ids: torch.Tensor) -> torch.Tensor:
    return rasterize.blend(matrices.blend_weights(prepared, pixel_ids), features)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SCENES)
def test_sample_is_the_gather_of_render(name: str, mode: str) -> None:
    """Seen to be equal to the last bit: both evaluate the same alphas and add in the same order."""
    splats, view = SCENES[name]
    prepared = rasterize.prepare(splats, view, mode)
    features = _features(splats.num_gaussians)
    rendered = rasterize.render(prepared, features)
    image = rendered.image.flatten(0, 1)
    pixel_ids = torch.randint(view.width * view.height, (500,), generator=torch.Generator().manual_seed(3))
    sampled = _sample(prepared, features, pixel_ids)
    torch.testing.assert_close(sampled, image[pixel_ids], rtol=0, atol=1e-6)
    rows = matrices.blend_weights(prepared, _all_pixels(view))
    torch.testing.assert_close(rasterize.blend(rows, features), image, rtol=0, atol=1e-6)
    ones = torch.ones(splats.num_gaussians, 1)
    torch.testing.assert_close(rasterize.blend(rows, ones), rendered.alpha.flatten(0, 1), rtol=0, atol=1e-6)


def _on_cuda(splats: Splats) -> Splats:
    return Splats(**{name: tensor.cuda() for name, tensor in vars(splats).items()})


@pytest.mark.gpu
def test_products_on_cuda_equal_those_on_cpu() -> None:
    splats, view = SCENES["cloud 0"]
    rows = matrices.blend_weights(rasterize.prepare(splats, view), _all_pixels(view))
    results = []
    for device in ("cpu", "cuda"):
        features = _features(300).to(device).requires_grad_()
        sampled = rasterize.blend(rows, features)
        sampled.square().sum().backward()
        assert features.grad is not None
        results.append((sampled.detach().cpu(), features.grad.cpu()))
    torch.testing.assert_close(*(r[0] for r in results), rtol=0, atol=1e-5)
    torch.testing.assert_close(*(r[1] for r in results), rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
def test_clicks_and_what_is_seen_on_cuda_are_those_on_cpu(mode: str) -> None:
    splats, view = SCENES["cloud 0"]
    where = np.arange(view.height)[:, None].repeat(view.width, axis=1) < view.height // 2
    pixel_ids, results = torch.tensor([700, 5, 333]), []
    for scene, features in ((splats, _features(300)), (_on_cuda(splats), _features(300).cuda())):
        prepared = rasterize.prepare(scene, view, mode)
        found = (*rasterize.at_pixels(prepared, features, pixel_ids), rasterize.seen_weight(prepared, where))
        results.append([part.cpu() for part in found])
    for on_cpu, on_cuda in zip(*results):
        torch.testing.assert_close(on_cuda, on_cpu, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(4))
def test_rows_are_the_brute_forces_weights_front_to_back(seed: int, mode: str) -> None:
    """Worst 4e-7, and the same Gaussians, but in at most 1 pixel of 1,000 where float32 decides otherwise."""
    splats, view = scenes.cloud(300, seed), scenes.camera(seed=seed)
    rows = matrices.blend_weights(rasterize.prepare(splats, view, mode), _all_pixels(view))
    brute = brute_force.render(splats, view, mode, np.zeros((300, 1)))
    matrix = _dense(rows)
    same = ((matrix > 0) == (brute.weights > 0)).all(1)
    assert (~same).mean() <= 1e-3
    np.testing.assert_allclose(matrix[same], brute.weights[same], rtol=0, atol=3e-6)
    place = np.empty(300, np.int64)
    place[brute.order] = np.arange(300)
    offsets = rows.row_offsets.tolist()
    for start, end in pairwise(offsets):
        assert (np.diff(place[rows.gaussian_ids[start:end].numpy()]) > 0).all()


def test_many_contributors() -> None:
    """600 faint Gaussians on one spot: over 256 for a pixel, in several chunks, and none for others."""
    num = 600
    crowd = scenes.cloud(num, seed=1)
    view = scenes.camera(width=40, height=40, turn=0.0)
    generator = torch.Generator().manual_seed(2)
    means = torch.stack([torch.zeros(num), torch.zeros(num), torch.rand(num, generator=generator)], -1)
    splats = Splats(means, crowd.quats, torch.full((num, 3), -2.5), torch.full((num,), -4.0), crowd.sh)
    prepared = rasterize.prepare(splats, view)
    rows = matrices.blend_weights(prepared, _all_pixels(view))
    counts = rows.row_offsets.diff()
    assert int(counts.max()) > 256 and int(counts.min()) == 0
    brute = brute_force.render(splats, view, "classic", np.zeros((num, 1)))
    assert int(counts.max()) == (brute.weights > 0).sum(1).max()
    np.testing.assert_allclose(_dense(rows), brute.weights, rtol=0, atol=1e-6)
    # the last Gaussian that counts leaves more than 1e-4 of the light, the next would not
    transmitted = 1.0 - rasterize.render(prepared).alpha
    assert float(transmitted.min()) == pytest.approx(1e-4, rel=0.05)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_pixels_in_any_order_repeated_or_none(dtype: torch.dtype) -> None:
    splats, view = scenes.cloud(100, seed=2), scenes.camera(width=35, height=20, seed=2)
    prepared, features = rasterize.prepare(splats, view), _features(100)
    image = rasterize.render(prepared, features).image.flatten(0, 1)
    for pixel_ids in ([], [699], [5, 5, 5], [699, 0, 350, 5, 0, 34, 35]):
        ids = torch.tensor(pixel_ids, dtype=dtype)
        sampled = _sample(prepared, features, ids)
        assert sampled.shape == (len(pixel_ids), 24)
        torch.testing.assert_close(sampled, image[ids.long()], rtol=0, atol=1e-6)


def test_gradient_of_sample_is_the_transposed_matrix() -> None:
    splats, view = scenes.cloud(150, seed=3), scenes.camera(seed=3)
    prepared = rasterize.prepare(splats, view)
    pixel_ids = torch.randint(view.width * view.height, (400,), generator=torch.Generator().manual_seed(1))
    W = torch.from_numpy(_dense(matrices.blend_weights(prepared, pixel_ids))).double()
    for dtype in (torch.float32, torch.float64):
        features = _features(150).to(dtype).requires_grad_()
        sampled = _sample(prepared, features, pixel_ids)
        assert sampled.dtype == dtype
        torch.testing.assert_close(sampled.double(), W @ features.double(), rtol=0, atol=2e-6)
        cotangent = torch.randn(400, 24, generator=torch.Generator().manual_seed(2)).to(dtype)
        (gradient,) = torch.autograd.grad(sampled, features, cotangent)
        assert gradient.dtype == dtype
        torch.testing.assert_close(gradient.double(), W.T @ cotangent.double(), rtol=0, atol=2e-5)


def test_gradcheck_of_sample() -> None:
    """sample is linear, so that a central difference over a step of 1 has no error but rounding (float32: 1e-6)."""
    splats, view = scenes.cloud(12, seed=4, size=0.5), scenes.camera(width=20, height=18, fx=20.0, fy=20.0, seed=4)
    prepared = rasterize.prepare(splats, view)
    pixel_ids = torch.tensor([0, 7, 7, 190, 359])
    assert (matrices.blend_weights(prepared, pixel_ids).row_offsets.diff() > 1).any()
    features = _features(12, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: _sample(prepared, f, pixel_ids), features, eps=1.0, atol=1e-5, rtol=0.0)


# ---------------------------------------------------------------- segments (Eq. 6)


def _label_maps(height: int, width: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    blobs = (rows // 11) * 40 + columns // 17 + 1
    return {
        "blobs": blobs,
        "blobs with gaps": np.where(generator.random((height, width)) < 0.3, 0, blobs),
        "one segment": np.full((height, width), 65535),
        "every pixel its own": rows * width + columns + 1,
        "noise": generator.integers(0, 9, (height, width)),
        "two IDs far apart": np.where(columns > rows, 65535, 1),
        "unassigned": np.zeros((height, width)),
        "one pixel": np.where((rows == height - 1) & (columns == width - 1), 7, 0),
    }


@pytest.mark.parametrize("labeling", list(_label_maps(1, 1)))
@pytest.mark.parametrize("name", ["cloud 0", "saturated", "size not a multiple of 16", "smaller than a tile", "huge"])
def test_pool_is_the_mean_over_each_segment(name: str, labeling: str) -> None:
    """Eq. 6: of the rendered features, and of the weights themselves; worst 7e-7 and 1e-7."""
    splats, view = SCENES[name]
    labels = _label_maps(view.height, view.width)[labeling].astype(np.uint16)
    prepared = rasterize.prepare(splats, view)
    pooled = matrices.pool(prepared, labels, view_id=5)
    W = _dense(matrices.blend_weights(prepared, _all_pixels(view))).astype(np.float64)
    features = _features(splats.num_gaussians)
    image = rasterize.render(prepared, features).image.double().flatten(0, 1).numpy()
    matrix, segment_ids = _dense(pooled), np.unique(labels[labels > 0])
    assert pooled.segment_ids.tolist() == segment_ids.tolist()
    assert pooled.view_ids.tolist() == [5] * len(segment_ids)
    assert pooled.num_pixels.tolist() == [(labels == s).sum() for s in segment_ids]
    assert pooled.num_gaussians == splats.num_gaussians
    for row, s in zip(matrix, segment_ids, strict=True):
        inside = (labels == s).ravel()
        np.testing.assert_allclose(row, W[inside].mean(0), rtol=0, atol=1e-6)
        np.testing.assert_allclose(row @ features.numpy(), image[inside].mean(0), rtol=0, atol=1e-5)
        assert ((row > 0) == (W[inside] > 0).any(0)).all()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 50),
    num=st.integers(0, 80),
    num_labels=st.integers(1, 400),
    seed=st.integers(0, 999),
)
def test_pool_of_any_size(width: int, height: int, num: int, num_labels: int, seed: int) -> None:
    splats, view = scenes.cloud(num, seed, size=0.3), scenes.camera(width=width, height=height, seed=seed)
    labels = np.random.default_rng(seed).integers(0, num_labels + 1, (height, width), dtype=np.uint16)
    prepared = rasterize.prepare(splats, view)
    W = _dense(matrices.blend_weights(prepared, _all_pixels(view))).astype(np.float64)
    segment_ids = np.unique(labels[labels > 0])
    expected = np.zeros((len(segment_ids), num))
    for r, s in enumerate(segment_ids):
        expected[r] = W[(labels == s).ravel()].mean(0)
    np.testing.assert_allclose(_dense(matrices.pool(prepared, labels, 0)), expected, rtol=0, atol=1e-6)


# ---------------------------------------------------------------- bad input


def test_non_finite_gaussians_are_not_drawn() -> None:
    """Loaders drop them; the kernels, which index without bounds checks, must survive them all the same."""
    view = scenes.camera(seed=1)
    good, bad = scenes.cloud(40, seed=1), scenes.cloud(25, seed=2)
    broken = {name: tensor.clone() for name, tensor in vars(bad).items()}
    for k, value in enumerate((float("nan"), float("inf"), float("-inf"))):
        for j, name in enumerate(("means", "quats", "log_scales")):
            broken[name][3 * k + j, 1] = value
    broken["opacity_logits"][9:12] = float("nan")
    broken["opacity_logits"][12:15] = float("-inf")
    broken["quats"][15] = float("nan")
    broken["log_scales"][16] = 400.0
    both = Splats(**{name: torch.cat([tensor, broken[name][:17]]) for name, tensor in vars(good).items()})
    # a log scale of -inf is a Gaussian without thickness, which can be drawn
    drawn = [*range(40), 48]
    drawable = Splats(**{name: tensor[drawn] for name, tensor in vars(both).items()})
    features = _features(57)
    for mode in MODES:
        expected = rasterize.render(rasterize.prepare(drawable, view, mode), features[drawn])
        actual = rasterize.render(rasterize.prepare(both, view, mode), features)
        assert torch.equal(actual.image, expected.image)
        assert torch.equal(actual.depth, expected.depth)
        assert torch.isfinite(actual.image).all()


def test_bad_input_is_one_clear_error() -> None:
    splats, view = scenes.cloud(10, seed=0), scenes.camera(width=20, height=10)
    prepared = rasterize.prepare(splats, view)
    for ids in ([-1, 3], [0, 200]):
        with pytest.raises(ValueError, match=r"pixel_ids must lie in \[0, 200\), got"):
            _sample(prepared, _features(10), torch.tensor(ids))
        with pytest.raises(ValueError, match=r"pixel_ids must lie in \[0, 200\), got"):
            rasterize.at_pixels(prepared, _features(10), torch.tensor(ids))
    for call in (
        lambda: rasterize.render(prepared, _features(9)),
        lambda: _sample(prepared, _features(11), torch.tensor([0])),
        lambda: rasterize.at_pixels(prepared, _features(11), torch.tensor([0])),
        lambda: rasterize.at_pixels(prepared, _features(11), torch.tensor([0]), torch.arange(9)),
    ):
        with pytest.raises(ValueError, match="there are 10 Gaussians, but values for"):
            call()
    with pytest.raises(ValueError, match="label map is 10x20 but the view is 20x10"):
        matrices.pool(prepared, np.zeros((20, 10), np.uint16), 0)
    without_lists = PreparedView(splats, view, "classic")
    with pytest.raises(ValueError, match="prepare the view with splats on the CPU"):
        matrices.blend_weights(without_lists, torch.tensor([0]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "name", ["cloud 0", "saturated", "needle tips 1", "nothing visible", "size not a multiple of 16"]
)
def test_view_without_what_no_pixel_meets_draws_the_same(name: str, mode: str) -> None:
    """To the last bit, also after its projection was let go and made again."""
    splats, view = SCENES[name]
    prepared = rasterize.prepare(splats, view, mode)
    labels = np.stack([maps.astype(np.uint16) for maps in list(_label_maps(view.height, view.width).values())[:2]])
    pooled, kept = matrices.pool_levels(prepared, labels, 0)
    for of_level, level_labels in zip(pooled, labels):
        alone = matrices.pool(prepared, level_labels, 0)
        assert torch.equal(of_level.gaussian_ids, alone.gaussian_ids)
        torch.testing.assert_close(of_level.weights, alone.weights, rtol=1e-5, atol=1e-8)
    assert kept.num_bytes <= prepared.num_bytes
    if name == "saturated":
        assert len(kept.tile_entries) < 0.8 * len(prepared.tile_entries)
    features = _features(splats.num_gaussians)
    again = cpu_engine.with_projection(cpu_engine.without_projection(kept))
    assert kept.packed is not None and again.packed is not None
    np.testing.assert_array_equal(again.packed, kept.packed)
    expected = rasterize.render(prepared, features)
    for other in (kept, again):
        rendered = rasterize.render(other, features)
        assert torch.equal(rendered.image, expected.image) and torch.equal(rendered.depth, expected.depth)
        rows, full = (matrices.blend_weights(v, _all_pixels(view)) for v in (other, prepared))
        assert torch.equal(rows.gaussian_ids, full.gaussian_ids) and torch.equal(rows.weights, full.weights)


def test_parameters_that_are_written_to_are_read_again() -> None:
    """What all views of a scene share is kept: it must not outlive the parameters that it was made of."""
    cloud, view = scenes.cloud(50, seed=4), scenes.camera(seed=4)
    splats = Splats(*(tensor.clone() for tensor in vars(cloud).values()))
    before = rasterize.prepare(splats, view).packed
    for tensor in (splats.means, splats.quats, splats.log_scales, splats.opacity_logits):
        tensor.add_(0.01 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)))
        after = rasterize.prepare(splats, view).packed
        expected = rasterize.prepare(Splats(*(t.clone() for t in vars(splats).values())), view).packed
        assert after is not None and not np.array_equal(after, before)
        np.testing.assert_array_equal(after, expected)
        before = after
