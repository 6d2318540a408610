"""One cell of the ablation: what `ns-train` and `click-gaussian eval` do, in one process, which loads the scene once.

    python benchmarks/ablation_cell.py GROUND_TRUTH METRICS_JSON METHOD [arguments of ns-train]

Of the evaluation it takes label propagation and the single click; corrective clicks, most of its time, are left out.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nerfstudio.engine.trainer import TrainerConfig
from tyro import cli
from tyro.conf import FlagConversionOff

from click_gaussian_ns.evaluate.command import run_evaluation
from click_gaussian_ns.evaluate.results import Protocol
from click_gaussian_ns.method.methods import click_gaussian_method
from click_gaussian_ns.runs.evaluation import evaluated_scene
from click_gaussian_ns.runs.open_run import opened

SINGLE_CLICK = Protocol(curve_clicks=1, max_clicks=1, noc_targets=())


def training_config(arguments: list[str]) -> TrainerConfig:
    """What `ns-train click-gaussian` makes of its arguments."""
    config = cli(FlagConversionOff[TrainerConfig], default=click_gaussian_method().config, args=arguments)
    config.pipeline.datamanager.data = config.data
    return config


def train_and_measure(ground_truth: Path, output_path: Path, arguments: list[str]) -> None:
    """Leaves metrics.json, and the run that nerfstudio writes."""
    config = training_config(arguments)
    config.save_config()
    trainer = config.setup(local_rank=0, world_size=1)
    trainer.setup()
    trainer.train()
    trainer.pipeline.eval()
    run = opened(config, trainer.pipeline, config.get_base_dir())
    seeds = {"model": config.pipeline.model.seed, "datamanager": config.pipeline.datamanager.seed}
    run_evaluation(evaluated_scene(run), ground_truth, output_path, seeds=seeds, protocol=SINGLE_CLICK)


if __name__ == "__main__":
    train_and_measure(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[4:])
