"""The click tool on trained runs, without a browser: exports by the stock command, clicks while training, a soak."""

from __future__ import annotations

import gc
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch
from commands import GFL_SCHEDULE, STEPS, run_command, train_args
from nerfstudio.engine.trainer import Trainer

from click_gaussian_ns.demo.scene import DemoScene
from click_gaussian_ns.plugin.runs import open_run
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.splats.ply import read_ply
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.types import PinholeView, Splats
from click_gaussian_ns.viewer import files
from click_gaussian_ns.viewer.session import Session
from click_gaussian_ns.viewer.state import CLICK_MODES, HIGHLIGHTS

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


@pytest.mark.slow
def test_soak(session: Session) -> None:
    """1,000 random operations: no exception but clear refusals, flat memory, and undo back to the very start."""
    rng, view = random.Random(0), small_view(session)
    base = session.host.splats
    before = Splats(**{field: getattr(base, field).clone() for field in FIELDS})
    objects = [("coarse", 0), ("coarse", 1), ("fine", 0)]

    def vector(size: float) -> tuple[float, float, float]:
        return rng.uniform(-size, size), rng.uniform(-size, size), rng.uniform(-size, size)

    def click() -> object:
        return session.click(view, rng.uniform(0, view.width), rng.uniform(0, view.height), rng.choice(CLICK_MODES))

    def rectangle() -> object:
        x, y = rng.uniform(0, 0.7 * view.width), rng.uniform(0, 0.7 * view.height)
        return session.rectangle(view, (x, y), (x + 0.3 * view.width, y + 0.3 * view.height))

    def duplicate() -> object:
        room = session.scene.num_gaussians + session.outcome().num_selected < 2 * base.num_gaussians
        return session.duplicate(vector(0.5)) if room else session.undo()

    names = [f"name {i}" for i in range(5)]
    operations: list[Callable[[], object]] = [
        *[click] * 8,
        *[session.undo, session.redo] * 3,
        *[rectangle, session.invert, session.grow, session.shrink, session.grow_similar, session.shrink_similar],
        *[session.keep_largest, session.select_all, session.clear, session.remove, session.isolate, duplicate],
        lambda: session.select_object(rng.randrange(3)),
        lambda: session.transform(vector(0.2), (1.0, *vector(0.3)), rng.uniform(0.8, 1.2)),
        lambda: session.transform(vector(0.3)),
        lambda: session.recolor((rng.random(), rng.random(), rng.random()), rng.random()),
        lambda: session.change(level=rng.choice(["coarse", "fine"])),
        lambda: session.change(highlight=rng.choice(HIGHLIGHTS), min_confidence=rng.choice([0.0, 0.3])),
        lambda: session.change(front_only=rng.random() < 0.3),
        lambda: session.change(hidden_objects=frozenset(rng.sample(objects, rng.randint(0, 2)))),
        lambda: files.save(session, rng.choice(names)),
        lambda: files.load(session, rng.choice(names)),
        lambda: files.delete(session, rng.choice(names)),
    ]
    edit_file = files.EditFile(session)
    process = psutil.Process()
    refused, warm_bytes = 0, 0
    for step in range(1000):
        if step == 200:
            gc.collect()
            warm_bytes = process.memory_info().rss
        try:
            rng.choice(operations)()
        except ValueError:
            refused += 1
        edit_file.update()
    gc.collect()
    grown_mib = (process.memory_info().rss - warm_bytes) / 2**20
    print(f"soak: {refused} of 1000 refused, {session.can_undo} steps of history, memory {grown_mib:+.1f} MiB")
    assert refused < 500
    assert grown_mib < 50
    made = session.can_undo
    assert made > 100
    while session.can_undo:
        session.undo()
    for field in FIELDS:
        assert torch.equal(getattr(session.scene.splats, field), getattr(before, field)), field
    assert bool(session.scene.alive.all()) and not bool(session.work.selected.unpack().any())
    for _ in range(made):
        session.redo()
    assert session.can_undo == made
    for name in names:
        if name in files.list_selections(session.host.run_dir):
            files.delete(session, name)
    (session.host.run_dir / "edits.json").unlink(missing_ok=True)
