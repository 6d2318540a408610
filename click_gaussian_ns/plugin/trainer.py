"""nerfstudio's trainer, which first sees to it that there is geometry."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nerfstudio.engine.trainer import Trainer, TrainerConfig

from click_gaussian_ns.plugin.settings import ClickGaussianPipelineConfig


class ClickGaussianTrainer(Trainer):
    """Geometry is found, or trained, before the pipeline is built."""

    def setup(self, test_mode: Literal["test", "val", "inference"] = "val") -> None:
        self._settle_geometry()
        super().setup(test_mode)

    def _settle_geometry(self) -> None:
        """Fill in the model's `splat`, and note it in the run's config.yml. A run that is resumed has its geometry.

        Raises:
            ValueError: the user wants none, or see `find_or_train_geometry`.
        """
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
        from click_gaussian_ns.plugin.data_layout import settle_dataparser
        from click_gaussian_ns.plugin.geometry import find_or_train_geometry
        from click_gaussian_ns.plugin.splat_data import SplatDataParserConfig

        settle_dataparser(pipeline.datamanager)
        parser = pipeline.datamanager.dataparser
        if isinstance(parser, SplatDataParserConfig):
            model.splat = Path(pipeline.datamanager.data or parser.data).resolve()
        else:
            model.splat = find_or_train_geometry(self.config).resolve()
        self.config.save_config()


@dataclass
class ClickGaussianTrainerConfig(TrainerConfig):
    """nerfstudio's settings of a training."""

    _target: type = field(default_factory=lambda: ClickGaussianTrainer)
