import dataclasses
import logging
import os
import re
import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement
from splats_factory import assert_identical, random_splats

from click_gaussian_ns.splats.ply import read_ply, write_ply
from click_gaussian_ns.splats.spherical_harmonics import eval_sh
from click_gaussian_ns.splats.subset import select
from click_gaussian_ns.types import Splats


def vanilla_names(num_rest: int) -> list[str]:
    rest = [f"f_rest_{i}" for i in range(num_rest)]
    tail = ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    return ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *rest, *tail]


def replace_header(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))


@pytest.mark.parametrize("degree", range(4))
def test_round_trip(tmp_path: Path, degree: int) -> None:
    splats = random_splats(50, degree)
    write_ply(tmp_path / "new" / "splat.ply", splats)
    again, info = read_ply(tmp_path / "new" / "splat.ply")
    assert_identical(again, splats)
    assert again.sh_degree == degree
    assert (info.num_in_file, info.num_dropped, info.colors) == (50, 0, "sh")
    assert not info.made_by_ns_export and info.stated_frame is None


@pytest.mark.parametrize(("degree", "num_rest"), [(0, 0), (1, 9), (2, 24), (3, 45)])
def test_writes_the_vanilla_layout_and_nothing_more(tmp_path: Path, degree: int, num_rest: int) -> None:
    splats = random_splats(7, degree)
    write_ply(tmp_path / "splat.ply", splats)
    ply = PlyData.read(str(tmp_path / "splat.ply"))
    assert [element.name for element in ply.elements] == ["vertex"]
    assert [p.name for p in ply["vertex"].properties] == vanilla_names(num_rest)
    assert {p.val_dtype for p in ply["vertex"].properties} == {"f4"}
    assert (ply.byte_order, ply.text, list(ply.comments)) == ("<", False, [])
    data = ply["vertex"].data
    for channel in range(3):
        np.testing.assert_array_equal(data[f"f_dc_{channel}"], splats.sh[:, 0, channel])
        for k in range(1, (degree + 1) ** 2):
            rest = data[f"f_rest_{channel * (num_rest // 3) + k - 1}"]
            np.testing.assert_array_equal(rest, splats.sh[:, k, channel])


def test_reads_the_captures(shared_data: Path) -> None:
    for name, num in (("kitchen", 59_721), ("desk_photos", 39_501)):
        splats, info = read_ply(shared_data / name / "splat.ply")
        assert (splats.num_gaussians, splats.sh_degree, info.num_dropped) == (num, 1, 0)


@pytest.mark.parametrize("frame", ["dataparser", "world"])
def test_frame_is_noted_in_the_header(tmp_path: Path, frame) -> None:
    write_ply(tmp_path / "splat.ply", random_splats(3), frame)
    assert read_ply(tmp_path / "splat.ply")[1].stated_frame == frame


@pytest.mark.parametrize(("text", "byte_order"), [(True, "="), (False, ">")])
def test_reads_ascii_big_endian_double_and_unknown_properties(tmp_path: Path, text: bool, byte_order) -> None:
    splats = random_splats(9, 1)
    write_ply(tmp_path / "plain.ply", splats)
    data = PlyData.read(str(tmp_path / "plain.ply"))["vertex"].data
    names = [name for name in data.dtype.names if name[0] != "n"][::-1]
    wide = np.empty(9, [("segment", "i4"), *((name, "f8" if name in "xyz" else "f4") for name in names)])
    wide["segment"] = 5
    for name in names:
        wide[name] = data[name]
    PlyData([PlyElement.describe(wide, "vertex")], text=text, byte_order=byte_order).write(str(tmp_path / "wide.ply"))
    assert_identical(read_ply(tmp_path / "wide.ply")[0], splats)


def test_gaussians_that_cannot_be_drawn_are_dropped_with_a_count(tmp_path: Path, caplog) -> None:
    splats = random_splats(10)
    broken = {name: getattr(splats, name).clone() for name in ("means", "log_scales", "opacity_logits", "sh", "quats")}
    broken["means"][1, 2] = torch.nan
    broken["log_scales"][3, 0] = torch.inf
    broken["opacity_logits"][4] = torch.nan
    broken["sh"][6, 15, 2] = torch.nan
    broken["quats"][8] = 0
    write_ply(tmp_path / "splat.ply", Splats(**broken))
    with caplog.at_level(logging.WARNING):
        again, info = read_ply(tmp_path / "splat.ply")
    assert_identical(again, select(splats, torch.tensor([0, 2, 5, 7, 9])))
    assert (info.num_in_file, info.num_dropped) == (10, 5)
    assert "splat.ply: dropped 5 of 10 Gaussians" in caplog.text


def test_none_left_is_an_error(tmp_path: Path) -> None:
    splats = random_splats(4)
    write_ply(tmp_path / "splat.ply", dataclasses.replace(splats, means=splats.means * torch.nan))
    with pytest.raises(ValueError, match=r"splat\.ply: all 4 Gaussians have NaN.*earlier checkpoint"):
        read_ply(tmp_path / "splat.ply")


def refused(path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        read_ply(path)
    assert str(error.value).startswith(f"{path}: ")
    assert len(str(error.value)) < 700 and "\n" not in str(error.value)


def test_missing_and_empty_and_foreign_files_are_refused(tmp_path: Path, shared_data: Path) -> None:
    expected = "Expected the .ply of a Gaussian splat"
    refused(tmp_path / "absent.ply", f"no such file. {expected}")
    refused(tmp_path, f"no such file. {expected}")
    cases = {
        "zero": (b"", "the file is empty"),
        "jpeg": (b"\xff\xd8\xff\xe0 not a ply", "not a .ply file"),
        "text": (b"lorem ipsum\n", "not a .ply file"),
        "magic": (b"ply\n", "header is cut off"),
        "cut": (b"ply\nformat binary_little_endian 1.0\nelement vertex 5\nproperty float x\n", "header is cut off"),
        "garbage": (b"ply\ngarbage in here\nend_header\n", "header cannot be read"),
        "latin": (b"ply\nformat ascii 1.0\nelement \xe9 1\nend_header\n", "header cannot be read"),
        "cameras": (b"ply\nformat ascii 1.0\nelement camera 0\nproperty float x\nend_header\n", "has no vertices"),
        "negative": (b"ply\nformat ascii 1.0\nelement vertex -3\nproperty float x\nend_header\n", "no vertices|header"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / f"{name}.ply").write_bytes(content)
        refused(tmp_path / f"{name}.ply", f"{message}.*{expected}")
    refused(
        shared_data / "kitchen" / "points.ply",
        f"a point cloud, not a Gaussian splat: .* have x, y, z, red, green, blue and lack opacity.*{expected}",
    )


def test_a_mesh_is_refused_without_reading_it(tmp_path: Path) -> None:
    header = "ply\nformat binary_little_endian 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
    header += "property float z\nelement face 900000000\nproperty list uchar int vertex_indices\nend_header\n"
    (tmp_path / "mesh.ply").write_bytes(header.encode())
    refused(tmp_path / "mesh.ply", "looks like a mesh")


@pytest.mark.parametrize("missing", ["opacity", "rot_3", "scale_1", "f_dc_2", "z"])
def test_a_missing_property_is_named(tmp_path: Path, missing: str) -> None:
    write_ply(tmp_path / "splat.ply", random_splats(4, 1))
    replace_header(tmp_path / "splat.ply", f"property float {missing}\n".encode(), b"property float other\n")
    refused(tmp_path / "splat.ply", f"lack {missing}\\.")


@pytest.mark.parametrize("num_rest", [1, 8, 10, 71])
def test_a_number_of_coefficients_that_fits_no_degree_is_refused(tmp_path: Path, num_rest: int) -> None:
    data = np.zeros(2, [(name, "f4") for name in vanilla_names(num_rest)])
    data["rot_0"] = 1
    PlyData([PlyElement.describe(data, "vertex")]).write(str(tmp_path / "splat.ply"))
    refused(tmp_path / "splat.ply", f"{num_rest} f_rest properties fit no spherical-harmonics degree")


def test_no_gaussians_are_refused_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "splat.ply"
    with pytest.raises(ValueError, match=r"splat\.ply: nothing to write, there are no Gaussians"):
        write_ply(path, random_splats(0))
    write_ply(path, random_splats(1))
    replace_header(path, b"element vertex 1\n", b"element vertex 0\n")
    refused(path, "holds 0 Gaussians")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("text", [True, False])
def test_truncated_files_are_refused(tmp_path: Path, keep: float, text: bool) -> None:
    path = tmp_path / "splat.ply"
    write_ply(path, random_splats(20))
    ply = PlyData.read(str(path))
    PlyData([PlyElement.describe(np.array(ply["vertex"].data), "vertex")], text=text).write(str(path))
    content = path.read_bytes()
    start = content.index(b"end_header\n") + len(b"end_header\n")
    path.write_bytes(content[: start + int(keep * (len(content) - start))])
    refused(path, "the header promises 20 Gaussians.*Copy or export")


def test_a_count_beyond_all_bounds_is_refused(tmp_path: Path) -> None:
    for form in (b"binary_little_endian", b"ascii"):
        path = tmp_path / f"{form.decode()}.ply"
        write_ply(path, random_splats(2, 0))
        replace_header(path, b"element vertex 2\n", b"element vertex 99999999999999999\n")
        replace_header(path, b"binary_little_endian", form)
        refused(path, "99999999999999999 Gaussians")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.booleans())
def test_damaged_files_give_gaussians_or_one_clear_error(tmp_path: Path, seed: int, num: int, ascii: bool) -> None:
    rng = np.random.default_rng(seed)
    path = tmp_path / "damaged.ply"
    write_ply(path, random_splats(3, 1))
    if ascii:
        data = np.array(PlyData.read(str(path))["vertex"].data)
        PlyData([PlyElement.describe(data, "vertex")], text=True).write(str(path))
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, len(content), num):
        content[place] = rng.choice([rng.integers(0, 256), ord("\n"), ord(" "), ord("9")])
    path.write_bytes(content)
    message = f"{path}: "
    try:
        splats, info = read_ply(path)
    except ValueError as error:
        message = str(error)
    else:
        assert splats.num_gaussians == info.num_in_file - info.num_dropped > 0
        assert bool(torch.isfinite(splats.means).all())
    assert message.startswith(f"{path}: ")


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "splat.ply"
    write_ply(path, random_splats(3, seed=1))
    before = path.read_bytes()

    def broken_write(self: PlyData, stream: str) -> None:
        Path(stream).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(PlyData, "write", broken_write)
    with pytest.raises(OSError, match="disk full"):
        write_ply(path, random_splats(5, seed=2))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["splat.ply"]


def test_select_by_mask_and_by_ids() -> None:
    splats = random_splats(6)
    mask = torch.tensor([True, False, False, True, True, False])
    assert_identical(select(splats, mask), select(splats, torch.tensor([0, 3, 4])))
    assert torch.equal(select(splats, torch.tensor([4, 0, 4], dtype=torch.int32)).means, splats.means[[4, 0, 4]])
    assert select(splats, torch.zeros(6, dtype=torch.bool)).num_gaussians == 0
    assert select(splats, torch.zeros(0, dtype=torch.int64)).num_gaussians == 0
    for ids in ([6], [-1, 2]):
        with pytest.raises(ValueError, match=r"must lie in \[0, 6\), got"):
            select(splats, torch.tensor(ids))
    with pytest.raises(ValueError, match="a mask of 5 entries cannot select from 6"):
        select(splats, mask[:5])


def export_with_nerfstudio(
    folder: Path, splats: Splats, color_mode: str, monkeypatch: pytest.MonkeyPatch, sh_degree: int
) -> Path:
    """What `ns-export gaussian-splat` writes for a splatfacto model that holds these Gaussians."""
    from types import SimpleNamespace

    try:
        import open3d  # noqa: F401
    except ImportError:  # wants libusb; the exporter imports it at the top, but not to write Gaussians
        monkeypatch.setitem(sys.modules, "open3d", MagicMock())
    from nerfstudio.models.splatfacto import SplatfactoModel
    from nerfstudio.scripts import exporter

    model = SplatfactoModel.__new__(SplatfactoModel)
    torch.nn.Module.__init__(model)
    model.config = SimpleNamespace(sh_degree=sh_degree)  # type: ignore[assignment]
    parameters = {
        "means": splats.means,
        "scales": splats.log_scales,
        "quats": splats.quats,
        "features_dc": splats.sh[:, 0],
        "features_rest": splats.sh[:, 1:],
        "opacities": splats.opacity_logits[:, None],
    }
    model.gauss_params = torch.nn.ParameterDict(parameters)
    pipeline = SimpleNamespace(model=model)
    monkeypatch.setattr(exporter, "eval_setup", lambda *_, **__: (None, pipeline, None, None))
    exporter.ExportGaussianSplat(
        load_config=folder / "config.yml",
        output_dir=folder,
        ply_color_mode=color_mode,  # type: ignore[arg-type]
    ).main()
    return folder / "splat.ply"


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_reads_what_ns_export_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, degree: int) -> None:
    splats = random_splats(40, degree)
    path = export_with_nerfstudio(tmp_path, splats, "sh_coeffs", monkeypatch, degree)
    again, info = read_ply(path)
    assert_identical(again, splats)
    assert info.made_by_ns_export and info.colors == "sh"
    assert re.match(r"Generated by Nerstudio", info.comments[0])


def test_ns_export_of_degree_0_has_the_models_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splats = random_splats(40, 0)
    again, _ = read_ply(export_with_nerfstudio(tmp_path, splats, "sh_coeffs", monkeypatch, 0))
    up = torch.tensor([[0.0, 0.0, 1.0]]).expand(40, 3)
    torch.testing.assert_close(eval_sh(again.sh, up), torch.sigmoid(splats.sh[:, 0]))


def test_ns_export_in_rgb_is_read_as_the_colours_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splats = random_splats(40, 3)
    again, info = read_ply(export_with_nerfstudio(tmp_path, splats, "rgb", monkeypatch, 3))
    assert (again.sh_degree, info.colors, info.made_by_ns_export) == (0, "rgb", True)
    up = torch.tensor([[0.0, 0.0, 1.0]]).expand(40, 3)
    true = eval_sh(splats.sh[:, :1], up).clamp(0, 1)
    torch.testing.assert_close(eval_sh(again.sh, up), true, rtol=0, atol=1.01 / 255)
    assert_identical(dataclasses.replace(again, sh=splats.sh), splats)
