"""What the click tool needs of the program it runs in. nerfstudio's side of it is method/viewer_hook.py."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from click_gaussian_ns.edit.display import Display
from click_gaussian_ns.raster.prepared import PreparedView
from click_gaussian_ns.splats.transforms import Similarity
from click_gaussian_ns.types import ClusterTree, GlobalClusters, Level, PinholeView, Splats


@runtime_checkable
class Host(Protocol):
    """A trained (or training) scene. Everything but `lock` and `run_dir` is used while the lock is held."""

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held by training steps and frames too: take it briefly."""
        ...

    @property
    def run_dir(self) -> Path: ...

    @property
    def levels(self) -> tuple[Level, ...]: ...

    @property
    def splats(self) -> Splats:
        """The frozen geometry; the same object as long as it does not change."""
        ...

    @property
    def features(self) -> Tensor:
        """[N, 24], as they are now."""
        ...

    @property
    def clusters(self) -> Mapping[str, GlobalClusters]: ...

    @property
    def tree(self) -> ClusterTree | None:
        """What the clusters join to; None where there is no such tree."""
        ...

    @property
    def to_dataparser(self) -> Similarity:
        """The data's own frame to the scene's."""
        ...

    def prepared(self, view: PinholeView) -> PreparedView:
        """The view of what is displayed."""
        ...

    def show(self, display: Display) -> None:
        """Draw this from the next frame on."""
        ...

    def compute_clusters(self) -> None:
        """Make global clusters of the features as they are now; takes seconds to minutes.

        Raises:
            ValueError: not now.
        """
        ...

    def write_export_config(self, selection_file: Path) -> Path:
        """Write beside a saved selection the config with which the stock `ns-export` exports it."""
        ...
