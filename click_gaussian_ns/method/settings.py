"""Settings of the method: every field is a flag of `ns-train click-gaussian`. Imports no rasterizer and no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanagerConfig
from nerfstudio.models.base_model import ModelConfig
from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

from click_gaussian_ns.geometry.settings import GeometryConfig
from click_gaussian_ns.masks.config import MaskConfig
from click_gaussian_ns.method.research import PAPER_EXACT, ResearchConfig

Target = Callable[..., Any]

PAPER_SAMPLING_POWER = 1.0
"""The paper samples pixels by "importance based on mask pixel count" and says no more."""


def make_pipeline(config: ClickGaussianPipelineConfig, **kwargs: Any) -> Any:
    """Build the pipeline; imports it only now."""
    from click_gaussian_ns.method.pipeline import ClickGaussianPipeline

    return ClickGaussianPipeline(config, **kwargs)


def datamanager_class() -> type:
    """The datamanager itself: `ns-render dataset` reads attributes of its class."""
    from click_gaussian_ns.method.datamanager import ClickGaussianDataManager

    return ClickGaussianDataManager


def make_model(config: ClickGaussianModelConfig, **kwargs: Any) -> Any:
    """Build the model; imports it, and the CPU kernels, only now."""
    from click_gaussian_ns.method.model import ClickGaussianModel

    return ClickGaussianModel(config, **kwargs)


@dataclass
class ClickGaussianDataManagerConfig(FullImageDatamanagerConfig, MaskConfig):
    """Photos with poses, and the label maps made of them."""

    _target: type = field(default_factory=datamanager_class)
    cache_images_type: Literal["uint8", "float32"] = "uint8"
    """How eval photos are held; training reads label maps only."""
    num_pixels: int = 10_000
    """Pixels sampled per training step."""
    sampling_power: float = 0.25
    """How much more often pixels of small segments are drawn: in proportion to (size of their segment)^-power. 0 draws
    every pixel equally often, 1 every segment. Change it together with the model's segment balance."""
    hold_out_every: int = 10
    """Of every so many training views the label maps of one are kept out of the steps. Training stops when what is
    learned agrees with them no better than before. 0, or fewer views: all are learned from, for all steps."""
    seed: int = 0
    """Seed of the order of views and of the sampled pixels."""
    kept_cameras: Path | None = field(default=None, init=False)
    """The run's file of cameras, which stands for the scene when the run is opened; set by training and opening."""


@dataclass
class ClickGaussianModelConfig(ModelConfig):
    """Frozen Gaussians and a trainable feature each."""

    _target: Target = field(default_factory=lambda: make_model)
    splat: Path | None = None
    """Geometry that features are learned on: a splatfacto run (config.yml, run folder or .ckpt) or a .ply (3DGS layout,
    or `ns-export`'s). If it is left out, the newest finished splatfacto run of the same data below the output folder is
    taken; if there is none, one is trained."""
    splat_frame: Literal["auto", "dataparser", "world", "saved"] = "auto"
    """Frame that the splat's coordinates are in. dataparser: nerfstudio's normalised one; world: the data's own, e.g.
    COLMAP's; saved: that of transforms.json as it stands. auto: dataparser for a checkpoint and an `ns-export` .ply,
    world for any other .ply."""
    clean_splat: bool = False
    """Leave out Gaussians of the splat that stand between a camera and the nearest SfM point before it, at less than
    half the way: haze, in which clicks end. For splats of other tools; those that are trained here have none."""
    rasterize_mode: Literal["auto", "classic", "antialiased"] = "auto"
    """How Gaussians are drawn; antialiased compensates opacities for the blur of small ones. auto: as the geometry was
    trained, which a splatfacto run's config.yml says; a .ply does not say, and is drawn classic."""
    background_color: Literal["gray", "black", "white"] = "gray"
    """Colour behind the Gaussians in rgb pictures. Gray is the viewer's own."""
    paper_exact: bool = False
    """Train with the paper's own settings. They replace all flags whose defaults differ from the paper, whatever these
    flags say; docs/accuracy.md lists them."""
    view_cache_mb: int = 500
    """Memory for training views that are kept prepared on CPU, MB. Those that do not fit are prepared at each step."""
    seed: int = 0
    """Seed of the initial features and of the Gaussians sampled by the spatial term."""
    research: ResearchConfig = field(default_factory=ResearchConfig)
    """Terms, guidance and clusters: what an ablation changes."""
    # nerfstudio's, for neural fields: read by nothing here, and no flags
    enable_collider: bool = field(default=False, init=False)
    collider_params: dict[str, float] | None = field(default=None, init=False)
    loss_coefficients: dict[str, float] = field(default_factory=dict, init=False)
    eval_num_rays_per_chunk: int = field(default=4096, init=False)
    prompt: str | None = field(default=None, init=False)
    sh_degree: int = field(default=0, init=False)
    """Degree of the loaded geometry's spherical harmonics; set by the model, read by `ns-export`."""
    export_selection: Path | None = None
    """Load only the Gaussians of this saved selection (.npy, as `click-gaussian segment` writes it). This is how the
    stock `ns-export gaussian-splat` exports one object."""

    def __post_init__(self) -> None:
        if self.paper_exact:
            for name, value in PAPER_EXACT.items():
                setattr(self.research, name, value)


@dataclass
class ClickGaussianPipelineConfig(VanillaPipelineConfig):
    """Datamanager and model of click-gaussian."""

    _target: Target = field(default_factory=lambda: make_pipeline)
    datamanager: ClickGaussianDataManagerConfig = field(default_factory=ClickGaussianDataManagerConfig)
    """Photos, poses and label maps."""
    model: ClickGaussianModelConfig = field(default_factory=ClickGaussianModelConfig)
    """Geometry, features and objective."""
    geometry: GeometryConfig = field(default_factory=GeometryConfig)
    """Training of the geometry, where no splat is given and no finished splatfacto run of the data is found."""

    def __post_init__(self) -> None:
        if self.model.paper_exact:
            self.datamanager.sampling_power = PAPER_SAMPLING_POWER
            self.datamanager.hold_out_every = 0
