"""The click tool for a long while, on the bundled scene."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from click_scene import SmallHost, demo_scene_exactly

from click_gaussian_ns.demo.scene import look_at
from click_gaussian_ns.splats.cameras import intrinsics, view_from_opengl
from click_gaussian_ns.types import Splats
from click_gaussian_ns.viewer import files
from click_gaussian_ns.viewer.book import ObjectBook
from click_gaussian_ns.viewer.session import Session
from click_gaussian_ns.viewer.state import CLICK_MODES, HIGHLIGHTS

FIELDS = ("means", "quats", "log_scales", "opacity_logits", "sh")


@pytest.mark.slow
def test_soak(tmp_path: Path) -> None:
    """1,000 random operations: no exception but clear refusals, flat memory, and undo back to the very start."""
    rng = random.Random(0)
    session = Session(SmallHost(tmp_path, scene=demo_scene_exactly()))
    base = session.host.splats
    assert base.num_gaussians >= 15_000
    pose = torch.from_numpy(look_at(np.array([1.6, -1.6, 1.5]), np.array([0.05, 0.0, 0.25])))
    view = view_from_opengl(pose, intrinsics(150.0, 150.0, 80.0, 60.0), 160, 120)
    before = Splats(**{field: getattr(base, field).clone() for field in FIELDS})
    objects = [("coarse", 0), ("coarse", 1), ("fine", 0)]

    def vector(size: float) -> tuple[float, float, float]:
        return rng.uniform(-size, size), rng.uniform(-size, size), rng.uniform(-size, size)

    def click() -> object:
        return session.click(view, rng.uniform(0, view.width), rng.uniform(0, view.height), rng.choice(CLICK_MODES))

    def rectangle() -> object:
        x, y = rng.uniform(0, 0.7 * view.width), rng.uniform(0, 0.7 * view.height)
        return session.region(view, ((x, y), (x + 0.3 * view.width, y + 0.3 * view.height)))

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
        lambda: session.change(book=ObjectBook(hidden=frozenset(rng.sample(objects, rng.randint(0, 2))))),
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
