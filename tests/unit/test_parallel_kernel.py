"""Threads that draw and pool at once, on numba's layer that bears only one."""

import os
import subprocess
import sys
from pathlib import Path

TWO_THREADS = """
import threading
import numba, numpy as np, torch
from click_scene import front_view, small_scene
from click_gaussian_ns.raster import matrices, rasterize

splats, view = small_scene()[0], front_view()
labels = (np.arange(view.height * view.width).reshape(1, view.height, view.width) // 97 % 5).astype(np.uint16)

def draw():
    return rasterize.render(rasterize.prepare(splats, view)).image

def pool():
    return matrices.pool_levels(rasterize.prepare(splats, view), labels, 0)[0][0].weights

alone = {job: job() for job in (draw, pool)}
assert numba.threading_layer() == "workqueue"
same = []

def work(job):
    same.extend(torch.equal(job(), alone[job]) for _ in range(30))

threads = [threading.Thread(target=work, args=(job,)) for job in (draw, pool, draw, pool)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(same), all(same))
"""


def test_threads_that_draw_and_pool_at_once_take_turns() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWO_THREADS],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        env={**os.environ, "NUMBA_THREADING_LAYER": "workqueue"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("\n")[-2] == "120 True"
