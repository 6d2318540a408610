"""Time and memory of clusters without training against the number of 2D segments: slopes on log-log axes.

    python benchmarks/clustering.py [--output-path out.json]

A made scene of things that lie beside each other, of which each view shows a window. With more views there are more
segments: of the same 200 things, or with `--larger` of more things, as in photos of a larger place. Figures: seconds
(lower) and the process's peak memory above that before (GB, lower) of `clusters_from_segments`, and the slopes of lines
through the logarithms. Limits of the slopes are 2: of the same place, each view's segments overlap those of all others.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path

import machine
import numpy as np
import torch
import tyro

from click_gaussian_ns.clusters.from_segments import clusters_from_segments
from click_gaussian_ns.clusters.pooling import Pooling
from click_gaussian_ns.types import SegmentWeights

_THINGS_PER_VIEW = 40
_THINGS = 200
_GAUSSIANS_PER_THING = 100


@dataclass
class Arguments:
    """What to measure."""

    segments: tuple[int, ...] = (1_000, 4_000, 16_000, 60_000)
    """Numbers of segments, of all views together."""
    larger: bool = False
    """Whether more views show more things."""
    threads: int = 2
    """CPU cores to use."""
    output_path: Path | None = None
    """Write the figures here as JSON."""


def make_pooling(num_segments: int, larger: bool = False) -> Pooling:
    """Pooling of views that each see some things in a row, of which some are merged with the next."""
    rng = np.random.default_rng(0)
    num_views = num_segments // _THINGS_PER_VIEW
    num_things = max(_THINGS_PER_VIEW * num_views // 25, _THINGS_PER_VIEW) if larger else _THINGS
    ids, weights, sizes, views, segments = [], [], [], [], []
    for view in range(num_views):
        first = round((num_things - _THINGS_PER_VIEW) * view / max(num_views - 1, 1))
        merged = rng.random(_THINGS_PER_VIEW) < 0.2
        cuts = [0, *(np.flatnonzero(~merged[1:]) + 1), _THINGS_PER_VIEW]
        for segment, (start, end) in enumerate(itertools.pairwise(cuts), start=1):
            members = np.arange((first + start) * _GAUSSIANS_PER_THING, (first + end) * _GAUSSIANS_PER_THING)
            seen = members[rng.random(len(members)) < 0.6]
            ids.append(seen)
            weights.append(rng.random(len(seen)).astype(np.float32) / len(seen))
            sizes.append(len(seen) * 5)
            views.append(view)
            segments.append(segment)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in ids])])
    num_gaussians = num_things * _GAUSSIANS_PER_THING
    matrix = SegmentWeights(
        torch.from_numpy(offsets),
        torch.from_numpy(np.concatenate(ids).astype(np.int32)),
        torch.from_numpy(np.concatenate(weights)),
        num_gaussians,
        torch.tensor(views),
        torch.tensor(segments),
        torch.tensor(sizes),
    )
    return Pooling({"fine": matrix}, torch.ones(num_gaussians))


def measure(num_segments: int, larger: bool, threads: int) -> dict[str, float]:
    """Of one size; in a process of its own, for its peak memory."""
    machine.use_threads(threads)
    clusters_from_segments(make_pooling(200), "fine")  # loads the kernels
    pooling = make_pooling(num_segments, larger)
    before, start = machine.peak_rss_gb(), time.perf_counter()
    _, num_clusters = clusters_from_segments(pooling, "fine")
    seconds = time.perf_counter() - start
    num = pooling.levels["fine"].num_segments
    return {"segments": num, "clusters": num_clusters, "s": seconds, "gb": machine.peak_rss_gb() - before}


def main(arguments: Arguments) -> dict[str, float]:
    """Measure, print a table and the slopes, write."""
    records = []
    for size in arguments.segments:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            records.append(pool.apply(measure, (size, arguments.larger, arguments.threads)))
        print("  ".join(f"{name} {value:,.2f}" for name, value in records[-1].items()), flush=True)
    sizes = np.log([record["segments"] for record in records])
    slopes = {
        f"slope_{name}": float(np.polyfit(sizes, np.log([max(record[name], 1e-3) for record in records]), 1)[0])
        for name in ("s", "gb")
    }
    print(slopes)
    if arguments.output_path is not None:
        arguments.output_path.write_text(json.dumps({"records": records, **slopes}, indent=1) + "\n")
    return slopes


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
