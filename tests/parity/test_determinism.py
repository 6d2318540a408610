"""The CPU kernels give the same bits in every run and for every number of threads."""

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import hashlib, json, sys
import numba, numpy as np, torch
sys.path.insert(0, sys.argv[1])
import scenes
from click_gaussian_ns.raster import matrices
from click_gaussian_ns.features.gaussian_kernel import gaussian_gradient
from click_gaussian_ns.features.levels import granularity_levels
from click_gaussian_ns.features.terms.contrastive import contrastive_negative, contrastive_positive
from click_gaussian_ns.features.terms.term import Guide
from click_gaussian_ns.features.neighbors import nearest_neighbors
from click_gaussian_ns.raster import rasterize

torch.set_num_threads(1)
splats, view = scenes.cloud(3000, seed=0, size=0.05), scenes.camera(width=150, height=110, fx=140.0, fy=140.0)
generator = torch.Generator().manual_seed(1)
start = torch.randn(3000, 24, generator=generator)
pixel_ids = torch.randint(150 * 110, (2000,), generator=generator)
segments = torch.randint(1, 30, (2000,), generator=generator)
levels = granularity_levels()
guides = [Guide(torch.nn.functional.normalize(start[:40, l.channels], dim=-1), None) for l in levels]
label_map = (np.arange(110)[:, None] // 20 * 10 + np.arange(150)[None] // 20 + 1).astype(np.uint16)
neighbors, sampled = nearest_neighbors(splats.means, 5), torch.arange(3000) % 3 > 0

def bits():
    features = start.clone().requires_grad_()
    prepared = rasterize.prepare(splats, view)
    rendered = rasterize.render(prepared, features)
    pixels = rasterize.blend(matrices.blend_weights(prepared, pixel_ids), features)
    pooled = matrices.pool(prepared, label_map, 0)
    terms = [
        contrastive_positive(pixels, segments),
        contrastive_negative(pixels, segments, 0.3, 12),
    ]
    assert all(float(t.detach()) != 0.0 for t in terms)
    sum(terms).backward()
    gradient = np.empty((3000, 24), np.float32)
    weights = {"norm_3d": 0.2, "spatial": 0.5, "gfl": 1.0}
    values = gaussian_gradient(start.numpy(), levels, weights, 0.4, neighbors, sampled.numpy(), guides, gradient)
    assert len(values) == 3 and all(values.values())
    named = {
        "tile lists": torch.from_numpy(prepared.tile_entries), "image": rendered.image, "depth": rendered.depth,
        "pixels": pixels, "pooled ids": pooled.gaussian_ids, "pooled weights": pooled.weights,
        "terms": torch.stack(terms), "gradient": features.grad,
        "terms on Gaussians": torch.tensor(list(values.values())), "their gradient": torch.from_numpy(gradient),
    }
    return {name: hashlib.sha256(t.detach().numpy().tobytes()).hexdigest() for name, t in named.items()}

def different_gradients():
    # of a thousand, wherever in memory a kernel's arrays come to lie: near ones must not take another path
    rng, held, found = np.random.default_rng(0), [], set()
    weights = {"norm_3d": 0.2, "spatial": 0.5, "gfl": 1.0}
    gradient = np.empty((3000, 24), np.float32)
    for num_threads in rng.integers(1, 5, 1000).tolist():
        numba.set_num_threads(num_threads)
        held = [*held[-50:], np.empty(int(rng.integers(1, 5000)), np.uint8)]
        values = gaussian_gradient(start.numpy(), levels, weights, 0.4, neighbors, sampled.numpy(), guides, gradient)
        found.add((*values.values(), gradient.tobytes()))
    return len(found)

runs = []
for num_threads in (1, 1, 2, 2, 3, 4):
    numba.set_num_threads(num_threads)
    runs.append(bits())
print(json.dumps({"runs": runs, "different_gradients": different_gradients()}))
"""


def test_same_bits_in_every_run_and_on_any_number_of_threads() -> None:
    """In a process of its own: numba fixes the highest number of threads at its first import."""
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)]
    environment = {**os.environ, "NUMBA_NUM_THREADS": "4"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    runs = printed["runs"]
    assert len(runs) == 6
    for run in runs[1:]:
        assert run == runs[0]
    assert printed["different_gradients"] == 1
