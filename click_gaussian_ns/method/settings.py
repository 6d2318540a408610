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

Target = Callable[..., Any]

PAPER_EXACT = {
    "segment_balance": 0.0,
    "negative_weight": 0.1,
    "spatial_weight": 0.5,
    "gfl_weight": 10.0,
    "gfl_agreement": 0.0,
    "gfl_start": 2 / 3,
    "clusters": "features",
}
"""Model settings in which our defaults differ from the paper."""
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
    seed: int = 0
    """Seed of the order of views and of the sampled pixels."""


@dataclass
class ClickGaussianModelConfig(ModelConfig):
    """Frozen Gaussians, a trainable feature each, and the terms of the objective (equation numbers: the paper's)."""

    _target: Target = field(default_factory=lambda: make_model)
    splat: Path | None = None
    """Geometry that features are learned on: a splatfacto run (config.yml, run folder or .ckpt) or a .ply (3DGS layout,
    or `ns-export`'s). If it is left out, the newest finished splatfacto run of the same data below the output folder is
    taken; if there is none, one is trained."""
    splat_frame: Literal["auto", "dataparser", "world", "saved"] = "auto"
    """Frame that the splat's coordinates are in. dataparser: nerfstudio's normalised one; world: the data's own, e.g.
    COLMAP's; saved: that of transforms.json as it stands. auto: dataparser for a checkpoint and an `ns-export` .ply,
    world for any other .ply."""
    rasterize_mode: Literal["auto", "classic", "antialiased"] = "auto"
    """How Gaussians are drawn; antialiased compensates opacities for the blur of small ones. auto: as the geometry was
    trained, which a splatfacto run's config.yml says; a .ply does not say, and is drawn classic."""
    background_color: Literal["gray", "black", "white"] = "gray"
    """Colour behind the Gaussians in rgb pictures. Gray is the viewer's own."""
    granularity_prior: bool = True
    """Whether the fine feature contains the coarse one (section 3.2). If not, each level has channels of its own."""
    paper_exact: bool = False
    """Train with the paper's own settings. They replace all flags whose defaults differ from the paper, whatever these
    flags say; docs/accuracy.md lists them."""
    positive_weight: float = 1.0
    """Weight of the positive contrastive term (Eq. 3), which pulls the pixels of a segment together; 0: off."""
    negative_weight: float = 1.0
    """Weight of the negative contrastive term (Eq. 5), which pushes different segments apart; 0: off. Two parts stay
    apart if more than 1 / (1 + weight) of the masks part them: half of them at 1, nine tenths at 0.1 (the paper)."""
    segment_balance: float = 2 / 3
    """How far large and small segments count alike in the contrastive terms (Eq. 3-5), from 0 to 1: a pixel counts by
    (size of its segment)^(-balance / 2). At 0 every pixel counts the same (the paper). Neither side of a border wins if
    balance = (1 - 2 p) / (1 - p), p being the datamanager's sampling power."""
    gfl_weight: float = 1.0
    """Weight of global feature-guided learning (Eq. 9); 0 switches it off. The paper's is 10."""
    gfl_start: float = 0.0
    """Share of the run's steps after which global feature-guided learning begins. A resumed run's steps are all that it
    has at its end; guidance that had begun goes on."""
    gfl_update_every: float = 1 / 15
    """Time between refreshes of the global features, as a share of the run's steps."""
    gfl_agreement: float = 0.2
    """A Gaussian is pulled to the cluster with which it shares 2D segments most, however far it has strayed, if the
    next one falls behind by more than this share of what the cluster's Gaussians share with it on average. 0, or
    clusters of features: to the most similar one, as in the paper."""
    gfl_threshold: float = 0.9
    """tau^g. A Gaussian is pulled home while less similar than this to it, and then left as the pixels make it: small
    differences draw borders finer than Gaussians are. With an agreement of 0: it is pulled to the most similar cluster
    if more similar than this to it (Eq. 7)."""
    norm_3d_weight: float = 0.2
    """Weight of the 3D norm term (Eq. 10), which keeps Gaussians' features on the unit sphere; 0: off."""
    norm_2d_weight: float = 0.2
    """Weight of the 2D norm term (Eq. 11), which does the same for rendered features; 0: off."""
    spatial_weight: float = 0.1
    """Weight of the spatial term (Eq. 12), which pulls neighbouring Gaussians together; 0: off. The paper's is 0.5."""
    spatial_neighbors: int = 5
    """Neighbours of each Gaussian in the spatial term: that many nearest."""
    spatial_samples: int = 100_000
    """Gaussians sampled per step for the spatial term."""
    clusters: Literal["segments", "features"] = "segments"
    """What clusters are made of. segments: of the 2D segments of all views, before the first step; training starts from
    them and refines borders. features: of what was learned from random features, by HDBSCAN, as in the paper."""
    cluster_views_fraction: float = 0.1
    """With clusters of features: HDBSCAN's min_cluster_size as a fraction of the number of training views."""
    view_cache_mb: int = 1500
    """Memory for training views that are kept prepared on CPU, MB. Those that do not fit are prepared at each step."""
    seed: int = 0
    """Seed of the initial features and of the Gaussians sampled by the spatial term."""
    sh_degree: int = field(default=0, init=False)
    """Degree of the loaded geometry's spherical harmonics; set by the model, read by `ns-export`."""
    export_selection: Path | None = None
    """Load only the Gaussians of this saved selection (.npy, as `click-gaussian segment` writes it). This is how the
    stock `ns-export gaussian-splat` exports one object."""

    def __post_init__(self) -> None:
        self._check_guidance()
        if self.paper_exact:
            for name, value in PAPER_EXACT.items():
                setattr(self, name, value)

    def guidance_steps(self, num_steps: int, guided_at: int | None = None) -> tuple[int, int]:
        """The step at which GFL begins, and steps between refreshes.

        Args:
            num_steps: of the run in all; of a resumed one, those before included.
            guided_at: the step at which a run is resumed that is guided already: it goes on to be.

        Raises:
            ValueError: a share is out of range, as in the config.yml of an earlier version, where they were steps.
        """
        self._check_guidance()
        start, every = (int(share * num_steps + 1e-6) for share in (self.gfl_start, self.gfl_update_every))
        return start if guided_at is None else min(start, guided_at), max(1, every)

    def _check_guidance(self) -> None:
        if not 0 <= self.gfl_start <= 1:
            raise ValueError(
                f"--pipeline.model.gfl-start {self.gfl_start}: expected a share of the run's steps, from 0 to 1"
            )
        if not 0 < self.gfl_update_every <= 1:
            raise ValueError(
                f"--pipeline.model.gfl-update-every {self.gfl_update_every}: expected a share of the run's steps, "
                "above 0 and up to 1"
            )


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
