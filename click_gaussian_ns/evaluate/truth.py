"""What is evaluated, and against what: the trained scene, its views, and objects with their true masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt16
from torch import Tensor

from click_gaussian_ns.masks.levels import resize_nearest
from click_gaussian_ns.masks.photo_names import without_ending
from click_gaussian_ns.masks.photo_pixels import PhotoPixels
from click_gaussian_ns.raster.project import RasterizeMode
from click_gaussian_ns.types import ClusterTree, GlobalClusters, Level, PinholeView, Splats


@dataclass(frozen=True)
class EvaluatedView:
    """A photo's view."""

    name: str
    """The photo's path below the folder that holds all photos, with `/`."""
    view: PinholeView
    """As rendered: without lens distortion."""
    split: Literal["train", "test"]
    photo_size: tuple[int, int]
    """(height, width) of the photo as its camera has it, px."""
    photo_pixels: Float32[np.ndarray, "H W 3"] | None = None
    """Where each pixel of a view without lens distortion lies in the photo: x, y (index coordinates, px), 1 where it
    does; None where the photo is not distorted."""

    @property
    def stem(self) -> str:
        """The name without its ending: masks are called so."""
        return without_ending(self.name)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), px."""
        return self.view.height, self.view.width


@dataclass(frozen=True)
class EvaluatedScene:
    """A trained scene as plain values."""

    splats: Splats
    features: Float[Tensor, "N 24"]
    levels: tuple[Level, ...]
    clusters: Mapping[str, GlobalClusters]
    views: tuple[EvaluatedView, ...]
    rasterize_mode: RasterizeMode = "classic"
    tree: ClusterTree | None = None


@dataclass(frozen=True)
class Prompt:
    """What a simulated user shows of an object in one view."""

    inside: Bool[np.ndarray, "H W"]
    outside: Bool[np.ndarray, "H W"]
    is_mask: bool
    """Whether every pixel is the one or the other; else they are scribbles."""


@dataclass(frozen=True)
class Task:
    """An object to be found: shown in one view, looked for in others."""

    level: str
    name: str
    reference: int
    """Place of the view in which it is shown."""
    scored: tuple[int, ...]
    """Places of the views in which the result is compared with the truth."""


@runtime_checkable
class GroundTruth(Protocol):
    """The true masks of a scene. All masks have the size of their view."""

    @property
    def dataset(self) -> str: ...

    @property
    def tasks(self) -> tuple[Task, ...]: ...

    @property
    def left_out(self) -> LeftOut: ...

    def prompt(self, task: Task) -> Prompt: ...

    def mask(self, task: Task, view: int) -> Bool[np.ndarray, "H W"]:
        """The object's true mask in one of its scored views."""
        ...

    @property
    def labelled_views(self) -> tuple[int, ...]:
        """Test views in which every pixel is labelled: where segmenting everything is measured. May be none."""
        ...

    def label_map(self, level: str, view: int) -> UInt16[np.ndarray, "H W"]:
        """The true labels of a labelled view, the same in all views, 0 = background."""
        ...


@dataclass(frozen=True)
class LeftOut:
    """What is too small, or never shown, to be measured."""

    views: Mapping[str, int]
    """By level: pairs of object and view in which it has fewer than the smallest number of pixels, but some."""
    objects: Mapping[str, tuple[str, ...]]
    """By level: names of objects that no view shows or that no scored view holds."""
    masks: tuple[str, ...] = ()
    """Files of masks whose photos are not in the run."""


def spread(places: Sequence[int], count: int) -> list[int]:
    """At most `count` of some places, evenly over all, the first and the last among them (one: the first)."""
    chosen = np.linspace(0, len(places) - 1, min(count, len(places))).round().astype(int)
    return [places[i] for i in chosen]


def fit_to_view(labels: UInt16[np.ndarray, "h w"], view: EvaluatedView, file: Path) -> UInt16[np.ndarray, "H W"]:
    """A photo's label map as its view sees it: resized (nearest) to the photo and freed of lens distortion.

    Args:
        labels: at the photo's size, or at another size of the same proportions.
        view: the photo's view.
        file: where the map is from, for errors.

    Raises:
        ValueError: the proportions are not the photo's.
    """
    (height, width), (photo_height, photo_width) = labels.shape, view.photo_size
    # a side that was scaled and rounded to whole pixels is off by less than one
    if abs(height * photo_width - width * photo_height) > max(height, width, photo_height, photo_width):
        raise ValueError(
            f"{file} is {width}x{height} px, but the photo {view.name} is {photo_width}x{photo_height} px: the "
            "proportions differ. Ground truth must cover the whole photo, at its size or scaled as a whole"
        )
    if labels.shape != view.photo_size:
        labels = resize_nearest(labels[None], view.photo_size)[0]
    if view.photo_pixels is None:
        return labels
    return PhotoPixels.of(view.photo_pixels).resample(labels[None])[0]
