"""The whole life of a run on a pretended GPU: its numbers are the CPU's, and its amounts of work are bounded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import innermost, run_command, train_args
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.trainer import Trainer
from pretend_cuda import LOG, CudaTensor, pretend_cuda

from click_gaussian_ns.demo.scene import DemoScene
from click_gaussian_ns.method.pipeline import ClickGaussianPipeline
from click_gaussian_ns.runs.open_run import Run, open_run
from click_gaussian_ns.splats.ply import read_ply

STEPS = 120


@dataclass
class Amounts:
    """What steps cost on the device; those that log or look at held-out views are told apart."""

    renders: list[int] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)
    bytes_to_device: list[int] = field(default_factory=list)
    bytes_to_host: list[int] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    slow_work_with_lock: list[bool] = field(default_factory=list)
    is_on_device: bool = False


def _bytes(direction: str) -> int:
    return sum(sum(sizes) for (way, _), sizes in LOG.transfers.items() if way == direction)


def _measure(patch: pytest.MonkeyPatch, amounts: Amounts) -> None:
    """Count what every step does, and whether slow work is done while frames have to wait for it."""
    original = Trainer.train_iteration
    trainers: list[Trainer] = []

    def iteration(trainer: Trainer, step: int) -> Any:
        trainers[:] = [trainer]
        amounts.is_on_device = isinstance(trainer.pipeline.model.click_features, CudaTensor)
        before = len(LOG.renders), sum(LOG.waits.values()), _bytes("to cuda"), _bytes("to cpu"), dict(LOG.waits)
        made = original(trainer, step)
        amounts.renders.append(len(LOG.renders) - before[0])
        amounts.waits.append(sum(LOG.waits.values()) - before[1])
        amounts.bytes_to_device.append(_bytes("to cuda") - before[2])
        amounts.bytes_to_host.append(_bytes("to cpu") - before[3])
        for place, count in LOG.waits.items():
            amounts.places[place] = amounts.places.get(place, 0) + count - before[4].get(place, 0)
        return made

    patch.setattr(Trainer, "train_iteration", iteration)
    for name in ("found_clusters", "made_clusters", "agreement"):
        work = getattr(ClickGaussianPipeline, name)

        def noted(pipeline: ClickGaussianPipeline, *args: Any, _work: Any = work) -> Any:
            if trainers:  # the loop runs
                amounts.slow_work_with_lock.append(trainers[0].train_lock.locked())
            return _work(pipeline, *args)

        patch.setattr(ClickGaussianPipeline, name, noted)


def train_here(scene: DemoScene, output_dir: Path, *more: object) -> Path:
    """ns-train in this process, which may pretend to have a GPU: the run's config.yml."""
    from nerfstudio.scripts.train import entrypoint

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(arg) for arg in train_args(scene, output_dir, *more)])
        entrypoint()
    return output_dir / "demo" / "click-gaussian" / "run" / "config.yml"


def on(device: str, *more: object) -> list[object]:
    return ["--machine.device-type", device, "--max-num-iterations", STEPS, *more]


@pytest.fixture(scope="module")
def cpu_run(demo_scene: DemoScene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_here(demo_scene, tmp_path_factory.mktemp("cpu"), *on("cpu"))


@pytest.fixture(scope="module")
def measured(demo_scene: DemoScene, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Amounts]:
    """The same training on the pretended device, and what it cost there."""
    amounts = Amounts()
    with pretend_cuda(), pytest.MonkeyPatch.context() as patch:
        _measure(patch, amounts)
        config = train_here(demo_scene, tmp_path_factory.mktemp("cuda"), *on("cuda"))
    assert amounts.is_on_device and len(amounts.renders) == STEPS
    return config, amounts


def state_of(config: Path) -> dict[str, torch.Tensor]:
    (checkpoint,) = (config.parent / "nerfstudio_models").glob("*.ckpt")
    return torch.load(checkpoint, weights_only=True)["pipeline"]


def assert_same_run(found: Path, expected: Path) -> None:
    """Features and clusters of two trainings that differ in the order of their sums."""
    on_gpu, on_cpu = state_of(found), state_of(expected)
    assert on_gpu.keys() == on_cpu.keys()
    difference = (on_gpu["_model.click_features"] - on_cpu["_model.click_features"]).abs()
    assert float(difference.mean()) < 1e-3, f"mean {float(difference.mean()):.2e}, worst {float(difference.max()):.2e}"
    for level in ("coarse", "fine"):
        name = f"_model.cluster_labels_{level}"
        assert float((on_gpu[name] == on_cpu[name]).float().mean()) > 0.998, level


def test_training_gives_the_cpus_features_and_clusters(measured: tuple[Path, Amounts], cpu_run: Path) -> None:
    assert_same_run(measured[0], cpu_run)


def test_a_step_renders_nothing_and_waits_for_nothing(measured: tuple[Path, Amounts]) -> None:
    """Only every tenth step is logged; a step that is not copies the rows of its pixels, and no more."""
    amounts = measured[1]
    assert set(amounts.renders) == {0}
    quiet = [step for step in range(1, STEPS) if step % 10]
    assert max(amounts.waits[step] for step in quiet) == 0, {p: n for p, n in amounts.places.items() if n}
    assert max(amounts.bytes_to_host[step] for step in quiet) == 0
    per_entry, most_entries = 8, 2000 * 120
    assert max(amounts.bytes_to_device[step] for step in quiet) < per_entry * most_entries


def test_frames_and_clicks_need_not_wait_for_clusters(measured: tuple[Path, Amounts]) -> None:
    assert len(measured[1].slow_work_with_lock) >= 3 and not any(measured[1].slow_work_with_lock)


def test_a_run_is_resumed(measured: tuple[Path, Amounts], demo_scene: DemoScene, tmp_path: Path) -> None:
    models = measured[0].parent / "nerfstudio_models"
    with pretend_cuda():
        config = train_here(demo_scene, tmp_path, *on("cuda", "--load-dir", models, "--max-num-iterations", 5))
    (checkpoint,) = (config.parent / "nerfstudio_models").glob("*.ckpt")
    assert torch.load(checkpoint, weights_only=True)["step"] == STEPS + 4


@pytest.fixture
def opened(measured: tuple[Path, Amounts]) -> Iterator[tuple[Run, Run]]:
    """One checkpoint on both devices."""
    on_cpu = open_run(measured[0])
    with pretend_cuda():
        yield on_cpu, open_run(measured[0])


def test_every_output_is_the_cpus(opened: tuple[Run, Run]) -> None:
    camera = opened[0].views[0].camera
    box = OrientedBox.from_params(pos=(0.0, 0.0, 0.0), rpy=(0.0, 0.0, 0.3), scale=(0.7, 0.7, 0.7))
    for crop in (None, box):
        found = [run.pipeline.model.get_outputs_for_camera(camera, crop) for run in opened]
        assert set(found[0]) == set(found[1])
        for name in found[0]:
            expected, picture = found[0][name], found[1][name].cpu()
            off = (picture - expected).abs().amax(-1) > 1e-3
            assert float(off.float().mean()) < 2e-3, name
    assert len(LOG.renders) >= 2 and max(channels for _, _, channels, _ in LOG.renders) <= 32


def test_the_shells_commands_give_the_cpus_results(
    measured: tuple[Path, Amounts], demo_scene: DemoScene, tmp_path: Path
) -> None:
    stem, x, y = innermost(demo_scene, "coarse", 4)
    config, results = measured[0], []
    for device in ("cpu", "cuda"):
        out, name = tmp_path / device, f"mug_{device}"
        click = ("--camera", stem, "--point", x, y, "--level", "coarse", "--name", name)
        export = ("--selection", name, "--output-dir", out)

        def life(out: Path = out, click: tuple = click, export: tuple = export) -> None:
            run_command("click-gaussian", "segment", "--load-config", config, *click)
            run_command("click-gaussian", "export", "--load-config", config, *export)
            truth = ("--ground-truth", demo_scene.ground_truth, "--output-path", out / "metrics.json")
            run_command("click-gaussian", "eval", "--load-config", config, *truth)

        if device == "cuda":
            with pretend_cuda():
                life()
                assert LOG.renders, "gsplat draws the frames"
        else:
            life()
        ids = np.load(config.parent / "selections" / name / "selection.npy")
        results.append((ids, read_ply(out / f"{name}.ply")[0], (out / "metrics.json").read_text()))
    (cpu_ids, cpu_splats, cpu_metrics), (ids, splats, metrics) = results
    np.testing.assert_array_equal(ids, cpu_ids)
    assert len(ids) > 50 and torch.equal(splats.means, cpu_splats.means)
    scores = [[float(n) for n in _numbers(text, "iou")] for text in (metrics, cpu_metrics)]
    assert len(scores[0]) > 4
    np.testing.assert_allclose(scores[0], scores[1], atol=5e-3)


def _numbers(text: str, word: str) -> list[float]:
    """All numbers of a JSON text below a key that has this word in it."""
    import json

    found: list[float] = []

    def walk(node: Any, inside: bool) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, inside or word in key)
        elif isinstance(node, list):
            for value in node:
                walk(value, inside)
        elif inside and isinstance(node, (int, float)) and not isinstance(node, bool):
            found.append(float(node))

    walk(json.loads(text), False)
    return found


def test_where_gsplat_cannot_draw_the_cpu_does(cpu_run: Path, demo_scene: DemoScene, tmp_path: Path, capsys) -> None:
    """These machines have no nvcc: the pretended GPU's gsplat fails as it does for a user."""
    with pretend_cuda(gsplat_draws=False):
        config = train_here(demo_scene, tmp_path, *on("cuda"))
        assert LOG.renders == []
        run = open_run(config)
        picture = run.pipeline.model.get_outputs_for_camera(run.views[0].camera)["rgb"]
        assert isinstance(picture, CudaTensor)
    assert "a pretended GPU trains features. The CPU draws frames" in " ".join(capsys.readouterr().out.split())
    assert_same_run(config, cpu_run)
    expected = open_run(config).pipeline.model.get_outputs_for_camera(run.views[0].camera)["rgb"]
    torch.testing.assert_close(picture.elem, expected, rtol=0, atol=1e-5)
