"""Trained runs, opened for the command line: the pipeline and its photos by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from typing import Any

from jaxtyping import Float
from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.eval_utils import eval_setup
from torch import Tensor

from click_gaussian_ns.masks.photo_names import places_by_tail, without_ending
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.runs.files import CAMERAS_FILE, read_run
from click_gaussian_ns.scenes.views import NamedView
from click_gaussian_ns.splats.transforms import Similarity
from click_gaussian_ns.types import ClusterTree, GlobalClusters, Level, Splats

METHOD = "click-gaussian"


@dataclass(frozen=True)
class Run:
    """A trained run as plain values, on CPU or CUDA as nerfstudio loads it."""

    config: TrainerConfig
    run_dir: Path
    """Folder of its config.yml."""
    splats: Splats
    """In the dataparser's frame."""
    features: Float[Tensor, "N 24"]
    levels: tuple[Level, ...]
    clusters: Mapping[str, GlobalClusters]
    tree: ClusterTree | None
    """What the clusters join to; None in a run of an earlier version."""
    views: Sequence[NamedView]
    """Of all photos: those for training, then those for testing."""
    to_dataparser: Similarity
    """The data's own frame to the dataparser's."""
    rasterize_mode: RasterizeMode
    pipeline: Any
    """nerfstudio's object, for what draws with it: a ClickGaussianPipeline (method/ lies below)."""

    def level(self, name: str) -> Level:
        """The level of that name.

        Raises:
            ValueError: the run has none of that name.
        """
        for level in self.levels:
            if level.name == name:
                return level
        raise ValueError(f"--level {name}: this run has the levels {', '.join(level.name for level in self.levels)}")

    @property
    def known_tree(self) -> ClusterTree:
        """The tree.

        Raises:
            ValueError: the run has none.
        """
        if self.tree is None:
            raise ValueError(
                f"{self.run_dir}: this run has no tree of parts, objects and groups, as an earlier version made it: "
                "train it again, or leave out --granularity, --wider and --narrower"
            )
        return self.tree

    def view(self, camera: str) -> NamedView:
        """A view by its photo's name, as `cam0/000.png`, or by its place among all views.

        Folders and the ending may be left out where that means one photo alone.

        Raises:
            ValueError: there is no such photo, or several.
        """
        names = [view.name for view in self.views]
        for known in (names, [without_ending(name) for name in names]):
            place = places_by_tail(known).get(camera)
            if place is not None:
                return self.views[place]
        alike = [name for name in names if camera in (PurePosixPath(name).name, PurePosixPath(name).stem)]
        if alike:
            raise ValueError(
                f"--camera {camera}: {len(alike)} photos have that name ({', '.join(alike[:3])} ...): give the "
                "whole name"
            )
        if camera.isdecimal() and int(camera) < len(self.views):
            return self.views[int(camera)]
        names = sorted(names)
        raise ValueError(
            f"--camera {camera}: no photo of that name among {len(names)} ({names[0]} ... {names[-1]}), and no place "
            f"from 0 to {len(names) - 1}"
        )


def open_run(config_path: Path) -> Run:
    """Load the newest checkpoint beside a run's config.yml, wherever the run was moved or copied to.

    Raises:
        ValueError: the file is missing or belongs to another method, is itself the config of a saved selection, has no
            checkpoints beside it, or its checkpoint is damaged.
    """
    if not config_path.is_file():
        raise ValueError(f"--load-config {config_path}: no such file. Expected the config.yml that ns-train wrote")
    found = read_run(config_path)
    if found is None:
        raise ValueError(f"--load-config {config_path}: not a run's. Expected the config.yml that ns-train wrote")
    if found.method != METHOD:
        raise ValueError(
            f"{config_path} is a run of {found.method}, not of click-gaussian: train one over it with "
            f"`ns-train click-gaussian --pipeline.model.splat {config_path} ...`"
        )
    run_dir = config_path.resolve().parent
    if found.is_selection:
        raise ValueError(
            f"{config_path} is the config of a saved selection, for ns-export: give the config.yml of the run itself "
            f"({run_dir.parents[1] / 'config.yml'})"
        )
    if found.last_step < 0:
        raise ValueError(
            f"{config_path}: no checkpoint of the run lies beside it (looked for {run_dir}/*/step-*.ckpt). Copy or "
            "move a run's whole folder"
        )

    def from_here(config: TrainerConfig) -> TrainerConfig:
        """Its own settings name the place where it was trained, where another run may lie now."""
        config.relative_model_dir = run_dir / config.relative_model_dir
        datamanager: Any = config.pipeline.datamanager
        datamanager.kept_cameras = run_dir / CAMERAS_FILE
        return config

    try:
        config, pipeline, _, _ = eval_setup(config_path, test_mode="test", update_config_callback=from_here)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        raise ValueError(f"{config_path}: the run's newest checkpoint cannot be loaded ({error})") from error
    return opened(config, pipeline, run_dir)


def opened(config: TrainerConfig, pipeline: Any, run_dir: Path) -> Run:
    """The run of a ClickGaussianPipeline that is loaded, or trained, already."""
    model = pipeline.model
    return Run(
        config=config,
        run_dir=run_dir,
        splats=model.splats,
        features=model.shown_features,
        levels=model.levels,
        clusters=model.clusters,
        tree=model.tree,
        views=pipeline.datamanager.named_views,
        to_dataparser=pipeline.to_dataparser,
        rasterize_mode=model.rasterize_mode,
        pipeline=pipeline,
    )
