"""Training, as nerfstudio's trainer drives it: a step's losses, and when global features are refreshed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from nerfstudio.engine.callbacks import TrainingCallback, TrainingCallbackAttributes, TrainingCallbackLocation
from nerfstudio.pipelines.base_pipeline import VanillaPipeline
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from click_gaussian_ns.clusters.agreed_labels import AgreedLabels
from click_gaussian_ns.clusters.from_features import min_cluster_size
from click_gaussian_ns.clusters.from_segments import clusters_from_segments
from click_gaussian_ns.clusters.global_clusters import FoundClusters, from_features, from_homes, make_clusters
from click_gaussian_ns.clusters.homes import Homes
from click_gaussian_ns.clusters.pooling import Pooling, build_pooling
from click_gaussian_ns.clusters.tree import build_tree
from click_gaussian_ns.features.codes import initial_codes
from click_gaussian_ns.masks.extract import progress_bar
from click_gaussian_ns.masks.guidance import SplatGuidance
from click_gaussian_ns.method.ahead import Ahead
from click_gaussian_ns.method.datamanager import ClickGaussianDataManager
from click_gaussian_ns.method.feature_training import FeatureTrainer, StepPixels, zero_loss
from click_gaussian_ns.method.held_out import HeldOutPixels, Patience, agreement, pixel_grid
from click_gaussian_ns.method.model import ClickGaussianModel
from click_gaussian_ns.method.settings import ClickGaussianPipelineConfig
from click_gaussian_ns.method.viewer_hook import ClickControl
from click_gaussian_ns.raster import matrices, rasterize
from click_gaussian_ns.raster.engine import engine_of
from click_gaussian_ns.splats.subset import on_cpu
from click_gaussian_ns.splats.transforms import Similarity
from click_gaussian_ns.types import ClusterTree, GlobalClusters

T = TypeVar("T")

_STEPS_PER_SUMMARY = 100
"""nerfstudio's progress table has room for times only: terms and clusters get a line of their own."""
_STEPS_PER_LOOK = 100
"""After so many steps the held-out label maps are looked at."""
_MOST_LOOKED_AT = 10
"""Held-out views: more make a look slower and tell no more."""


class ClickGaussianPipeline(VanillaPipeline):
    """Masks first, then features; clusters whenever a checkpoint is written, and at the end."""

    config: ClickGaussianPipelineConfig  # pyright: ignore[reportIncompatibleVariableOverride]
    datamanager: ClickGaussianDataManager  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, config: ClickGaussianPipelineConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self._trainer: FeatureTrainer | None = None
        self._ahead: Ahead[tuple[int, StepPixels]] | None = None
        self._tree: ClusterTree | None = None
        self.click_control = ClickControl(self)

    @property
    def to_dataparser(self) -> Similarity:
        """The data's own frame to the dataparser's."""
        outputs = self.datamanager.train_dataparser_outputs
        return Similarity.from_dataparser(outputs.dataparser_transform, outputs.dataparser_scale)

    @property
    def model(self) -> ClickGaussianModel:
        return cast(ClickGaussianModel, super().model)

    def prepare_masks(self) -> None:
        """Label maps of the training views, from the mask stage or its cache."""
        views = self.datamanager.train_views
        self.datamanager.prepare_masks(SplatGuidance(self.model.splats, views, self.model.rasterize_mode))

    def get_training_callbacks(
        self, training_callback_attributes: TrainingCallbackAttributes
    ) -> list[TrainingCallback]:
        callbacks = super().get_training_callbacks(training_callback_attributes)
        trainer = training_callback_attributes.trainer
        assert trainer is not None
        num_steps = trainer._start_step + trainer.config.max_num_iterations
        guided_at = trainer._start_step if self.model.is_guided else None
        first, every = self.model.config.research.guidance_steps(num_steps, guided_at)
        self.prepare_masks()
        self._trainer = FeatureTrainer(self.model, self.datamanager.train_views)
        _ = self.pooling  # now, as it prepares all views for the steps
        if self.model.config.research.clusters == "segments":
            self._trainer.agreed_labels = AgreedLabels(self.pooling, self.model.levels, self.homes)
            if trainer._start_step == 0:
                self.start_from_segments()
        last_step = num_steps - 1
        save_every = trainer.config.steps_per_save
        patience = self.patience(trainer._start_step, last_step)
        if not engine_of(self.model.click_features).runs_kernels:
            self._ahead = Ahead(self._pixels_of_step, last_step)

        def unlocked(make: Callable[[], T]) -> T:
            """Nerfstudio's loop holds the lock: frames and clicks go on while something is made that takes long."""
            trainer.train_lock.release()
            try:
                return make()
            finally:
                trainer.train_lock.acquire()

        def before(step: int) -> None:
            since = step - first
            if self.model.config.research.gfl_weight and since >= 0 and since % every == 0:
                found = unlocked(lambda: self.found_clusters(self.model.click_features))
                self.model.refresh_guides(found)
            ahead = self._ahead
            if ahead is not None:
                unlocked(lambda: ahead.wait(step))

        def after(step: int) -> None:
            ends = step == last_step
            if patience is not None and (ends or (step + 1) % _STEPS_PER_LOOK == 0):
                agreement = unlocked(self.agreement)
                trainer.stop_training = self._look(patience, agreement, step + 1, ends)
                ends = ends or trainer.stop_training
            if ends or (save_every > 0 and step % save_every == 0 and step > 0):
                self.set_clusters(*unlocked(lambda: self.made_clusters(self.model.click_features)))
            if ends:
                CONSOLE.log(f"Global clusters: {self.model.cluster_counts()}")

        return [
            *callbacks,
            TrainingCallback([TrainingCallbackLocation.BEFORE_TRAIN_ITERATION], before),
            TrainingCallback([TrainingCallbackLocation.AFTER_TRAIN_ITERATION], after),
        ]

    def patience(self, start_step: int, last_step: int) -> Patience | None:
        """What ends training early; None where it goes on to its last step whatever is learned."""
        may_end = last_step - start_step >= _STEPS_PER_LOOK and self.model.config.research.clusters == "segments"
        if not may_end or not self.datamanager.held_out:
            return None
        return Patience(self.agreement(), start_step, self.model.click_features.detach())

    @cached_property
    def held_out_pixels(self) -> list[HeldOutPixels]:
        """Of the views that no step sees, at most `_MOST_LOOKED_AT` of them."""
        manager, found = self.datamanager, []
        for index in manager.held_out[:: -(-len(manager.held_out) // _MOST_LOOKED_AT)]:
            view, maps = manager.train_views[index], manager.level_maps[index].maps
            pixels = torch.from_numpy(pixel_grid(view.height, view.width))
            prepared = rasterize.prepare(on_cpu(self.model.splats), view, self.model.rasterize_mode)
            found.append(
                HeldOutPixels(matrices.blend_weights(prepared, pixels), maps.reshape(len(maps), -1)[:, pixels])
            )
        return found

    def agreement(self) -> float:
        """How far the features, as they are now, say what the label maps of the held-out views do."""
        features = self.model.click_features.detach()
        centers = {name: found.centers for name, found in self.found_clusters(features).items()}
        return agreement(self.held_out_pixels, features, self.model.levels, centers)

    def _look(self, patience: Patience, agreement: float, step: int, is_last: bool) -> bool:
        """Note how held-out label maps are met; whether training ends. At its end the best features are taken back."""
        ends = patience.look(step, agreement, self.model.click_features.detach())
        said = f"step {step}: agreement with held-out label maps {patience.latest:.4f}, best {patience.best:.4f}"
        if ends and not is_last:
            said += ". It rises no more, so training ends here (--pipeline.datamanager.hold-out-every 0: all steps)"
        if (ends or is_last) and patience.kept_step != step:
            self.model.start_from(patience.kept)
            said += f". Features are those of step {patience.kept_step}, which agree better"
        CONSOLE.log(said)
        return ends

    @cached_property
    def pooling(self) -> Pooling:
        """Segment means of all training views; built once. nerfstudio's viewer reads plain properties."""
        if not self.datamanager.has_masks:
            self.prepare_masks()
        with progress_bar() as progress:
            return build_pooling(
                self.model.splats,
                self.datamanager.train_views,
                self.datamanager.level_maps,
                self.model.rasterize_mode,
                lambda indices: progress.track(list(indices), description="Pooling segments"),
                lambda index, view: self._trainer.keep(index, view) if self._trainer is not None else None,
            )

    @cached_property
    def homes(self) -> dict[str, tuple[Homes, int]]:
        """By level: where Gaussians are at home by the 2D segments alone, and how many clusters; made once."""
        start = time.perf_counter()
        found = {level.name: clusters_from_segments(self.pooling, level.name) for level in self.model.levels}
        counts = ", ".join(f"{num} {name}" for name, (_, num) in found.items())
        CONSOLE.log(f"Clusters of the segments: {counts}, in {time.perf_counter() - start:.1f} s")
        return found

    @cached_property
    def sight(self) -> Float[Tensor, " N"]:
        """How far the training views bear each Gaussian out; made once."""
        return self.pooling.sight()

    def found_clusters(self, features: Float[Tensor, "N 24"]) -> dict[str, FoundClusters]:
        """The clusters of every level with the centres that these features give them. On CPU."""
        config, features = self.model.config.research, features.detach().cpu()
        min_size = min_cluster_size(len(self.datamanager.train_views), config.cluster_views_fraction)
        found = {}
        for level in self.model.levels:
            own = features[:, level.channels]
            if config.clusters == "segments":
                found[level.name] = from_homes(self.pooling, own, level, *self.homes[level.name])
            else:
                found[level.name] = from_features(self.pooling, own, level, min_size)
        return found

    def made_clusters(self, features: Float[Tensor, "N 24"]) -> tuple[tuple[GlobalClusters, ...], ClusterTree]:
        """The clusters that clicks select from, one set per level, of the given features, and what they join to."""
        found, features = self.found_clusters(features), features.detach().cpu()
        visibility = self.pooling.visibility
        made = tuple(
            make_clusters(features[:, level.channels], found[level.name], visibility, level)
            for level in self.model.levels
        )
        if self.model.config.research.clusters != "segments":
            return made, build_tree(self.pooling, self.model.levels, made)
        if self._tree is None:  # of clusters that stay the same
            self._tree = build_tree(self.pooling, self.model.levels, made)
        return made, self._tree

    def start_from_segments(self) -> None:
        """Features that say which cluster of the 2D segments each Gaussian belongs to: clicks work before any step."""
        labels = [self.homes[level.name][0].labels for level in self.model.levels]
        features = initial_codes(self.model.click_features.detach().cpu(), self.model.levels, labels)
        self.model.start_from(features)
        self.refresh_clusters()

    def refresh_clusters(self) -> None:
        """Make the clusters that clicks select from, of the features as they are now."""
        self.set_clusters(*self.made_clusters(self.model.click_features))

    def set_clusters(self, made: Sequence[GlobalClusters], tree: ClusterTree) -> None:
        """Let clicks select from these, and tell the viewer."""
        if not torch.equal(self.model.sight.cpu(), self.sight):
            self.model.sight.copy_(self.sight)
        self.model.set_clusters(made, tree)
        if self.click_control.panel is not None:
            self.click_control.panel.clusters_changed()

    def get_train_loss_dict(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        assert self._trainer is not None
        self.model.step = step
        view_index, pixels = self._pixels_of_step(step) if self._ahead is None else self._ahead.take(step)
        terms = self._trainer.terms(step, pixels)
        losses = terms or {"none": zero_loss(self.model.click_features)}
        # left where they are: to read a number is to wait for the GPU
        metrics: dict[str, Any] = {name: value.detach() for name, value in terms.items()}
        for level, guide in self.model.guides.items():
            metrics[f"{level}_clusters"] = guide.centers.shape[0]
        metrics["unassigned_share"] = self.datamanager.unassigned_share(view_index)
        if step % _STEPS_PER_SUMMARY == 0:
            CONSOLE.log(f"step {step}: " + ", ".join(f"{name} {float(value):.4g}" for name, value in metrics.items()))
        return {}, losses, metrics

    def _pixels_of_step(self, step: int) -> tuple[int, StepPixels]:
        """The view of a step and its pixels."""
        assert self._trainer is not None
        _camera, batch = self.datamanager.next_train(step)
        index = batch["image_idx"]
        return index, self._trainer.pixels(index, batch["pixel_ids"], batch["labels"])

    def get_eval_loss_dict(self, step: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
        """Features have no loss on views without label maps: there is nothing to report."""
        return {}, {"none": torch.zeros(())}, {}
