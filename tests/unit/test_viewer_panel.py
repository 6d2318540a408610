"""The panel's parts on a viser server that no browser looks at."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import viser
from click_scene import OBJECTS, SmallHost, front_view, pixel_of
from nerfstudio.cameras.cameras import Cameras
from test_viewer_files import BAD_NAMES, everything_under
from viser import ClientHandle

from click_gaussian_ns.edit.display import Display
from click_gaussian_ns.edit.record import edits_path
from click_gaussian_ns.masks.config import MaskConfig
from click_gaussian_ns.masks.provenance import provenance, write_provenance
from click_gaussian_ns.method.model import ClickGaussianModel
from click_gaussian_ns.method.settings import ClickGaussianModelConfig
from click_gaussian_ns.method.viewer_hook import ClickControl
from click_gaussian_ns.raster.view_cache import ViewCache
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.types import PinholeView
from click_gaussian_ns.viewer.edit_panel import EditPanel
from click_gaussian_ns.viewer.file_panel import FilePanel
from click_gaussian_ns.viewer.files import EditFile
from click_gaussian_ns.viewer.panel import ClickPanel
from click_gaussian_ns.viewer.session import Session
from click_gaussian_ns.viewer.widgets import VISER_SCALE, Feedback, log_to, logger

VIEW = front_view()
LEFT = pixel_of(VIEW, OBJECTS[0])


@pytest.fixture
def session(tmp_path: Path) -> Session:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    session = Session(SmallHost(run_dir))
    session.click(VIEW, *LEFT)
    return session


@pytest.fixture
def feedback(server: viser.ViserServer) -> Feedback:
    return Feedback(server, lambda: None)


@pytest.mark.parametrize("field", ["name", "file_name"])
@pytest.mark.parametrize("text", BAD_NAMES)
def test_bad_text_in_a_field_is_refused_in_the_panel(
    server: viser.ViserServer, session: Session, feedback: Feedback, tmp_path: Path, field: str, text: str
) -> None:
    panel = FilePanel(server, session, feedback)
    before = everything_under(tmp_path)
    if field == "name":
        panel._name.value = text
        feedback.run(panel._save)
    else:
        panel._file_name.value = text
        feedback.run(panel._export)
    assert feedback.text.startswith("⚠") and "cannot name a selection" in feedback.text
    assert everything_under(tmp_path) == before


@pytest.mark.parametrize("text", ["../../up", "/etc/passwd", "no such one"])
def test_a_forged_choice_of_a_saved_selection_is_refused(
    server: viser.ViserServer, session: Session, feedback: Feedback, tmp_path: Path, text: str
) -> None:
    panel = FilePanel(server, session, feedback)
    panel._name.value = "one"
    feedback.run(panel._save)
    before = everything_under(tmp_path)
    panel._saved.options = ["one", text]
    panel._saved.value = text
    for operation in (panel._load, panel._delete):
        feedback.run(operation)
        assert feedback.text.startswith("⚠")
    assert everything_under(tmp_path) == before


def test_an_existing_name_is_refused_in_both_fields(
    server: viser.ViserServer, session: Session, feedback: Feedback
) -> None:
    panel = FilePanel(server, session, feedback)
    panel._name.value = panel._file_name.value = "twice"
    for operation in (panel._save, panel._export):
        feedback.run(operation)
        assert not feedback.text.startswith("⚠")
        feedback.run(operation)
        assert feedback.text.startswith("⚠") and "exists already" in feedback.text


def test_the_gizmo_moves_and_its_handle_resizes(
    server: viser.ViserServer, session: Session, feedback: Feedback
) -> None:
    panel = EditPanel(server, session, feedback)
    panel.selection_changed()
    panel.show("all")
    gizmo, resizer = panel._gizmo, panel._resizer
    assert gizmo is not None and resizer is not None
    center = torch.tensor(session.center())
    torch.testing.assert_close(torch.tensor(gizmo.position).float(), center * VISER_SCALE)
    x, y, z = resizer.position
    reach = x - gizmo.position[0]

    resizer.position = (gizmo.position[0] + 2 * reach, y, z)
    panel._resized(resizer)
    assert panel._scale.value == pytest.approx(2.0)
    assert session.is_previewing
    gizmo.position = tuple(p + d for p, d in zip(gizmo.position, (1.0, 0.0, 0.0)))
    panel._dragged(gizmo)
    assert panel._translation.value == pytest.approx((0.1, 0.0, 0.0), abs=1e-6)
    assert resizer.position[0] == pytest.approx(gizmo.position[0] + 2 * reach)

    before = session.host.splats.means[session.selected()]
    panel._apply()
    after = session.scene.splats.means[session.selected()]
    expected = 2 * (before - center) + center + torch.tensor([0.1, 0.0, 0.0])
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-5)
    assert not session.is_previewing

    resizer.position = (gizmo.position[0] - 100.0, y, z)
    panel._resized(resizer)
    assert panel._scale.value == pytest.approx(0.001)
    panel._reset()
    assert panel._scale.value == 1.0 and not session.is_previewing


def test_the_last_event_of_a_drag_is_drawn(
    server: viser.ViserServer, session: Session, feedback: Feedback, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = EditPanel(server, session, feedback)
    panel.selection_changed()
    drawn: list[float] = []

    def preview(translation: tuple[float, float, float], *_: object) -> None:
        drawn.append(translation[0])
        if len(drawn) == 1:
            for x in (2.0, 3.0):  # events that come while a preview is drawn
                panel._translation.value = (x, 0.0, 0.0)
                panel._preview()

    monkeypatch.setattr(session, "preview", preview)
    panel._translation.value = (1.0, 0.0, 0.0)
    panel._preview()
    assert drawn == [1.0, 3.0]


class SwitchingModel(ClickGaussianModel):
    """Each look at `display` finds another one, as when a browser edits while a frame begins."""

    def __init__(self, *displays: Display) -> None:
        torch.nn.Module.__init__(self)
        self.displays = list(displays)
        self.antialiased = torch.tensor(False)
        self.crop_box, self._views, self.levels = None, ViewCache(), ()
        num = displays[0].splats.num_gaussians
        self.click_features, self.sight = torch.nn.Parameter(torch.zeros(num, 24)), torch.ones(num)
        self.config, self._shown_features = ClickGaussianModelConfig(), None

    @property
    def display(self) -> Display:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.displays.pop(0)


def test_a_frame_is_of_one_display(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("click_gaussian_ns.method.model.camera_view", lambda camera: VIEW)
    host = session.host
    tinted = Display(host.splats, None, torch.ones(host.splats.num_gaussians, dtype=torch.bool))
    fewer = select(host.splats, torch.arange(host.splats.num_gaussians) < 10)
    model = SwitchingModel(tinted, Display(fewer, None, None))
    outputs = model.get_outputs(Cameras(torch.eye(4)[:3], 120.0, 120.0, 10.0, 10.0, 20, 20))
    assert outputs["features"].shape == (VIEW.height, VIEW.width, 24)
    assert len(model.displays) == 1


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Path]:
    """Where operations are logged to, as long as a test runs."""
    path = tmp_path / "click_tool.log"
    log_to(path)
    yield path
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(logging.NOTSET)


def test_operations_are_logged_in_one_line_each(feedback: Feedback, logged: Path) -> None:
    feedback.run(lambda: "picked in 1.5 ms: 7 Gaussians")

    def refuse() -> None:
        raise ValueError("two\nlines " + "x" * 1000)

    feedback.run(refuse)
    first, second = logged.read_text().splitlines()
    assert first.endswith("picked in 1.5 ms: 7 Gaussians")
    assert "refused: two lines x" in second and len(second) < 500


def fail_to_write() -> None:
    raise OSError(28, "No space left on device")


def test_what_fails_is_shown_in_the_panel_and_logged(server: viser.ViserServer, logged: Path) -> None:
    refreshed: list[int] = []
    feedback = Feedback(server, lambda: refreshed.append(1))
    feedback.run(lambda: "saved")
    feedback.run(fail_to_write)
    assert feedback.text == "⚠ OSError: [Errno 28] No space left on device"
    assert len(refreshed) == feedback.count == 2
    log = logged.read_text()
    assert "failed: OSError: [Errno 28]" in log and "in fail_to_write" in log


def test_a_refresh_that_fails_is_shown_in_the_panel(server: viser.ViserServer) -> None:
    feedback = Feedback(server, fail_to_write)
    feedback.run(lambda: "saved")
    assert "No space left" in feedback.text
    assert feedback.count == 1


def test_a_log_that_cannot_be_written_stops_nothing(
    feedback: Feedback, logged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logged.mkdir()
    feedback.run(lambda: "picked")
    assert feedback.text == "picked"
    assert not capsys.readouterr().err
    feedback.run(fail_to_write)
    assert "No space left" in feedback.text
    assert "in fail_to_write" in capsys.readouterr().err


class RedrawingHost(SmallHost):
    """Asks for the browsers whenever something changes, as nerfstudio's viewer does."""

    panel_order = 0

    def __init__(self, run_dir: Path, server: viser.ViserServer) -> None:
        super().__init__(run_dir)
        self._server = server
        self.is_training = False
        self.cameras_are_there = True
        self.asked_to_hide = 0

    @property
    def photos(self) -> list[PinholeView]:
        return [VIEW]

    def rerender(self) -> None:
        self._server.get_clients()

    def client_view(self, client: object) -> PinholeView:
        return VIEW

    def hide_cameras(self) -> bool:
        self.asked_to_hide += 1
        return self.cameras_are_there


def test_the_first_browser_finds_the_edits_of_an_earlier_session(server: viser.ViserServer, session: Session) -> None:
    """viser holds the lock of its clients while it tells of a new one: drawing anew there stood still for good."""
    session.transform((0.5, 0.0, 0.0))
    EditFile(session).update()
    assert edits_path(session.host.run_dir).is_file()
    panel = ClickPanel(RedrawingHost(session.host.run_dir, server), server)
    with server._client_lock:
        panel._greet(ClientHandle.__new__(ClientHandle))
    end = time.monotonic() + 60.0
    while not panel.session.work.edits and time.monotonic() < end:
        time.sleep(0.01)
    assert list(panel.session.work.edits) == list(session.work.edits)


def test_cameras_are_hidden_once_when_they_are_there(server: viser.ViserServer, session: Session) -> None:
    host = RedrawingHost(session.host.run_dir, server)
    host.cameras_are_there = False
    panel = ClickPanel(host, server)
    panel._feedback.run(lambda: None)
    host.cameras_are_there = True
    panel._feedback.run(lambda: None)
    asked = host.asked_to_hide
    panel._feedback.run(lambda: None)
    assert host.asked_to_hide == asked == 2  # a user may show them again
    assert server.scene._scene_pointer_cb is None, "viser would turn its camera off"


def test_clusters_can_be_computed_anew_while_training(server: viser.ViserServer, session: Session) -> None:
    host = RedrawingHost(session.host.run_dir, server)
    panel = ClickPanel(host, server)
    for training in (True, False):
        host.is_training = training
        panel._feedback.run(lambda: None)
        assert panel.session.has_clusters
        assert panel._compute.visible == training


def test_the_panel_says_what_made_the_segments(server: viser.ViserServer, session: Session) -> None:
    found = provenance(MaskConfig(mask_generator="superpixels"))
    panel = ClickPanel(RedrawingHost(session.host.run_dir, server), server)
    panel._say_clusters()
    assert panel._segments.content == ""
    write_provenance(session.host.run_dir, found)
    panel._say_clusters()
    assert panel._segments.content == found.sentence


def test_changing_levels_leaves_nothing_for_new_browsers(server: viser.ViserServer, session: Session) -> None:
    """Each change made the list of objects anew: 20 left 2,500 messages, which every new browser was sent."""
    panel = ClickPanel(RedrawingHost(session.host.run_dir, server), server)
    kept = server._websock_server._broadcast_buffer.message_from_id

    def change() -> int:
        for level in ("fine", "coarse"):
            panel._feedback.run(lambda level=level: panel.session.change(level=level))
        return len(kept)

    settled = change()
    assert max(change() for _ in range(10)) <= settled


class TrainingThatStarts:
    """Of a pipeline and nerfstudio's viewer, what ClickControl asks for before the first step."""

    def __init__(self) -> None:
        self.made = 0
        self.model = SimpleNamespace(click_features=torch.zeros(1))
        self.control = ClickControl(self)  # pyright: ignore[reportArgumentType]
        self.viewer = SimpleNamespace(train_lock=None, trainer=SimpleNamespace(training_state="training"))
        self.control.viewer = self.viewer  # pyright: ignore[reportAttributeAccessIssue]

    @cached_property
    def pooling(self) -> str:
        return "segment means"

    def made_clusters(self, *_: object) -> tuple[str, str]:
        with pytest.raises(ValueError, match="being computed already"):
            self.control.compute_clusters()
        return "clusters", "tree"

    def set_clusters(self, made: str, tree: str) -> None:
        assert (made, tree) == ("clusters", "tree")
        self.made += 1


def test_before_training_starts_no_second_mask_stage_is_begun() -> None:
    starting = TrainingThatStarts()
    with pytest.raises(ValueError, match="training has not started yet"):
        starting.control.compute_clusters()
    assert "pooling" not in vars(starting) and not starting.made
    _ = starting.pooling
    starting.control.compute_clusters()
    starting.control.compute_clusters()
    assert starting.made == 2


def test_a_run_that_is_only_viewed_makes_its_masks_when_asked_for_clusters() -> None:
    viewed = TrainingThatStarts()
    viewed.viewer.trainer = None
    viewed.control.compute_clusters()
    assert viewed.made == 1 and not viewed.control.is_training


def test_cameras_are_hidden_only_once_nerfstudio_has_made_them() -> None:
    starting, hidden = TrainingThatStarts(), []
    starting.viewer.set_camera_visibility = hidden.append
    starting.viewer.hide_images, toggled = SimpleNamespace(visible=True), []
    starting.viewer.toggle_cameravis_button = lambda: toggled.append(1)
    assert not starting.control.hide_cameras() and not hidden
    starting.viewer.train_state = "training"
    assert starting.control.hide_cameras() and hidden == [False]
    assert toggled == [1], "nerfstudio's button says what it would do"
    assert starting.control.is_training
