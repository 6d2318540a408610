"""nerfstudio's trainer: its checkpoints appear whole, and click-gaussian's first sees to it that there is geometry."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from nerfstudio.engine.trainer import Trainer, TrainerConfig
from nerfstudio.utils import writer
from nerfstudio.utils.rich_utils import CONSOLE

from click_gaussian_ns.files import DEBUG, one_line
from click_gaussian_ns.masks.provenance import write_provenance
from click_gaussian_ns.method.settings import ClickGaussianPipelineConfig
from click_gaussian_ns.runs.derived_config import make_paths_absolute
from click_gaussian_ns.runs.files import CAMERAS_FILE
from click_gaussian_ns.runs.machine import geometry_method, what_does_what


@contextmanager
def ending_in_one_line() -> Iterator[None]:
    """Bad input ends in one line and exit code 2, as the other commands do; nerfstudio has no such thing.

    Raises:
        SystemExit: of code 2, for what the user can mend.
    """
    try:
        yield
    except (ValueError, OSError, AssertionError) as error:
        if os.environ.get(DEBUG) or not str(error):
            raise
        print(f"error: {one_line(error)} ({DEBUG}=1 shows where)", file=sys.stderr)
        raise SystemExit(2) from error


class WholeCheckpointTrainer(Trainer):
    """A run that is killed while it saves keeps the checkpoint before, and has no half one beside it."""

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        with ending_in_one_line():
            self._before_setup()
            super().setup(test_mode)
            self._after_setup()

    def train(self) -> None:
        with ending_in_one_line():
            super().train()

    def _before_setup(self) -> None:
        """What comes before the pipeline is built."""

    def _after_setup(self) -> None:
        """What comes when it is."""

    def save_checkpoint(self, step: int) -> None:
        whole, aside = self.checkpoint_dir, self.base_dir / ".saving" / "checkpoint"
        shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed
        self.checkpoint_dir = aside
        try:
            super().save_checkpoint(step)
        finally:
            self.checkpoint_dir = whole
        whole.mkdir(parents=True, exist_ok=True)
        for path in aside.glob("*.ckpt"):
            os.replace(path, whole / path.name)
            if self.config.save_only_latest_checkpoint:
                for older in set(whole.glob("*.ckpt")) - {whole / path.name}:
                    older.unlink()
        shutil.rmtree(aside.parent, ignore_errors=True)


@dataclass
class WholeCheckpointTrainerConfig(TrainerConfig):
    """nerfstudio's settings of a training."""

    _target: type = field(default_factory=lambda: WholeCheckpointTrainer)

    def save_config(self) -> None:
        """The first thing that ns-train does, before it starts a process per device. Paths become absolute.

        Raises:
            ValueError: several devices: each would train geometry of its own, and publish half of another's checkpoint;
                or a device that nothing here draws on.
        """
        if self.machine.device_type not in ("cuda", "cpu"):
            raise ValueError(
                f"--machine.device-type {self.machine.device_type}: {self.method_name} trains on cuda or cpu. Leave "
                "the flag out"
            )
        for flag, count in (("devices", self.machine.num_devices), ("machines", self.machine.num_machines)):
            if count > 1:
                raise ValueError(
                    f"--machine.num-{flag} {count}: {self.method_name} trains on one device of one machine. Leave the "
                    "flag out"
                )
        make_paths_absolute(self)
        super().save_config()


class ClickGaussianTrainer(WholeCheckpointTrainer):
    """Geometry is found, or trained, before the pipeline is built; then the cameras are kept with the run."""

    def _after_setup(self) -> None:
        manager: Any = self.pipeline.datamanager
        manager.keep_cameras()
        if manager.provenance is not None:
            write_provenance(self.base_dir, manager.provenance)

    def _after_train(self) -> None:
        manager: Any = self.pipeline.datamanager
        if manager.provenance is not None:
            CONSOLE.log(manager.provenance.sentence)
        from click_gaussian_ns.runs.capture import capture_of
        from click_gaussian_ns.runs.open_run import opened

        try:
            capture = capture_of(opened(self.config, self.pipeline, self.base_dir))
        except (ValueError, OSError) as error:
            # the run is complete without it
            CONSOLE.log(f"The capture was not measured: {one_line(error)}")
        else:
            if capture is not None:
                CONSOLE.log(capture.line)
        if self.config.max_num_iterations == 0:
            # a run that ends with the clusters: nerfstudio's log tells the last step and its share, and there is none
            self.step = max(self._start_step - 1, 0)
            writer.GLOBAL_BUFFER.update(step=self.step, max_iter=max(self._start_step, 1))
        super()._after_train()

    def _before_setup(self) -> None:
        """Fill in the model's `splat`, and note it in the run's config.yml. A run that is resumed has its geometry.

        Raises:
            ValueError: the user wants none, or see `find_or_train_geometry`.
        """
        CONSOLE.log(what_does_what(self.config.machine.device_type))
        pipeline = self.config.pipeline
        assert isinstance(pipeline, ClickGaussianPipelineConfig)
        model = pipeline.model
        if model.splat is not None and str(model.splat).lower() == "none":
            raise ValueError(
                "--pipeline.model.splat none: click-gaussian learns features of Gaussians and cannot do without. Give "
                "a splatfacto run (config.yml, run folder or .ckpt) or a .ply, or leave the flag out: then one is "
                "found or trained"
            )
        if model.splat is not None or self.config.load_dir is not None or self.config.load_checkpoint is not None:
            return
        from nerfstudio.configs.method_configs import all_methods

        from click_gaussian_ns.geometry.find_or_train import find_or_train_geometry
        from click_gaussian_ns.scenes.data_layout import check_scene, settle_dataparser
        from click_gaussian_ns.scenes.splat_data import SplatDataParserConfig

        settle_dataparser(pipeline.datamanager)
        parser = pipeline.datamanager.dataparser
        if isinstance(parser, SplatDataParserConfig):
            model.splat = Path(pipeline.datamanager.data or parser.data).resolve()
        else:
            method = cast(TrainerConfig, all_methods[geometry_method(self.config.machine.device_type)])
            check_scene(pipeline.datamanager)
            model.splat = find_or_train_geometry(self.config, pipeline.geometry, method).resolve()
        self.config.save_config()


@dataclass
class ClickGaussianTrainerConfig(WholeCheckpointTrainerConfig):
    """nerfstudio's settings of a training."""

    _target: type = field(default_factory=lambda: ClickGaussianTrainer)

    def save_config(self) -> None:
        assert isinstance(self.pipeline, ClickGaussianPipelineConfig)
        self.pipeline.datamanager.kept_cameras = self.get_base_dir().resolve() / CAMERAS_FILE
        super().save_config()
