"""The methods that this package adds to nerfstudio, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from nerfstudio.configs.base_config import LoggingConfig, MachineConfig, ViewerConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.plugins.types import MethodSpecification

from click_gaussian_ns.plugin.settings import (
    ClickGaussianDataManagerConfig,
    ClickGaussianModelConfig,
    ClickGaussianPipelineConfig,
)

NUM_STEPS = 3000
LEARNING_RATE = 0.01
_TORCH_VERSION = tuple(int(part) for part in torch.__version__.split(".")[:2])


@dataclass
class FusedAdamOptimizerConfig(AdamOptimizerConfig):
    """Adam whose step on CPU is one pass over the parameters, where PyTorch has it (2.4)."""

    def setup(self, params: Any) -> torch.optim.Optimizer:
        params = list(params)
        fused = _TORCH_VERSION >= (2, 4) and all(param.device.type == "cpu" for param in params)
        return self._target(params, lr=self.lr, eps=self.eps, weight_decay=self.weight_decay, fused=fused or None)


def default_device() -> Literal["cuda", "cpu"]:
    """CUDA where there is a GPU, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def click_gaussian_method() -> MethodSpecification:
    """`ns-train click-gaussian`: 3,000 steps over frozen geometry."""
    return MethodSpecification(
        config=TrainerConfig(
            method_name="click-gaussian",
            steps_per_save=500,
            steps_per_eval_batch=0,
            steps_per_eval_image=1000,
            steps_per_eval_all_images=0,
            max_num_iterations=NUM_STEPS,
            mixed_precision=False,
            machine=MachineConfig(device_type=default_device()),
            logging=LoggingConfig(steps_per_log=10),
            pipeline=ClickGaussianPipelineConfig(
                datamanager=ClickGaussianDataManagerConfig(dataparser=NerfstudioDataParserConfig()),
                model=ClickGaussianModelConfig(),
            ),
            optimizers={
                "click_features": {
                    "optimizer": FusedAdamOptimizerConfig(lr=LEARNING_RATE, eps=1e-15),
                    "scheduler": None,
                }
            },
            viewer=ViewerConfig(num_rays_per_chunk=1 << 15),
            vis="viewer+tensorboard",
        ),
        description="Click-Gaussian: a feature per frozen 3D Gaussian, so that a click selects an object or a part.",
    )
