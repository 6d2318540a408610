"""The methods that this package adds to nerfstudio, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from nerfstudio.configs.base_config import LoggingConfig, MachineConfig, ViewerConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from nerfstudio.engine.optimizers import AdamOptimizerConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig
from nerfstudio.plugins.types import MethodSpecification

from click_gaussian_ns.geometry.settings import (
    GEOMETRY_STEPS,
    GeometryDataManagerConfig,
    SplatfactoCpuModelConfig,
)
from click_gaussian_ns.method.settings import (
    ClickGaussianDataManagerConfig,
    ClickGaussianModelConfig,
    ClickGaussianPipelineConfig,
)
from click_gaussian_ns.method.trainer import ClickGaussianTrainerConfig, WholeCheckpointTrainerConfig
from click_gaussian_ns.runs.machine import default_device

NUM_STEPS = 3000
LEARNING_RATE = 0.01


@dataclass
class FusedAdamOptimizerConfig(AdamOptimizerConfig):
    """Adam whose step is one pass over the parameters."""

    def setup(self, params: Any) -> torch.optim.Optimizer:
        params = list(params)
        fused = all(param.device.type in ("cpu", "cuda") for param in params)
        return self._target(params, lr=self.lr, eps=self.eps, weight_decay=self.weight_decay, fused=fused or None)


def click_gaussian_method() -> MethodSpecification:
    """`ns-train click-gaussian`: 3,000 steps over frozen geometry."""
    return MethodSpecification(
        config=ClickGaussianTrainerConfig(
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
                    "optimizer": FusedAdamOptimizerConfig(lr=LEARNING_RATE, eps=1e-15, weight_decay=0.0),
                    "scheduler": None,
                }
            },
            viewer=ViewerConfig(num_rays_per_chunk=1 << 15),
            vis="viewer+tensorboard",
        ),
        description="Click-Gaussian: a feature per frozen 3D Gaussian, so that a click selects an object or a part.",
    )


GEOMETRY_RATES = {
    "means": 1.6e-4,
    "features_dc": 0.0025,
    "features_rest": 0.0025 / 20,
    "opacities": 0.05,
    "scales": 0.005,
    "quats": 0.001,
    "exposures": 0.002,
}
"""Adam's learning rates."""


def splatfacto_cpu_method() -> MethodSpecification:
    """`ns-train splatfacto-cpu`: splatfacto without a GPU."""
    optimizers = {
        name: {"optimizer": AdamOptimizerConfig(lr=rate, eps=1e-15), "scheduler": None}
        for name, rate in GEOMETRY_RATES.items()
    }
    # asked for by nerfstudio with a bilateral grid only
    optimizers["bilateral_grid"] = {"optimizer": AdamOptimizerConfig(lr=2e-3, eps=1e-15), "scheduler": None}
    return MethodSpecification(
        config=WholeCheckpointTrainerConfig(
            method_name="splatfacto-cpu",
            steps_per_save=500,
            steps_per_eval_batch=0,
            steps_per_eval_image=500,
            steps_per_eval_all_images=0,
            max_num_iterations=GEOMETRY_STEPS,
            mixed_precision=False,
            machine=MachineConfig(device_type="cpu"),
            logging=LoggingConfig(steps_per_log=10),
            pipeline=VanillaPipelineConfig(
                datamanager=GeometryDataManagerConfig(dataparser=NerfstudioDataParserConfig(load_3D_points=True)),
                model=SplatfactoCpuModelConfig(),
            ),
            optimizers=optimizers,
            viewer=ViewerConfig(num_rays_per_chunk=1 << 15),
            vis="viewer+tensorboard",
        ),
        description="Splatfacto without a GPU: geometry from photos with poses, on the CPU.",
    )
