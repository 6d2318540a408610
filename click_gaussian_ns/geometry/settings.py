"""Settings of `ns-train splatfacto-cpu`: splatfacto's own, with defaults for a computer without a GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanagerConfig
from nerfstudio.models.splatfacto import SplatfactoModelConfig

GEOMETRY_STEPS = 2000
"""Steps that the schedule below is written for."""
NUM_FAR_POINTS = 4000
"""On a whole sphere around the scene (see `far_shell`): one every three degrees."""


def geometry_datamanager_class() -> type:
    """The datamanager itself: `ns-render dataset` reads attributes of its class."""
    from click_gaussian_ns.geometry.datamanager import GeometryDataManager

    return GeometryDataManager


def make_geometry_model(config: SplatfactoCpuModelConfig, **kwargs: Any) -> Any:
    """Build the model; imports it, and the CPU kernels, only now."""
    from click_gaussian_ns.geometry.model import SplatfactoCpuModel

    return SplatfactoCpuModel(config, **kwargs)


@dataclass
class GeometryDataManagerConfig(FullImageDatamanagerConfig):
    """Photos with poses, downscaled."""

    _target: type = field(default_factory=geometry_datamanager_class)
    cache_images_type: Literal["uint8", "float32"] = "uint8"
    """How photos are held in memory."""
    max_side: int = 432
    """Photos with a longer side are downscaled to it, px; nothing is written to disk."""


@dataclass
class SplatfactoCpuModelConfig(SplatfactoModelConfig):
    """Splatfacto's settings. Those counted in steps are for a run of 2,000: a run of another length stretches them."""

    _target: Callable[..., Any] = field(default_factory=lambda: make_geometry_model)  # type: ignore[assignment]
    max_gaussians: int = 50_000
    """Most Gaussians that densification makes. Of more candidates those with the largest gradients are taken."""
    warmup_length: int = 150
    """period of steps where refinement is turned off"""
    refine_every: int = 100
    """period of steps where gaussians are culled and densified"""
    stop_split_at: int = 1350
    """stop splitting at this step"""
    reset_alpha_every: int = 1000
    """Every this many refinement steps, reset the alpha. The default is more than a run has: none is"""
    num_downscales: int = 1
    """at the beginning, resolution is 1/2^d, where d is this number"""
    resolution_schedule: int = 400
    """training starts at 1/d resolution, every n steps this is doubled"""
    sh_degree: int = 1
    """maximum degree of spherical harmonics to use"""
    sh_degree_interval: int = 500
    """every n intervals turn on another sh degree"""
    cull_alpha_thresh: float = 0.02
    """threshold of opacity for culling gaussians"""
    stop_screen_size_at: int = 1000
    """stop culling/splitting at this step WRT screen size of gaussians"""
    num_random: int = 20_000
    """Number of gaussians to initialize if random init is used"""
    random_scale: float = 4.0
    """Size of the cube to initialize random gaussians within"""
    means_lr_decay: float = 0.01
    """Learning rate of centres and exposures at the last step, as a share of that at the first; exponential between."""


@dataclass
class GeometryConfig:
    """How geometry is trained where no splat is given and none is found."""

    num_steps: int = 2000
    """Training steps, without a GPU. (With one, splatfacto runs with its own defaults.)"""
    max_side: int = 432
    """Photos with a longer side are downscaled to it for the geometry, px, without a GPU."""
    max_gaussians: int = 50_000
    """Limit of the number of Gaussians, without a GPU."""
