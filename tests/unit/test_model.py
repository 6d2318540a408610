"""The model between nerfstudio's viewer and the rasterizer: when pictures are drawn, and of which geometry."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import viser
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.viewer.control_panel import ControlPanel
from nerfstudio.viewer.render_state_machine import RenderStateMachine
from nerfstudio.viewer.utils import CameraState
from small_model import antialiased_run, front_camera, model_of, small_model

from click_gaussian_ns.method.settings import ClickGaussianModelConfig
from click_gaussian_ns.method.viewer_hook import ClickControl
from click_gaussian_ns.raster import rasterize

FRONT = CameraState(
    fov=0.93,
    aspect=4 / 3,
    c2w=front_camera().camera_to_worlds[0],
    camera_type=CameraType.PERSPECTIVE,
)


@pytest.fixture(scope="module")
def server() -> Iterator[viser.ViserServer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = viser.ViserServer(host="127.0.0.1", port=port, verbose=False)
    yield started
    started.stop()


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
