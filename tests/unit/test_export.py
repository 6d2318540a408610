"""What export writes: which Gaussians, and in which frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from splats_factory import assert_close, assert_identical, random_rotation, random_splats

from click_gaussian_ns.edit.export import export_all_objects, export_ply
from click_gaussian_ns.selection.pick import OPACITY_LOGIT_MIN
from click_gaussian_ns.splats.ply import read_ply
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.splats.transforms import Similarity, apply
from click_gaussian_ns.types import Splats

TO_DATAPARSER = Similarity.from_parts(random_rotation(3), torch.tensor([0.5, -2.0, 1.0]), 0.25)
FAINT = torch.arange(30) % 3 == 0


def scene() -> Splats:
    """30 Gaussians, of which every third is just too faint to be drawn."""
    splats = random_splats(30, degree=2)
    logits = torch.where(FAINT, OPACITY_LOGIT_MIN - 1e-3, splats.opacity_logits.clamp_min(OPACITY_LOGIT_MIN))
    return replace(splats, opacity_logits=logits)


@pytest.mark.parametrize("frame", ["dataparser", "world"])
def test_what_is_too_faint_to_be_drawn_is_not_written(tmp_path: Path, frame) -> None:
    splats = scene()
    mask = torch.arange(30) < 20
    count = export_ply(tmp_path / "some.ply", splats, mask, frame, TO_DATAPARSER)
    found, info = read_ply(tmp_path / "some.ply")
    assert count == found.num_gaussians == int((mask & ~FAINT).sum())
    assert info.stated_frame == frame
    with pytest.raises(ValueError, match="nothing to write"):
        export_ply(tmp_path / "none.ply", splats, FAINT, frame, TO_DATAPARSER)


def test_frames_are_not_swapped(tmp_path: Path) -> None:
    """The dataparser's is written bit for bit; the world's, moved to the dataparser's, is the scene again."""
    splats = scene()
    everything = torch.ones(30, dtype=torch.bool)
    for frame in ("dataparser", "world"):
        export_ply(tmp_path / f"{frame}.ply", splats, everything, frame, TO_DATAPARSER)
    assert_identical(read_ply(tmp_path / "dataparser.ply")[0], select(splats, ~FAINT))
    world = read_ply(tmp_path / "world.ply")[0]
    assert_close(apply(world, TO_DATAPARSER), select(splats, ~FAINT), atol=1e-5)
    # x' = scale (R x + t) is the dataparser's origin at x = -R^T t
    origin = replace(splats, means=torch.zeros_like(splats.means))
    export_ply(tmp_path / "origin.ply", origin, everything, "world", TO_DATAPARSER)
    expected = -(TO_DATAPARSER.rotation.T @ TO_DATAPARSER.translation).float().expand(20, 3)
    torch.testing.assert_close(read_ply(tmp_path / "origin.ply")[0].means, expected)


def test_objects_are_written_without_what_is_too_faint(tmp_path: Path) -> None:
    splats = scene()
    labels = torch.where(torch.arange(30) < 12, 0, 2).to(torch.int32)
    labels[FAINT & (labels == 0)] = 1  # an object that nobody can see
    written = export_all_objects(tmp_path, splats, "coarse", labels, 3, "dataparser", TO_DATAPARSER)
    assert {path.name: count for path, count in written.items()} == {"coarse_000.ply": 8, "coarse_002.ply": 12}
    for cluster in (0, 2):
        found = read_ply(tmp_path / f"coarse_{cluster:03d}.ply")[0]
        assert_identical(found, select(splats, (labels == cluster) & ~FAINT))
