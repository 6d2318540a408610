"""Measure a run against true masks (docs/evaluation.md): all figures, a page of pictures, and the worst objects here.

python examples/04_evaluate.py --load-config CONFIG --ground-truth GT --output-dir evaluation
"""

from pathlib import Path

import tyro

from click_gaussian_ns import evaluate_run, open_run


def main(load_config: Path, ground_truth: Path, output_dir: Path) -> None:
    run = open_run(load_config)
    report = evaluate_run(run, ground_truth, output_dir / "metrics.json", output_dir / "report.html")
    ious = {result.task: result.mean(lambda view: view.propagated.iou) for result in report.results}
    for task in sorted(ious, key=lambda task: ious[task])[:5]:
        print(f"{task.level} {task.name}: IoU {ious[task]:.3f}")
    print(f"mIoU: coarse {report.metrics['coarse.miou']:.3f}, fine {report.metrics['fine.miou']:.3f}")


if __name__ == "__main__":
    tyro.cli(main)
