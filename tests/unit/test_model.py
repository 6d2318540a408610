"""The model between nerfstudio's viewer and the rasterizer: when pictures are drawn, and of which geometry."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import viser
from click_scene import SmallHost, small_scene
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.viewer.control_panel import ControlPanel
from nerfstudio.viewer.render_state_machine import RenderStateMachine
from nerfstudio.viewer.utils import CameraState
from small_model import antialiased_run, front_camera, model_of, small_model

from click_gaussian_ns.clusters.global_clusters import FoundClusters
from click_gaussian_ns.clusters.homes import Homes
from click_gaussian_ns.geometry.rooms import camera_rooms
from click_gaussian_ns.method.outputs import pca_picture
from click_gaussian_ns.method.settings import ClickGaussianModelConfig
from click_gaussian_ns.method.viewer_hook import ClickControl
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.scenes.views import camera_view
from click_gaussian_ns.splats.ply import write_ply
from click_gaussian_ns.types import NO_CLUSTER

FRONT = CameraState(
    fov=0.93,
    aspect=4 / 3,
    c2w=front_camera().camera_to_worlds[0],
    camera_type=CameraType.PERSPECTIVE,
)


def nothing(*_: Any, **__: Any) -> None:
    """Stands where the viewer sends to a browser."""


class Viewing:
    """nerfstudio's control panel, which layers depth by default, and render thread over a model."""

    def __init__(self, server: viser.ViserServer, model: Any) -> None:
        self.lock = threading.Lock()
        self.panel = ControlPanel(
            server,
            time_enabled=False,
            scale_ratio=1.0,
            rerender_cb=nothing,
            update_output_cb=nothing,
            update_split_output_cb=nothing,
        )
        viewer: Any = SimpleNamespace(
            viser_server=server,
            control_panel=self.panel,
            train_lock=self.lock,
            get_model=lambda: model,
            render_tab_state=SimpleNamespace(preview_render=False),
            include_time=False,
            step=0,
            update_colormap_options=nothing,
            update_split_colormap_options=nothing,
            config=SimpleNamespace(jpeg_quality=75, image_format="jpeg"),
            stats_markdown=SimpleNamespace(content=""),
            make_stats_markdown=nothing,
        )
        model.config.export_selection = Path("selection.npy")  # no panel of ours
        ClickControl(SimpleNamespace(model=model))._setup(viewer)  # pyright: ignore[reportArgumentType]
        client: Any = SimpleNamespace(
            camera=SimpleNamespace(aspect=FRONT.aspect), scene=SimpleNamespace(set_background_image=nothing)
        )
        self.machine = RenderStateMachine(viewer, 1.0, client)

    def draw(self) -> None:
        """A frame, as the render thread's loop draws and sends it."""
        self.machine._send_output_to_viewer(self.machine._render_img(FRONT))


@pytest.mark.parametrize(
    ("chosen", "split", "blends"),
    [("rgb", None, 1), ("depth", None, 1), ("coarse_segments", None, 2), ("rgb", "fine_pca", 2)],
)
def test_what_the_viewer_shows_is_drawn_under_its_lock(
    server: viser.ViserServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    chosen: str,
    split: str | None,
    blends: int,
) -> None:
    model = small_model(tmp_path)
    viewing = Viewing(server, model)
    locked: list[bool] = []
    render = rasterize.render

    def watched(*args: Any) -> Any:
        locked.append(viewing.lock.locked())
        return render(*args)

    monkeypatch.setattr(rasterize, "render", watched)
    viewing.draw()
    assert locked == [True], "the first frame, before the panel knows the outputs"
    viewing.panel._output_render.value = chosen
    if split is not None:
        viewing.panel._split.value = True
        viewing.panel._split_output_render.value = split
    locked.clear()
    viewing.draw()
    assert locked == [True] * blends


def test_commands_draw_only_what_they_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model(tmp_path)
    drawn: list[int] = []
    render = rasterize.render

    def watched(prepared: Any, values: torch.Tensor) -> Any:
        drawn.append(values.shape[1])
        return render(prepared, values)

    monkeypatch.setattr(rasterize, "render", watched)
    outputs = model.get_outputs_for_camera(front_camera())
    assert drawn == []
    assert outputs["fine_segments"].shape == (120, 160, 3) and drawn == [24]
    assert float(outputs["accumulation"].max()) > 0.5 and outputs["rgb"].shape == (120, 160, 3) and drawn == [24, 3]


def test_geometry_that_is_written_in_place_is_drawn_anew(tmp_path: Path) -> None:
    """As a checkpoint that fits is loaded: the parameters stay the same objects."""
    model = small_model(tmp_path)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.gauss_params["opacities"].fill_(-20.0)
    hidden, kept = model.get_outputs_for_camera(front_camera())["accumulation"], model.splats
    assert float(hidden.max()) == 0.0 and model.splats is kept
    for name in ("opacities", "features_rest"):
        before = model.splats
        with torch.no_grad():
            model.gauss_params[name].copy_(state[f"gauss_params.{name}"])
        assert model.splats is not before, name
    assert float(model.get_outputs_for_camera(front_camera())["accumulation"].max()) > 0.5
    model.load_state_dict(state)
    assert torch.equal(model.splats.opacity_logits, state["gauss_params.opacities"][:, 0])


def test_antialiased_geometry_is_drawn_antialiased(tmp_path: Path) -> None:
    source = antialiased_run(tmp_path / "run")
    auto, classic = (model_of(ClickGaussianModelConfig(splat=source, rasterize_mode=m)) for m in ("auto", "classic"))
    assert (auto.rasterize_mode, classic.rasterize_mode) == ("antialiased", "classic")
    fainter, alpha = (m.get_outputs_for_camera(front_camera())["accumulation"] for m in (auto, classic))
    assert float((alpha - fainter).mean()) > 1e-3

    # opened again, after the source has moved: what the checkpoint says, unless the settings say otherwise
    missing = tmp_path / "moved"
    opened = model_of(ClickGaussianModelConfig(splat=missing))
    assert opened.rasterize_mode == "classic"
    opened.load_state_dict(auto.state_dict())
    assert opened.rasterize_mode == "antialiased"
    assert torch.equal(opened.get_outputs_for_camera(front_camera())["accumulation"], fainter)
    asked = model_of(ClickGaussianModelConfig(splat=missing, rasterize_mode="classic"))
    asked.load_state_dict(auto.state_dict())
    assert asked.rasterize_mode == "classic"


def test_checkpoints_of_earlier_versions_load(tmp_path: Path) -> None:
    """They say nothing of the rasterize mode; their settings do."""
    model = small_model(tmp_path)
    state = dict(model.state_dict())
    del state["antialiased"]
    opened = model_of(ClickGaussianModelConfig(rasterize_mode="antialiased"))
    opened.load_state_dict(state)
    assert opened.rasterize_mode == "antialiased" and opened.num_points == model.num_points


def trained_state(tmp_path: Path) -> dict[str, torch.Tensor]:
    """A checkpoint of the small scene with three coarse clusters."""
    model, host = small_model(tmp_path), SmallHost(tmp_path)
    model.click_features.data = host.features
    assert host.tree is not None
    model.set_clusters(list(host.clusters.values()), host.tree)
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_checkpoint_brings_its_sizes(tmp_path: Path) -> None:
    """Into a model that was built without its splat; the features stay the parameter that the optimizer holds."""
    state = trained_state(tmp_path)
    opened = model_of(ClickGaussianModelConfig())
    held, before = opened.click_features, opened.num_points
    opened.load_state_dict(state)
    assert (before, opened.num_points, opened.config.sh_degree) == (0, 900, 2)
    assert opened.click_features is held and held.requires_grad and torch.equal(held, state["click_features"])
    assert {name: value.shape for name, value in opened.state_dict().items()} == {n: v.shape for n, v in state.items()}
    assert all(torch.equal(value, state[name]) for name, value in opened.state_dict().items())
    assert {level: found.num_clusters for level, found in opened.clusters.items()} == {"coarse": 3, "fine": 6}
    assert not any(opened.gauss_params[name].requires_grad for name in opened.gauss_params)
    fitting = dict(opened.gauss_params)
    opened.load_state_dict(state)
    assert all(opened.gauss_params[name] is value for name, value in fitting.items())


def test_a_selections_config_loads_its_gaussians_alone(tmp_path: Path) -> None:
    state = trained_state(tmp_path)
    ids = np.array([3, 7, 600], np.int32)
    np.save(tmp_path / "selection.npy", ids)
    opened = model_of(ClickGaussianModelConfig(export_selection=tmp_path / "selection.npy"))
    opened.load_state_dict(state)
    rows = torch.from_numpy(ids.astype(np.int64))
    assert opened.num_points == 3
    for name in ("gauss_params.means", "gauss_params.opacities", "click_features", "cluster_labels_fine"):
        assert torch.equal(opened.state_dict()[name], state[name][rows]), name
    assert torch.equal(opened.clusters["fine"].centers, state["cluster_centers_fine"]), "clusters are not Gaussians"


def test_the_crop_box_leaves_what_is_inside(tmp_path: Path) -> None:
    model = small_model(tmp_path)
    whole = model.get_outputs_for_camera(front_camera())["accumulation"]
    left = OrientedBox(torch.eye(3), torch.tensor([-0.6, 0.0, 0.0]), torch.tensor([0.8, 1.0, 1.0]))
    cropped = model.get_outputs_for_camera(front_camera(), obb_box=left)["accumulation"]
    assert torch.equal(cropped[:, :70], whole[:, :70]) and float(cropped[:, :70].max()) > 0.9
    assert float(cropped[:, 85:].max()) == 0.0 < float(whole[:, 85:].max())
    assert torch.equal(model.get_outputs_for_camera(front_camera())["accumulation"], whole)


@pytest.mark.parametrize(("agreement", "guided"), [(0.0, None), (0.3, [0, -1, 2, -1]), (0.9, [0, -1, -1, -1])])
def test_only_gaussians_that_the_segments_agree_on_are_guided(
    tmp_path: Path, agreement: float, guided: list[int] | None
) -> None:
    """The more is asked for, the fewer; with none asked for, the most similar cluster pulls, as in the paper."""
    model = small_model(tmp_path)
    model.config.research.gfl_agreement = agreement
    labels = torch.full((model.num_points,), NO_CLUSTER, dtype=torch.int32)
    margin = torch.zeros(model.num_points)
    labels[:4], margin[:4] = torch.tensor([0, 1, 2, 1]), torch.tensor([1.0, 0.2, 0.6, 0.3])
    found = {
        level.name: FoundClusters(torch.eye(3, level.stop - level.start), Homes(labels, margin), 9)
        for level in model.levels
    }
    assert not model.is_guided
    model.refresh_guides(found)
    assert model.is_guided
    for level in model.levels:
        guide = model.guides[level.name]
        assert torch.equal(guide.centers, found[level.name].centers)
        if guided is None:
            assert guide.homes is None
        else:
            assert guide.homes is not None and guide.homes[:4].tolist() == guided
            assert (guide.homes[4:] == NO_CLUSTER).all()


def test_the_colours_of_features_stay_put() -> None:
    """The main direction points where the channels' sum grows, whatever sign the decomposition gives it.

    That depends on the order of the Gaussians.
    """
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        direction = torch.randn(12, generator=generator)
        direction *= direction.sum().sign()
        other = torch.randn(12, generator=generator)
        other -= (other @ direction) / (direction @ direction) * direction
        along = torch.linspace(-1, 1, 200)[:, None]
        features = other + along * direction + 0.01 * torch.randn(200, 12, generator=generator)
        ends = torch.stack([other - 0.5 * direction, other + 0.5 * direction])[None]
        for ordered in (features, features.flip(0)):
            picture = pca_picture(ends, torch.tensor([[[1.0], [1.0]]]), ordered)
            assert float(picture[0, 1, 0]) > float(picture[0, 0, 0]) + 0.3, seed
    assert not pca_picture(ends, torch.tensor([[[0.4], [0.4]]]), features).any(), "nothing is there"


def test_at_a_pixel_gaussians_count_by_how_many_views_bear_them_out(tmp_path: Path) -> None:
    """Haze that one view has before its camera does not answer for the object behind it; by the paper it does."""
    model = small_model(tmp_path)
    haze = model.means[:, 2] < -0.05  # the nearer half of the things in front
    features = torch.zeros(model.num_points, 24)
    features[haze, 0], features[~haze, 1] = 1.0, 1.0
    model.start_from(features)
    model.sight.copy_(torch.where(haze, 0.0, 1.0))

    def at_pixels() -> torch.Tensor:
        return model.get_outputs(front_camera())["features"][..., :2]

    weighed = at_pixels()
    assert torch.equal(model.shown_features.ne(0), model.click_features.ne(0)), "a hundredth is left"
    assert model.shown_features is model.shown_features
    model.config.research.weigh_by_sight = False
    plain = at_pixels()
    hidden = (plain[..., 0] > 0.5) & (plain[..., 1] > 0.02)
    assert int(hidden.sum()) > 50
    assert bool((weighed[hidden][:, 1] > weighed[hidden][:, 0]).all())
    alone = (plain[..., 0] > 0.5) & (plain[..., 1] == 0)
    assert bool((weighed[alone][:, 0] > 0).all()), "where there is nothing else, it is still something"


def test_features_are_shown_anew_when_they_or_sight_change(tmp_path: Path) -> None:
    model = small_model(tmp_path)
    before = model.shown_features
    model.sight.fill_(0.5)
    assert torch.allclose(model.shown_features, before / 2)
    model.start_from(3 * model.click_features)
    assert torch.allclose(model.shown_features, before * 1.5)


def test_checkpoints_of_earlier_versions_know_no_sight(tmp_path: Path) -> None:
    model = small_model(tmp_path)
    state = {name: value for name, value in model.state_dict().items() if name != "sight"}
    model.sight.fill_(0.5)
    model.load_state_dict(state)
    assert bool((model.sight == 1).all())


def test_a_splat_is_cleaned_of_what_stands_before_the_cameras(tmp_path: Path) -> None:
    path = tmp_path / "small.ply"
    splats = small_scene()[0]
    write_ply(path, splats)
    view = camera_view(front_camera())
    rooms = camera_rooms(splats.means + torch.tensor([0.0, 0.0, 3.0]), [view])  # seen far away, so the scene is haze
    hazy = rooms.contain(splats.means, splats.log_scales.exp())
    assert 0 < int(hazy.sum()) < splats.num_gaussians
    config = ClickGaussianModelConfig(splat=path, clean_splat=True)
    assert torch.equal(model_of(config, rooms).means, splats.means[~hazy])
    with pytest.raises(ValueError, match="clean-splat: the scene has no 3D points"):
        model_of(config)
