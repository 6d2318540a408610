"""The click tool on trained runs, without a browser: exports by the stock command, clicks while training."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from commands import GFL_SCHEDULE, STEPS, run_command, train_args
from nerfstudio.engine.trainer import Trainer

from click_gaussian_ns.demo.scene import DemoScene
from click_gaussian_ns.plugin.runs import open_run
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.splats.ply import read_ply
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.types import PinholeView
from click_gaussian_ns.viewer import files
from click_gaussian_ns.viewer.session import Session

FIELDS = ("means", "quats", "log_scales", "opacity_logits", "sh")
PATIENCE_S = 300.0


@pytest.fixture
def session(trained: Path) -> Session:
    """The tool on the trained run, as `ns-viewer` opens it, but for the window."""
    run = open_run(trained)
    control = run.pipeline.click_control
    control.viewer = SimpleNamespace(train_lock=threading.Lock(), log_filename=run.run_dir / "viewer.txt")
    return Session(control)


def small_view(session: Session) -> PinholeView:
    """A photo's camera at a quarter of its size."""
    view = session.host._pipeline.datamanager.train_views[0]
    K = view.K.clone()
    K[:2] /= 4
    return PinholeView(view.viewmat, K, view.width // 4, view.height // 4)


def middle_of(session: Session, view: PinholeView, cluster: int, level: str) -> tuple[float, float]:
    """A pixel whose nearest surface is mostly of the cluster."""
    from click_gaussian_ns.selection.overlay import selection_mask_2d

    splats, labels = session.host.splats, session.host.clusters[level].labels
    shown = selection_mask_2d(rasterize.prepare(splats, view), labels == cluster)
    rows, columns = shown.nonzero()
    place = len(rows) // 2
    return float(columns[place]) + 0.5, float(rows[place]) + 0.5


def test_the_stock_export_takes_a_selection_saved_in_the_viewer(session: Session, tmp_path: Path) -> None:
    session.select_object(session.objects()[1][0])
    chosen = session.selected()
    files.save(session, "from the viewer")
    folder = session.host.run_dir / "selections" / "from the viewer"
    run_command("ns-export", "gaussian-splat", "--load-config", folder / "config.yml", "--output-dir", tmp_path)
    exported, expected = read_ply(tmp_path / "splat.ply")[0], select(session.host.splats, chosen)
    for field in FIELDS:
        assert torch.equal(getattr(exported, field), getattr(expected, field)), field
    files.delete(session, "from the viewer")
    assert not folder.exists()


@pytest.fixture
def training(demo_scene: DemoScene, tmp_path: Path) -> Iterator[Trainer]:
    """`ns-train ... --vis viewer`, set up exactly as `trained` was, but not started."""
    import tyro
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion
    from nerfstudio.scripts.train import _set_random_seed

    args = train_args(demo_scene, tmp_path, "--max-num-iterations", STEPS, *GFL_SCHEDULE)
    config = tyro.cli(AnnotatedBaseConfigUnion, args=[str(arg) for arg in args[1:]])
    config.vis = "viewer"
    config.viewer.websocket_host = "127.0.0.1"
    config.viewer.quit_on_train_completion = True
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        config.viewer.websocket_port = probe.getsockname()[1]
    config.save_config()
    _set_random_seed(config.machine.seed)
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    yield trainer
    trainer.viewer_state.viser_server.stop()


def test_clicks_while_training_change_nothing_of_it(training: Trainer, trained: Path) -> None:
    panel = training.pipeline.click_control.panel
    session = panel.session
    view = small_view(session)
    x, y = view.width / 2, view.height * 0.6
    thread = threading.Thread(target=training.train)
    thread.start()

    def reach(step: int) -> None:
        end = time.monotonic() + PATIENCE_S
        while training.step < step and thread.is_alive() and time.monotonic() < end:
            time.sleep(0.01)
        assert training.step >= step

    reach(5)
    with pytest.raises(ValueError, match="has no clusters to select from"):
        session.click(view, x, y)
    panel._after_clusters()
    assert "no global clusters yet" in panel._feedback.text and panel._compute.visible
    panel._feedback.run(panel._compute_clusters)
    assert panel._feedback.text.startswith("clusters: ") and not panel._compute.visible
    first, clicks = training.step, 0
    while training.step < STEPS - 20 and thread.is_alive():
        outcome = session.click(view, x, y, "add" if clicks % 2 else "set")
        assert outcome.num_selected > 0
        clicks += 1
        session.transform((0.01, 0.0, 0.0))
        session.undo()
        reach(training.step + 1)
    assert first < STEPS - 20, "training was over before the clusters were there"
    assert clicks >= 3
    thread.join(PATIENCE_S)
    assert not thread.is_alive() and training.step == STEPS - 1
    (checkpoint,) = (trained.parent / "nerfstudio_models").glob("*.ckpt")
    undisturbed = torch.load(checkpoint, weights_only=True)["pipeline"]
    for name, value in training.pipeline.state_dict().items():
        assert torch.equal(value, undisturbed[name]), name
    (cluster, _), *_ = session.objects()
    assert session.click(view, *middle_of(session, view, cluster, "coarse")).num_selected > 0
