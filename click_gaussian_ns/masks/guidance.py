"""What a splat tells the superpixels: label images of a partition of its Gaussians, the same in all views."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from click_gaussian_ns.masks.config import SuperpixelConfig
from click_gaussian_ns.masks.partition import partition_gaussians, resized_view
from click_gaussian_ns.masks.progress import progress_bar
from click_gaussian_ns.masks.segmenter import ViewGuidance
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.raster.rasterize import prepare
from click_gaussian_ns.raster.vote import winning_labels
from click_gaussian_ns.types import PinholeView, Splats


class SplatGuidance:
    """A `GuidanceSource` over frozen Gaussians; runs on CPU."""

    def __init__(self, splats: Splats, views: Sequence[PinholeView], rasterize_mode: RasterizeMode = "classic") -> None:
        """
        Args:
            splats: on any device.
            views: of the training images, in their order.
            rasterize_mode: how the splat was trained.
        """
        self._splats = Splats(
            means=splats.means.detach().cpu(),
            quats=splats.quats.detach().cpu(),
            log_scales=splats.log_scales.detach().cpu(),
            opacity_logits=splats.opacity_logits.detach().cpu(),
            sh=splats.sh.detach().cpu(),
        )
        self._views = [PinholeView(view.viewmat.cpu(), view.K.cpu(), view.width, view.height) for view in views]
        self._rasterize_mode: RasterizeMode = rasterize_mode
        self._prepared_for: SuperpixelConfig | None = None
        self._partitions: list[np.ndarray] = []
        self._digest = ""

    def prepare(self, config: SuperpixelConfig) -> None:
        """Divides the Gaussians, with a progress bar; does nothing the second time."""
        if self._prepared_for == config:
            return
        num_views = min(len(self._views), config.max_views)
        chosen = np.unique(np.linspace(0, len(self._views) - 1, num_views).round().astype(int))
        with progress_bar() as progress:
            self._partitions = partition_gaussians(
                self._splats,
                [self._views[index] for index in chosen],
                (config.fine, config.middle, config.coarse),
                self._rasterize_mode,
                progress,
            )
        self._prepared_for = replace(config)

    def __call__(self, index: int) -> ViewGuidance:
        """Label images of one view; `prepare` must have run."""
        assert self._prepared_for is not None, "prepare() has not run"
        view = resized_view(self._views[index], self._prepared_for.max_side)
        prepared = prepare(self._splats, view, self._rasterize_mode)
        labels = [np.maximum(winning_labels(prepared, partition), 0) for partition in reversed(self._partitions)]
        return ViewGuidance(np.stack(labels))

    def fingerprint(self, index: int) -> str:
        if not self._digest:
            digest = hashlib.sha256()
            splats = self._splats
            for tensor in (splats.means, splats.quats, splats.log_scales, splats.opacity_logits, splats.sh):
                digest.update(tensor.contiguous().numpy().tobytes())
            for view in self._views:
                digest.update(_view_bytes(view))
            digest.update(self._rasterize_mode.encode())
            self._digest = digest.hexdigest()
        return hashlib.sha256(self._digest.encode() + _view_bytes(self._views[index])).hexdigest()


def _view_bytes(view: PinholeView) -> bytes:
    matrices = torch.cat([view.viewmat.reshape(-1), view.K.reshape(-1)]).double().numpy().tobytes()
    return matrices + f"{view.width}x{view.height}".encode()
