"""The hook by which nerfstudio's viewer opens the click tool.

nerfstudio calls `_setup` on every ViewerControl that it finds as a public attribute of the pipeline. The tool itself is
in viewer/, which lies above method/: it is imported by name, and only once a viewer opens. This is the one place where
a folder reaches above itself.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerfstudio.utils.rich_utils import CONSOLE
from nerfstudio.viewer.utils import get_camera
from nerfstudio.viewer.viewer_elements import ViewerControl
from torch import Tensor

from click_gaussian_ns.edit.display import Display
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.runs.derived_config import read_run_config, write_selection_config
from click_gaussian_ns.scenes.views import camera_view
from click_gaussian_ns.splats.transforms import Similarity
from click_gaussian_ns.types import ClusterTree, GlobalClusters, Level, PinholeView, Splats

if TYPE_CHECKING:
    from nerfstudio.viewer.viewer import Viewer

    from click_gaussian_ns.method.pipeline import ClickGaussianPipeline

PANEL_MODULE = "click_gaussian_ns.viewer.panel"
NOTHING_CHOSEN = "not set"
"""The only entry of nerfstudio's list of outputs until it has seen a frame."""


class ClickControl(ViewerControl):
    """What viewer/host.py's Host asks for, over a pipeline and nerfstudio's viewer."""

    def __init__(self, pipeline: ClickGaussianPipeline) -> None:
        self._pipeline = pipeline
        self.panel: Any = None
        """The open panel; None without a viewer."""
        self._computing = threading.Lock()

    def _setup(self, viewer: Viewer) -> None:
        super()._setup(viewer)
        self._pipeline.model.outputs_asked_for = self._shown_outputs
        if self._pipeline.model.config.export_selection is not None:
            CONSOLE.log("This is the config of a saved selection: open the run's own config.yml to click and edit")
            return
        self.panel = importlib.import_module(PANEL_MODULE).ClickPanel(self, viewer.viser_server)

    # --- viewer/host.py

    @property
    def lock(self) -> AbstractContextManager[Any]:
        return self.viewer.train_lock if self.viewer.train_lock is not None else nullcontext()

    @property
    def run_dir(self) -> Path:
        return self.viewer.log_filename.parent.resolve()

    @property
    def levels(self) -> tuple[Level, ...]:
        return self._pipeline.model.levels

    @property
    def splats(self) -> Splats:
        return self._pipeline.model.splats

    @property
    def features(self) -> Tensor:
        return self._pipeline.model.shown_features

    @property
    def clusters(self) -> Mapping[str, GlobalClusters]:
        return self._pipeline.model.clusters

    @property
    def tree(self) -> ClusterTree | None:
        return self._pipeline.model.tree

    @property
    def to_dataparser(self) -> Similarity:
        return self._pipeline.to_dataparser

    def prepared(self, view: PinholeView) -> PreparedView:
        return self._pipeline.model.prepared(view)

    def show(self, display: Display) -> None:
        self._pipeline.model.display = display

    def compute_clusters(self) -> None:
        """Training and frames go on meanwhile: the lock is held only to copy the features and to hand over.

        Raises:
            ValueError: training prepares its masks and views, which clusters are made of, or another click computes.
        """
        if self.viewer.trainer is not None and "pooling" not in vars(self._pipeline):
            # the main thread is making it: asking for it here would start the mask stage a second time
            raise ValueError("training has not started yet: wait for its first step, then compute the clusters")
        if not self._computing.acquire(blocking=False):
            raise ValueError("clusters are being computed already: wait for them")
        try:
            self._compute_clusters()
        finally:
            self._computing.release()

    def _compute_clusters(self) -> None:
        _ = self._pipeline.pooling  # before the lock is taken: it may have to be made
        with self.lock:
            features = self._pipeline.model.click_features.detach().clone()
        made, tree = self._pipeline.made_clusters(features)
        with self.lock:
            self._pipeline.set_clusters(made, tree)

    def write_export_config(self, selection_file: Path) -> Path:
        return write_selection_config(read_run_config(self.run_dir / "config.yml"), selection_file)

    def _shown_outputs(self) -> tuple[str, ...]:
        """What nerfstudio's viewer reads of a frame. Before the first one its panel names none, and then shows rgb."""
        panel = self.viewer.control_panel
        return (
            panel.output_render if panel.output_render != NOTHING_CHOSEN else "rgb",
            *((panel.split_output_render,) if panel.split else ()),
            *(("depth",) if panel.layer_depth else ()),
        )

    # --- what the panel needs of nerfstudio besides

    def client_view(self, client: Any) -> PinholeView:
        """The camera of one browser, at the size of its frame at rest: that frame's prepared view then serves it."""
        state = self.viewer.get_camera_state(client)
        longest = int(self.viewer.control_panel.max_res)
        height, width = longest, int(longest * state.aspect)
        if width > longest:
            height, width = int(longest / state.aspect), longest
        return camera_view(get_camera(state, height, width))

    @property
    def panel_order(self) -> float:
        """Between the statistics and the tabs."""
        return self.viewer.stats_markdown.order + 0.5

    @property
    def is_training(self) -> bool:
        """Whether features go on changing."""
        trainer = self.viewer.trainer
        return trainer is not None and trainer.training_state != "completed"

    def hide_cameras(self) -> bool:
        """A click on a training camera's frustum would jump to it. False if they are not there yet."""
        if not hasattr(self.viewer, "train_state"):  # the last thing that nerfstudio's init_scene sets
            return False
        self.viewer.set_camera_visibility(False)
        if self.viewer.hide_images.visible:  # its button says what it would do
            self.viewer.toggle_cameravis_button()
        return True

    @property
    def photos(self) -> Sequence[PinholeView]:
        return self._pipeline.datamanager.train_views

    def rerender(self) -> None:
        """Draw a new frame in every browser."""
        self.viewer._trigger_rerender()
