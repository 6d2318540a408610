"""Click-Gaussian over nerfstudio's SplatfactoModel: frozen Gaussians, a trainable feature each, global clusters."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.data.scene_box import OrientedBox
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes
from nerfstudio.models.splatfacto import SH2RGB, SplatfactoModel
from nerfstudio.utils.colormaps import apply_pca_colormap
from torch import Tensor, nn

from click_gaussian_ns.clusters.global_clusters import FoundClusters
from click_gaussian_ns.edit.display import Display, shown_splats
from click_gaussian_ns.features.head import initial_features
from click_gaussian_ns.features.levels import channel_shares, granularity_levels
from click_gaussian_ns.features.terms.term import Guide
from click_gaussian_ns.method.outputs import LazyOutputs, pca_picture, segment_picture, uninterrupted
from click_gaussian_ns.method.settings import ClickGaussianModelConfig
from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.raster.prepared import PreparedView, Rendered
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.raster.view_cache import ViewCache
from click_gaussian_ns.scenes.views import camera_view
from click_gaussian_ns.selection.propagate import cluster_map
from click_gaussian_ns.selection.storage import read_selection_mask
from click_gaussian_ns.splats.scene import load_splats
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.types import (
    NO_CLUSTER,
    VIEWER_GRAY,
    ClusterTree,
    GlobalClusters,
    Level,
    PinholeView,
    Splats,
)

logger = logging.getLogger(__name__)

_BACKGROUNDS = {"gray": VIEWER_GRAY, "black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0)}
_GEOMETRY = ("means", "scales", "quats", "features_dc", "features_rest", "opacities")
_PER_GAUSSIAN = ("gauss_params.", "click_features", "cluster_labels_", "cluster_confidence_", "guided_", "sight")
_LEAST_SIGHT = 0.01
"""Where all that is at a pixel is seen by one view at most, it is still something."""


class ClickGaussianModel(SplatfactoModel):
    """Only `click_features` trains. It is a SplatfactoModel so that `ns-export gaussian-splat` takes it."""

    config: ClickGaussianModelConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    antialiased: Tensor
    sight: Tensor
    tree_parents: Tensor
    tree_granularity: Tensor

    def populate_modules(self) -> None:
        from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

        num_levels = len(self.kwargs["metadata"]["level_names"])
        self.levels: tuple[Level, ...] = granularity_levels(num_levels, self.config.research.granularity_prior)
        splats, antialiased = self._load_geometry()
        self.register_buffer("antialiased", torch.tensor(antialiased))
        self._splats: Splats | None = None
        self._splats_made_of: tuple[tuple[Tensor, int], ...] = ()
        self._set_geometry(splats)
        generator = torch.Generator().manual_seed(self.config.seed)
        self.click_features = nn.Parameter(
            initial_features(splats.num_gaussians, channel_shares(self.levels), generator)
        )
        self.register_buffer("sight", torch.ones(splats.num_gaussians))
        self._shown_features: tuple[tuple[Any, ...], Tensor] | None = None
        for level in self.levels:
            dim, num = level.stop - level.start, splats.num_gaussians
            self.register_buffer(f"guide_{level.name}", torch.zeros(0, dim))
            self.register_buffer(f"guided_{level.name}", torch.full((num,), NO_CLUSTER, dtype=torch.int32))
            self.register_buffer(f"cluster_centers_{level.name}", torch.zeros(0, dim))
            self.register_buffer(f"cluster_labels_{level.name}", torch.full((num,), NO_CLUSTER, dtype=torch.int32))
            self.register_buffer(f"cluster_confidence_{level.name}", torch.zeros(num))
        self.register_buffer("tree_parents", torch.zeros(0, dtype=torch.int32))
        self.register_buffer("tree_granularity", torch.zeros(0))
        self.psnr = PeakSignalNoiseRatio(data_range=1.0)
        self.ssim = StructuralSimilarityIndexMeasure(data_range=1.0)
        self.background_color = torch.tensor(_BACKGROUNDS[self.config.background_color])
        self.crop_box: OrientedBox | None = None
        self.display: Display | None = None
        self.outputs_asked_for: Callable[[], Iterable[str]] = tuple
        """Names of the pictures that whoever draws is going to show; the viewer's hook knows."""
        self._views = ViewCache()
        self.step = 0

    def _load_geometry(self) -> tuple[Splats, bool]:
        """The source's Gaussians in the dataparser's frame, and whether they are drawn antialiased.

        None where the source is missing: a checkpoint may follow, and says both.
        """
        source, mode = self.config.splat, self.config.rasterize_mode
        if source is None or not source.exists():
            return _no_splats(), mode == "antialiased"
        metadata = self.kwargs["metadata"]
        loaded = load_splats(
            source,
            self.config.splat_frame,
            metadata["dataparser_transform"],
            metadata["dataparser_scale"],
            metadata["applied_transform"],
        )
        splats = self._cleaned(loaded.splats) if self.config.clean_splat else loaded.splats
        return splats, loaded.antialiased if mode == "auto" else mode == "antialiased"

    def _cleaned(self, splats: Splats) -> Splats:
        """Without what stands in the rooms of the cameras; a run that is opened was cleaned when it was trained.

        Raises:
            ValueError: the scene has no points.
        """
        find_rooms = self.kwargs["metadata"]["camera_rooms"]
        if find_rooms is None:
            return splats
        rooms = find_rooms()
        if rooms is None:
            raise ValueError(
                "--pipeline.model.clean-splat: the scene has no 3D points (COLMAP's, or the ply_file_path of a "
                "transforms.json), and haze is told by them. Leave the flag out"
            )
        kept = ~rooms.contain(splats.means, splats.log_scales.exp())
        logger.warning("--clean-splat: %d of %d Gaussians left out", int((~kept).sum()), splats.num_gaussians)
        return select(splats, kept)

    def _set_geometry(self, splats: Splats) -> None:
        parameters = {
            "means": splats.means,
            "scales": splats.log_scales,
            "quats": splats.quats,
            "features_dc": splats.sh[:, 0],
            "features_rest": splats.sh[:, 1:],
            "opacities": splats.opacity_logits[:, None],
        }
        self.gauss_params = nn.ParameterDict(
            {name: nn.Parameter(value.contiguous(), requires_grad=False) for name, value in parameters.items()}
        )
        self.config.sh_degree = splats.sh_degree

    @property
    def splats(self) -> Splats:
        """The frozen geometry, in the dataparser's frame; the same object until a parameter is written to or moved."""
        parts = [self.gauss_params[name].detach() for name in _GEOMETRY]
        # the versions as numbers: a detached tensor goes on counting the writes to what it was detached from.
        # The tensors as well: nothing else then lies at their addresses
        if self._splats is None or any(
            old.data_ptr() != new.data_ptr() or version != new._version
            for (old, version), new in zip(self._splats_made_of, parts)
        ):
            self._splats_made_of = tuple((part, part._version) for part in parts)
            means, scales, quats, features_dc, features_rest, opacities = parts
            sh = torch.cat([features_dc[:, None], features_rest], dim=1)
            self._splats = Splats(means, quats, scales, opacities[:, 0], sh)
        return self._splats

    @property
    def rasterize_mode(self) -> RasterizeMode:
        """How the geometry is drawn: as the settings say, or as it was trained."""
        return "antialiased" if self.antialiased else "classic"

    @property
    def shs_0(self) -> Tensor:
        """DC coefficients, as `ns-export` writes them; the base class takes degree-0 ones for logits of colours."""
        return self.features_dc

    @property
    def colors(self) -> Tensor:
        """RGB of the DC coefficients."""
        return SH2RGB(self.features_dc)

    def require_geometry(self) -> None:
        """Training needs Gaussians.

        Raises:
            ValueError: neither a splat was given (or found) nor a checkpoint loaded.
        """
        if self.num_points:
            return
        if self.config.splat is None:
            raise ValueError(
                "no geometry to train on: give --pipeline.model.splat a splatfacto run (config.yml, run folder or "
                ".ckpt) or a .ply of Gaussians"
            )
        raise ValueError(f"--pipeline.model.splat {self.config.splat}: there is no such file or folder")

    def load_state_dict(self, state_dict: dict[str, Any], **kwargs: Any) -> Any:  # type: ignore[override]
        """Take over a checkpoint's sizes. With `export_selection` only those Gaussians are taken.

        Parameters whose shape already fits are kept as they are: an optimizer may hold on to them.
        """
        state = dict(state_dict)
        if self.config.rasterize_mode != "auto" or "antialiased" not in state:  # not in those of earlier versions
            state["antialiased"] = self.antialiased
        for name in ("tree_parents", "tree_granularity"):  # not in those of earlier versions, either
            state.setdefault(name, getattr(self, name)[:0])
        state.setdefault("sight", torch.ones(state["gauss_params.means"].shape[0]))  # nor this
        if self.config.export_selection is not None:
            mask = read_selection_mask(self.config.export_selection, state["gauss_params.means"].shape[0])
            state = {key: value[mask] if key.startswith(_PER_GAUSSIAN) else value for key, value in state.items()}
        for name in _GEOMETRY:
            value = state[f"gauss_params.{name}"]
            if self.gauss_params[name].shape != value.shape:
                self.gauss_params[name] = nn.Parameter(torch.empty_like(value, device=self.device), requires_grad=False)
        self.config.sh_degree = round((state["gauss_params.features_rest"].shape[1] + 1) ** 0.5) - 1
        if self.click_features.shape != state["click_features"].shape:
            # the parameter itself stays: the optimizer of a run that is resumed without its splat holds it
            self.click_features.data = torch.empty_like(state["click_features"], device=self.device)
        for name, buffer in list(self.named_buffers(recurse=False)):
            if name in state and buffer.shape != state[name].shape:
                setattr(self, name, torch.empty_like(state[name], device=self.device))
        return nn.Module.load_state_dict(self, state, **kwargs)

    # --- clusters

    @property
    def clusters(self) -> dict[str, GlobalClusters]:
        """Global clusters per level; none before they are first made."""
        return {
            level.name: GlobalClusters(
                level.name,
                getattr(self, f"cluster_centers_{level.name}"),
                getattr(self, f"cluster_labels_{level.name}"),
                getattr(self, f"cluster_confidence_{level.name}"),
            )
            for level in self.levels
        }

    @property
    def tree(self) -> ClusterTree | None:
        """What the clusters join to; None before they are made, and in checkpoints of earlier versions."""
        if self.tree_parents.shape[0] == 0:
            return None
        names = tuple(level.name for level in reversed(self.levels))
        counts = tuple(self.clusters[name].num_clusters for name in names)
        return ClusterTree(names, counts, self.tree_parents, self.tree_granularity)

    @property
    def has_clusters(self) -> bool:
        """Whether a click can select anything yet."""
        return any(clusters.num_clusters for clusters in self.clusters.values())

    @property
    def guides(self) -> dict[str, Guide]:
        """Global features that guide training (Eq. 7-9), per level; empty before the first refresh."""
        return {
            level.name: Guide(
                getattr(self, f"guide_{level.name}"),
                getattr(self, f"guided_{level.name}") if self.pulls_home else None,
            )
            for level in self.levels
        }

    @property
    def pulls_home(self) -> bool:
        """Whether guidance pulls Gaussians to where they are at home; else to the most similar cluster."""
        return self.config.research.clusters == "segments" and self.config.research.gfl_agreement > 0

    @property
    def is_guided(self) -> bool:
        """Whether global features guide training, since the first refresh."""
        return any(guide.centers.shape[0] for guide in self.guides.values())

    def level_features(self, level: Level) -> Float[Tensor, "N D"]:
        """The channels of all Gaussians that a level reads, detached."""
        return self.click_features.detach()[:, level.channels]

    @property
    def shown_features(self) -> Float[Tensor, "N 24"]:
        """The features as pixels show them: as long as their Gaussian has a say. Their directions are those learned.

        The same tensor until a feature or `sight` is written to.
        """
        features = self.click_features.detach()
        if not self.config.research.weigh_by_sight:
            return features
        made_of = tuple((part.data_ptr(), part._version) for part in (features, self.sight))
        if self._shown_features is None or self._shown_features[0] != made_of:
            self._shown_features = made_of, features * self.sight.clamp_min(_LEAST_SIGHT)[:, None]
        return self._shown_features[1]

    @torch.no_grad()
    def start_from(self, features: Float[Tensor, "N 24"]) -> None:
        """Replace the features, in the parameter that an optimizer may hold."""
        self.click_features.copy_(features)

    @torch.no_grad()
    def refresh_guides(self, found: Mapping[str, FoundClusters]) -> None:
        """Let these clusters, one set per level, guide training: their centres, and which Gaussians each may pull."""
        for name, clusters in found.items():
            guided = torch.full_like(getattr(self, f"guided_{name}"), NO_CLUSTER)
            if clusters.homes is not None:
                sure = clusters.homes.margin > self.config.research.gfl_agreement
                guided = torch.where(sure, clusters.homes.labels, NO_CLUSTER)
            setattr(self, f"guide_{name}", clusters.centers.to(self.click_features))
            setattr(self, f"guided_{name}", guided.to(self.device))

    def set_clusters(self, made: Sequence[GlobalClusters], tree: ClusterTree) -> None:
        """Let clicks select from these."""
        for found in made:
            setattr(self, f"cluster_centers_{found.level}", found.centers.to(self.click_features))
            setattr(self, f"cluster_labels_{found.level}", found.labels.to(self.device))
            setattr(self, f"cluster_confidence_{found.level}", found.confidence.to(self.click_features))
        if not torch.equal(self.tree_parents.cpu(), tree.parents):  # the same tree stays the same object
            self.tree_parents, self.tree_granularity = tree.parents.to(self.device), tree.granularity.to(self.device)

    # --- nerfstudio's side

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        return {"click_features": [self.click_features]}

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        self.require_geometry()
        return []

    def set_background(self, background_color: Tensor) -> None:
        self.background_color = background_color

    @torch.no_grad()
    def get_outputs(self, camera: Cameras) -> LazyOutputs:  # type: ignore[override]
        """Pictures of a camera, each made when it is asked for.

        `rgb` [H, W, 3] in [0, 1]; `depth` [H, W, 1] along the axis, the farthest where nothing is; `accumulation`
        [H, W, 1]; `features` [H, W, 24]; `<level>_segments` [H, W, 3], the same colour for a cluster in every view;
        `<level>_pca` [H, W, 3], the main directions of the level's features. The viewer's `display` is what is drawn.
        """
        view = camera_view(camera.to("cpu"))
        display = self._displayed()
        prepared = self._prepared(view, display.splats)
        features = display.features(self.shown_features)
        made: dict[str, Rendered] = {}

        def rendered(name: str) -> Rendered:
            if name not in made:
                colors = display.colors(rasterize.visible_colors(prepared)) if name == "rgb" else features
                made[name] = rasterize.render(prepared, colors)
            return made[name]

        def rgb() -> Tensor:
            picture = rendered("rgb")
            background = self.background_color.to(picture.image)
            return (picture.image + (1.0 - picture.alpha) * background).clamp(0.0, 1.0)

        def depth() -> Tensor:
            picture = rendered("rgb")
            farthest = picture.depth.max() if picture.depth.numel() else picture.depth.new_zeros(())
            return torch.where(picture.alpha > 0, picture.depth, farthest)

        def pca(level: Level) -> Callable[[], Tensor]:
            def picture() -> Tensor:
                found = rendered("features")
                return pca_picture(found.image[..., level.channels], found.alpha, self.level_features(level))

            return picture

        def segments(level: Level) -> Callable[[], Tensor]:
            def picture() -> Tensor:
                found = rendered("features")
                clusters = self.clusters[level.name]
                labels, _ = cluster_map(found.image[..., level.channels], found.alpha, clusters)
                return segment_picture(labels, clusters.num_clusters)

            return picture

        return LazyOutputs(
            {
                "rgb": rgb,
                "depth": depth,
                "accumulation": lambda: rendered("rgb").alpha,
                "features": lambda: rendered("features").image,
                **{f"{level.name}_segments": segments(level) for level in self.levels},
                **{f"{level.name}_pca": pca(level) for level in self.levels},
                "background": lambda: self.background_color.to(self.device).expand(view.height, view.width, 3),
            }
        )

    def get_outputs_for_camera(self, camera: Cameras, obb_box: OrientedBox | None = None) -> LazyOutputs:  # type: ignore[override]
        """Pictures of a camera. Those asked for are drawn before this returns, any other when it is first read.

        nerfstudio's viewer holds the lock against training steps, and its clock runs, only during this call.
        """
        with uninterrupted():
            self.crop_box = obb_box
            outputs = self.get_outputs(camera)
            for name in self.outputs_asked_for():
                outputs.get(name)
            return outputs

    def prepared(self, view: PinholeView) -> PreparedView:
        """A view of what is displayed: the whole scene, or what the viewer shows of it, inside the crop box."""
        return self._prepared(view, self._displayed().splats)

    def _displayed(self) -> Display:
        """Another thread may replace it: whoever draws asks once."""
        return self.display or Display(self.splats, None, None)

    def _prepared(self, view: PinholeView, splats: Splats) -> PreparedView:
        crop_box = self.crop_box
        if crop_box is not None:
            return rasterize.prepare(
                shown_splats(splats, crop_box.within(splats.means).reshape(-1)), view, self.rasterize_mode
            )
        return self._views.prepared(splats, view, self.rasterize_mode)

    def get_image_metrics_and_images(
        self, outputs: dict[str, Any], batch: dict[str, Tensor]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """PSNR and SSIM of the frozen geometry, and pictures: photo beside render, features, segments."""
        photo = batch["image"].to(self.device)
        photo = photo.float() / 255.0 if photo.dtype == torch.uint8 else photo
        if photo.shape[-1] == 4:
            photo = photo[..., :3] * photo[..., 3:] + (1.0 - photo[..., 3:]) * outputs["background"]
        rgb = outputs["rgb"]
        as_batch = (rgb.permute(2, 0, 1)[None], photo.permute(2, 0, 1)[None])
        metrics = {"psnr": float(self.psnr(*as_batch)), "ssim": float(self.ssim(*as_batch))}
        pictures = {"img": torch.cat([photo, rgb], dim=1), "features": apply_pca_colormap(outputs["features"])}
        pictures |= {name: outputs[name] for name in outputs if name.endswith("_segments")}
        return metrics, pictures

    def cluster_counts(self) -> dict[str, int]:
        """Clusters per level, for the log."""
        return {level: clusters.num_clusters for level, clusters in self.clusters.items()}


def _no_splats() -> Splats:
    return Splats(torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0, 3), torch.zeros(0), torch.zeros(0, 1, 3))
