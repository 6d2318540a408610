"""Time and memory against the number of Gaussians and of views: slopes on log-log axes, and plots.

    python benchmarks/growth.py --output-dir outputs/growth

Runs scale.py for every size, a process each, with few frames and a fourteenth of the steps: a step's time does not
depend on how many there are, but features must be past their random start for clusters to be what they will be. All
sizes together take about 8 minutes on two idle cores. What is measured already with these settings (a JSON file in the
folder) is not run again. Figures: the slope of a line through the logarithms of each stage (limit 1.05), in growth.json
beside the records; growth_gaussians.png and growth_views.png in docs/.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

_STAGES = {
    "whole_s": "whole run of 3,000 steps (extrapolated), s",
    "setup_s": "set-up, s",
    "step_ms": "step, ms",
    "refresh_s": "finding clusters, s",
    "peak_rss_gb": "memory, GB",
    "render_rgb_ms": "RGB frame, ms",
}


@dataclass
class Arguments:
    """What to measure."""

    output_dir: Path = Path("outputs/growth")
    """Where records go."""
    plot_dir: Path = Path(__file__).resolve().parents[1] / "docs"
    """Where plots go."""
    gaussians: tuple[int, ...] = (50_000, 200_000, 1_000_000, 4_000_000)
    """Numbers of Gaussians, at the first number of views."""
    views: tuple[int, ...] = (20, 60, 200, 400)
    """Numbers of views, at the second number of Gaussians."""
    width: int = 640
    """Of a view, px."""
    height: int = 480
    """Of a view, px."""
    max_steps: int = 210
    """Steps of each run (fewer than the full recipe's 3,000), a third of them with GFL."""
    num_frames: int = 3
    """Frames of each run."""


def measure(arguments: Arguments, num_gaussians: int, num_views: int) -> dict[str, float]:
    """The record of one size."""
    path = arguments.output_dir / f"{num_gaussians}_{num_views}.json"
    wanted = {"num_steps": arguments.max_steps, "width": arguments.width, "height": arguments.height}
    if not path.is_file() or not _has(json.loads(path.read_text()), wanted):
        sizes = {"num-gaussians": num_gaussians, "num-views": num_views}
        sizes |= {"width": arguments.width, "height": arguments.height, "max-steps": arguments.max_steps}
        sizes |= {"num-frames": arguments.num_frames}
        options = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
        script = Path(__file__).parent / "scale.py"
        subprocess.run(
            [sys.executable, str(script), *options, "--no-first-frame", "--output-path", str(path)], check=True
        )
    record = json.loads(path.read_text())
    return {**record, "whole_s": record.get("extrapolated", record)["total_s"]}


def _has(record: dict[str, object], wanted: dict[str, int]) -> bool:
    return all(record.get(name) == value for name, value in wanted.items())


def slope(sizes: list[int], values: list[float]) -> float:
    """Of the least-squares line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def plot(path: Path, label: str, sizes: list[int], records: list[dict[str, float]]) -> None:
    """One line per stage, with its slope in the legend."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8.5, 4), dpi=90)
    for name, title in _STAGES.items():
        values = [record[name] for record in records]
        axes.loglog(sizes, values, "o-", label=f"{title} (slope {slope(sizes, values):.2f})")
    axes.set_xlabel(label)
    axes.grid(True, which="both", alpha=0.3)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xticks([], minor=True)
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    figure.savefig(path, bbox_inches="tight")
    plt.close(figure)


def main(arguments: Arguments) -> None:
    """Measure, plot, write."""
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    slopes: dict[str, dict[str, float]] = {}
    for label, sizes, of in (
        ("gaussians", list(arguments.gaussians), lambda n: (n, arguments.views[0])),
        ("views", list(arguments.views), lambda v: (arguments.gaussians[1], v)),
    ):
        records = [measure(arguments, *of(size)) for size in sizes]
        plot(arguments.plot_dir / f"growth_{label}.png", f"number of {label}", sizes, records)
        slopes[label] = {name: round(slope(sizes, [r[name] for r in records]), 3) for name in _STAGES}
    print(json.dumps(slopes, indent=1))
    (arguments.output_dir / "growth.json").write_text(json.dumps(slopes, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
