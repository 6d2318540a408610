"""The smaller formats against what is known of them, byte by byte where the format is simple."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click_scene import small_scene
from splats_factory import assert_close

from click_gaussian_ns.edit.formats import convert
from click_gaussian_ns.splats.formats import turn_spz_axes
from click_gaussian_ns.splats.ply import write_ply
from click_gaussian_ns.splats.spherical_harmonics import SH_C0
from click_gaussian_ns.types import Splats


@pytest.fixture
def scene(tmp_path: Path) -> tuple[Splats, Path]:
    splats, _, _ = small_scene()
    path = tmp_path / "scene.ply"
    write_ply(path, splats, "dataparser")
    return splats, path


def test_splat_files_hold_what_the_format_says(scene: tuple[Splats, Path]) -> None:
    """position 3 float32, scale 3 float32, RGBA 4 uint8, rotation 4 uint8."""
    splats, ply = scene
    target = ply.with_suffix(".splat")
    convert(ply, target)
    record = np.dtype([("means", "<f4", 3), ("scales", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])
    found = np.frombuffer(target.read_bytes(), record)
    assert found.shape == (splats.num_gaussians,)
    # the library sorts them
    order, wanted = (np.lexsort(np.asarray(means).T) for means in (found["means"], splats.means))
    found = found[order]
    assert np.array_equal(found["means"], splats.means.numpy()[wanted])
    np.testing.assert_allclose(found["scales"], splats.log_scales.exp().numpy()[wanted], rtol=1e-5)
    rgb = (0.5 + SH_C0 * splats.sh[:, 0]).clamp(0, 1).numpy()[wanted] * 255
    alpha = torch.sigmoid(splats.opacity_logits).numpy()[wanted] * 255
    assert np.abs(found["rgba"][:, :3] - rgb).max() <= 1
    assert np.abs(found["rgba"][:, 3] - alpha).max() <= 1
    quats = (found["quat"].astype(np.float32) - 128) / 128
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    assert np.abs((quats * splats.quats.numpy()[wanted]).sum(axis=1)).min() > 0.999


def test_spz_files_hold_the_scene_half_turned(scene: tuple[Splats, Path]) -> None:
    splats, ply = scene
    target = ply.with_suffix(".spz")
    convert(ply, target)
    data = gzip.decompress(target.read_bytes())
    magic, version, num, degree, fractional_bits = struct.unpack_from("<4sIIBB", data)
    assert (magic, version, num, degree) == (b"NGSP", 3, splats.num_gaussians, 2)
    raw = np.frombuffer(data, np.uint8, num * 9, 16).reshape(num, 3, 3).astype(np.int32)
    fixed = raw[..., 0] | raw[..., 1] << 8 | raw[..., 2] << 16
    means = (fixed - ((fixed >> 23) << 24)) / 2.0**fractional_bits
    np.testing.assert_allclose(means, splats.means.numpy() * [1, -1, -1], atol=2.0**-19)
    import gsply

    read = gsply.read_spz(target)
    turned = turn_spz_axes(splats)
    np.testing.assert_allclose(read.scales, turned.log_scales.numpy(), atol=1 / 32 + 1e-4)
    np.testing.assert_allclose(read.opacities, turned.opacity_logits.numpy(), atol=0.1)
    assert np.abs((read.quats * turned.quats.numpy()).sum(axis=1)).min() > 0.999
    # the format holds coefficients in [-1, 1)
    np.testing.assert_allclose(read.shN, turned.sh[:, 1:].clamp(-1, 127 / 128).numpy(), atol=1 / 128)


def test_turning_to_the_axes_of_spz_twice_is_nothing() -> None:
    splats, _, _ = small_scene()
    twice = turn_spz_axes(turn_spz_axes(splats))
    signs = (twice.quats * splats.quats).sum(dim=1, keepdim=True).sign()
    back = Splats(twice.means, twice.quats * signs, twice.log_scales, twice.opacity_logits, twice.sh)
    assert_close(back, splats, atol=1e-5)


@pytest.mark.parametrize(("suffix", "library"), [(".splat", "ply2splat"), (".spz", "gsply")])
def test_a_missing_library_is_named(
    scene: tuple[Splats, Path], monkeypatch: pytest.MonkeyPatch, suffix: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    target = scene[1].with_suffix(suffix)
    with pytest.raises(ValueError, match=f"needs the library {library}: pip install"):
        convert(scene[1], target)
    assert not target.exists()


def test_an_unknown_format_is_refused(scene: tuple[Splats, Path]) -> None:
    with pytest.raises(ValueError, match=r"unknown format; expected one of \.splat, \.spz"):
        convert(scene[1], scene[1].with_suffix(".obj"))
