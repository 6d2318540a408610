"""Trained runs, opened for the command line: the pipeline and its photos by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

from nerfstudio.engine.trainer import TrainerConfig
from nerfstudio.utils.eval_utils import eval_setup

from click_gaussian_ns.plugin.pipeline import ClickGaussianPipeline
from click_gaussian_ns.plugin.run_files import read_run
from click_gaussian_ns.plugin.views import NamedView
from click_gaussian_ns.splats.transforms import Similarity


@dataclass(frozen=True)
class Run:
    """A trained run."""

    config: TrainerConfig
    pipeline: ClickGaussianPipeline
    run_dir: Path
    """Folder of its config.yml."""

    @property
    def views(self) -> list[NamedView]:
        return self.pipeline.datamanager.named_views

    @property
    def to_dataparser(self) -> Similarity:
        """The data's own frame to the dataparser's."""
        return self.pipeline.to_dataparser

    def view(self, camera: str) -> NamedView:
        """A view by photo name (with or without ending), or by its place among all views.

        Raises:
            ValueError: there is no such photo, or several.
        """
        for matches in (
            [v for v in self.views if v.path.name == camera],
            [v for v in self.views if v.path.stem == camera],
        ):
            if len(matches) == 1:
                return matches[0]
            if matches:
                raise ValueError(f"--camera {camera}: {len(matches)} photos have that name; give the place of one")
        if camera.isdecimal() and int(camera) < len(self.views):
            return self.views[int(camera)]
        names = sorted(v.path.name for v in self.views)
        raise ValueError(
            f"--camera {camera}: no photo of that name among {len(names)} ({names[0]} ... {names[-1]}), and no place "
            f"from 0 to {len(names) - 1}"
        )


def open_run(config_path: Path) -> Run:
    """Load a run's newest checkpoint.

    Raises:
        ValueError: the file is missing or belongs to another method, is itself the config of a saved selection, or its
            checkpoint is damaged.
    """
    if not config_path.is_file():
        raise ValueError(f"--load-config {config_path}: no such file. Expected the config.yml that ns-train wrote")
    if read_run(config_path) is None:
        raise ValueError(f"--load-config {config_path}: not a run's. Expected the config.yml that ns-train wrote")
    try:
        config, pipeline, _, _ = eval_setup(config_path, test_mode="test")
    except (RuntimeError, EOFError, UnpicklingError) as error:
        raise ValueError(f"{config_path}: the run's newest checkpoint cannot be loaded ({error})") from error
    if not isinstance(pipeline, ClickGaussianPipeline):
        raise ValueError(
            f"{config_path} is a run of {config.method_name}, not of click-gaussian: train one over it with "
            f"`ns-train click-gaussian --pipeline.model.splat {config_path} ...`"
        )
    if pipeline.model.config.export_selection is not None:
        raise ValueError(
            f"{config_path} is the config of a saved selection, for ns-export: give the config.yml of the run itself "
            f"({config_path.resolve().parents[2] / 'config.yml'})"
        )
    return Run(config, pipeline, config_path.resolve().parent)
