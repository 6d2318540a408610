"""Edits as plain values, and what each does to Gaussians. All lengths and frames are the dataparser's."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from scipy.spatial.transform import Rotation

from click_gaussian_ns.selection.packed import PackedMask
from click_gaussian_ns.splats.transforms import Similarity

Vec3 = tuple[float, float, float]
Quat = tuple[float, float, float, float]

_MAX_LENGTH = 1e6
_MAX_SCALE = 1e3
IDENTITY_QUAT: Quat = (1.0, 0.0, 0.0, 0.0)
ZERO: Vec3 = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Remove:
    """Take Gaussians out of the scene."""

    kind: ClassVar[str] = "remove"
    gaussians: PackedMask


@dataclass(frozen=True)
class Isolate:
    """Take everything else out of the scene."""

    kind: ClassVar[str] = "isolate"
    gaussians: PackedMask


@dataclass(frozen=True)
class Transform:
    """Scale and rotate about a pivot, then translate: x' = scale R (x - pivot) + pivot + translation."""

    kind: ClassVar[str] = "transform"
    gaussians: PackedMask
    translation: Vec3 = ZERO
    rotation: Quat = IDENTITY_QUAT
    """wxyz; need not be normalised."""
    scale: float = 1.0
    pivot: Vec3 = ZERO

    def __post_init__(self) -> None:
        _check_vector("translation", self.translation, _MAX_LENGTH)
        _check_vector("pivot", self.pivot, _MAX_LENGTH)
        _check_vector("rotation", self.rotation, _MAX_LENGTH)
        if sum(x * x for x in self.rotation) < 1e-12:
            raise ValueError("the rotation's quaternion is zero, which is no rotation")
        if not (math.isfinite(self.scale) and 1 / _MAX_SCALE <= self.scale <= _MAX_SCALE):
            raise ValueError(f"the scale must lie between {1 / _MAX_SCALE:g} and {_MAX_SCALE:g}, got {self.scale}")

    @property
    def similarity(self) -> Similarity:
        w, x, y, z = self.rotation
        turns = (x, y, z) != (0.0, 0.0, 0.0)
        rotation = torch.from_numpy(Rotation.from_quat([x, y, z, w]).as_matrix()) if turns else _eye()
        pivot = torch.tensor(self.pivot, dtype=torch.float64)
        moved = torch.tensor(self.translation, dtype=torch.float64)
        if not turns and self.scale == 1.0:
            return Similarity(rotation, moved, 1.0)
        return Similarity(rotation, (pivot + moved) / self.scale - rotation @ pivot, self.scale)


@dataclass(frozen=True)
class Duplicate:
    """Append copies of Gaussians, moved by a translation. Only what is in the scene is copied."""

    kind: ClassVar[str] = "duplicate"
    gaussians: PackedMask
    translation: Vec3 = ZERO

    def __post_init__(self) -> None:
        _check_vector("translation", self.translation, _MAX_LENGTH)


@dataclass(frozen=True)
class Recolor:
    """Mix every colour with one: rgb' = (1 - strength) rgb + strength color, from all directions."""

    kind: ClassVar[str] = "recolor"
    gaussians: PackedMask
    color: Vec3 = ZERO
    """RGB in [0, 1]."""
    strength: float = 1.0
    """In [0, 1]; 1 paints over."""

    def __post_init__(self) -> None:
        if not all(math.isfinite(x) and 0 <= x <= 1 for x in (*self.color, self.strength)):
            raise ValueError(f"colour and strength must lie in [0, 1], got {self.color} and {self.strength}")


Edit = Remove | Isolate | Transform | Duplicate | Recolor
EDITS: dict[str, type[Edit]] = {edit.kind: edit for edit in (Remove, Isolate, Transform, Duplicate, Recolor)}


@dataclass(frozen=True)
class Adjustment:
    """What all edits together did to a Gaussian that is still there: a move and a mix of its colour."""

    similarity: Similarity = field(default_factory=Similarity.identity)
    gain: float = 1.0
    offset: Vec3 = ZERO
    """rgb' = gain rgb + offset."""

    def then(self, edit: Edit) -> Adjustment:
        """This one first, the edit second."""
        if isinstance(edit, Transform):
            return Adjustment(self.similarity.then(edit.similarity), self.gain, self.offset)
        if isinstance(edit, Duplicate):
            moved = Similarity(_eye(), torch.tensor(edit.translation, dtype=torch.float64), 1.0)
            return Adjustment(self.similarity.then(moved), self.gain, self.offset)
        if isinstance(edit, Recolor):
            keep = 1.0 - edit.strength
            red, green, blue = (keep * old + edit.strength * new for old, new in zip(self.offset, edit.color))
            return Adjustment(self.similarity, keep * self.gain, (red, green, blue))
        return self


def changed_fields(edit: Edit) -> frozenset[str]:
    """The parameters of existing Gaussians that an edit can change (fields of Splats)."""
    if isinstance(edit, Recolor):
        return frozenset({"sh"})
    if not isinstance(edit, Transform):
        return frozenset()
    fields = {"means"}
    if edit.scale != 1.0:
        fields.add("log_scales")
    if edit.rotation[1:] != (0.0, 0.0, 0.0):
        fields |= {"quats", "sh"}
    return frozenset(fields)


def _eye() -> torch.Tensor:
    return torch.eye(3, dtype=torch.float64)


def _check_vector(name: str, values: tuple[float, ...], limit: float) -> None:
    if not all(math.isfinite(x) and abs(x) <= limit for x in values):
        raise ValueError(f"the {name} must be finite numbers up to {limit:g}, got {values}")
