"""Each row is a file of Gaussians as people have it: it gives the plain scene, what is said, or one line."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plyfile import PlyData, PlyElement
from scipy.spatial import cKDTree
from splat_files import Plain, write

from click_gaussian_ns.demo.scene import DemoScene
from click_gaussian_ns.edit.export import export_ply
from click_gaussian_ns.edit.formats import convert
from click_gaussian_ns.splats.convert import convert_file
from click_gaussian_ns.splats.formats import read_splat_file
from click_gaussian_ns.splats.ply import read_ply, write_ply
from click_gaussian_ns.splats.scene import LoadedSplats, load_splats
from click_gaussian_ns.splats.transforms import Similarity
from click_gaussian_ns.types import Splats

IDENTITY = torch.eye(4)[:3]


@pytest.fixture(scope="module")
def plain(mini: DemoScene) -> Plain:
    return Plain(mini.splat)


@pytest.fixture(scope="module")
def truth(plain: Plain, tmp_path_factory: pytest.TempPathFactory) -> Splats:
    return read_ply(write(tmp_path_factory.mktemp("plain") / "plain.ply", plain.table(plain.names)))[0]


def load(path: Path) -> LoadedSplats:
    return load_splats(path, "auto", IDENTITY, 1.0)


def without(names: list[str], *left: str) -> list[str]:
    return [name for name in names if name not in left]


def shuffled(names: list[str]) -> list[str]:
    return list(np.random.default_rng(1).permutation(names))


def small(name: str, count: int, kind: str = "f4") -> PlyElement:
    return PlyElement.describe(np.zeros(count, [("v", kind)]), name)


def edited(change: Callable[[bytes], bytes]) -> Callable[[Plain, Path], Path]:
    def make(plain: Plain, folder: Path) -> Path:
        path = write(folder / "made.ply", plain.table(plain.names))
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def edited_text(change: Callable[[bytes], bytes]) -> Callable[[Plain, Path], Path]:
    def make(plain: Plain, folder: Path) -> Path:
        path = write(folder / "made.ply", plain.table(plain.names), text=True)
        path.write_bytes(change(path.read_bytes()))
        return path

    return make


def crlf_header(content: bytes) -> bytes:
    head, body = content.split(b"end_header\n", 1)
    return (head + b"end_header\n").replace(b"\n", b"\r\n") + body


def comment(text: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(b"element vertex", b"comment " + text + b"\nelement vertex", 1)


def inria(plain: Plain, folder: Path) -> Path:
    for step in (7000, 30000, 999):
        target = folder / "output" / "point_cloud" / f"iteration_{step}"
        target.mkdir(parents=True)
        shift = 0.0 if step == 30000 else 5.0
        write(target / "point_cloud.ply", plain.table(plain.names, x=plain.columns["x"] + shift))
    (folder / "output" / "cfg_args").write_text("Namespace(sh_degree=0)")
    return folder / "output"


def gsplat_checkpoint(name: str, half: bool = False) -> Callable[[Plain, Path], Path]:
    def make(plain: Plain, folder: Path) -> Path:
        splats = read_ply(write(folder / "made.ply", plain.table(plain.names)))[0]
        values = {
            "means": splats.means,
            "quats": splats.quats,
            "scales": splats.log_scales,
            "opacities": splats.opacity_logits,
            "sh0": splats.sh[:, :1],
            "shN": splats.sh[:, 1:],
        }
        torch.save({"step": 9, "splats": {k: v.half() if half else v for k, v in values.items()}}, folder / name)
        return folder / name

    return make


SAME = [
    pytest.param(edited(lambda c: c), id="plain"),
    pytest.param(edited(lambda c: c + bytes(4096)), id="bytes after the end"),
    pytest.param(edited(crlf_header), id="CRLF header, binary data"),
    pytest.param(edited_text(lambda c: c), id="ASCII"),
    pytest.param(edited_text(lambda c: c.replace(b"\n", b"\r\n")), id="ASCII with CRLF"),
    pytest.param(edited_text(lambda c: b"\xef\xbb\xbf" + c), id="ASCII with a byte order mark"),
    pytest.param(edited(comment("créé par Zoë".encode())), id="comment in UTF-8"),
    pytest.param(edited(comment("créé".encode("latin1"))), id="comment in Latin-1"),
    pytest.param(edited(comment(b"element vertex 7")), id="comment that looks like an element"),
    pytest.param(edited(comment(b"")), id="empty comment"),
    pytest.param(
        edited(lambda c: c.replace(b"element vertex", b"obj_info num_cols 3\nelement vertex", 1)), id="obj_info"
    ),
    pytest.param(lambda p, f: write(f / "a.PLY", p.table(p.names)), id="ending in capitals"),
    pytest.param(lambda p, f: write(f / "a.ply", p.table(shuffled(p.names))), id="any order"),
    pytest.param(lambda p, f: write(f / "a.ply", p.table(p.names, ">f4"), order=">"), id="big endian"),
    pytest.param(lambda p, f: write(f / "a.ply", p.table(p.names, "<f8")), id="double precision"),
    pytest.param(lambda p, f: write(f / "a.ply", p.table([*p.names, "label", "obj_dc_0"])), id="unknown properties"),
    pytest.param(lambda p, f: write(f / "a.ply", p.table([*p.names, "nx", "ny", "nz"])), id="normals"),
    pytest.param(lambda p, f: write(f / "a.ply", p.table(p.names), before=[small("extrinsic", 16)]), id="before"),
    pytest.param(lambda p, f: write(f / "a.ply", p.table(p.names), after=[small("version", 3, "u1")]), id="after"),
    pytest.param(lambda p, f: write(f / "a.ply", p.table([*p.names, "filter_3D"])), id="filter_3D of 0"),
    pytest.param(inria, id="3DGS output folder"),
    pytest.param(gsplat_checkpoint("ckpt_29999_rank0.pt"), id="gsplat .pt"),
    pytest.param(gsplat_checkpoint("ckpt_29999.ckpt"), id="gsplat .ckpt"),
]


@pytest.mark.parametrize("make", SAME)
def test_gives_the_plain_scene(
    make: Callable[[Plain, Path], Path], plain: Plain, truth: Splats, tmp_path: Path
) -> None:
    loaded = load(make(plain, tmp_path))
    assert loaded.num_dropped == 0 and loaded.frame == "world" and not loaded.antialiased
    for name in ("means", "quats", "log_scales", "opacity_logits", "sh"):
        value = getattr(loaded.splats, name)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, getattr(truth, name), rtol=0, atol=1e-5)


def test_half_floats_of_gsplat(plain: Plain, truth: Splats, tmp_path: Path) -> None:
    found = load(gsplat_checkpoint("half.pt", half=True)(plain, tmp_path)).splats
    torch.testing.assert_close(found.means, truth.means, rtol=1e-3, atol=1e-3)
    assert found.means.dtype == torch.float32


FLAT = -20.0
CHANGED = [
    pytest.param({"opacity": np.inf}, {"opacity_logits": 20.0}, id="all opaque"),
    pytest.param({"opacity": -np.inf}, {"opacity_logits": -20.0}, id="all empty"),
    pytest.param({"scale_2": -np.inf}, {"log_scales": FLAT}, id="all flat"),
]


@pytest.mark.parametrize(("change", "expected"), CHANGED)
def test_infinities_mean_something(change, expected, plain: Plain, truth: Splats, tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        loaded = load(write(tmp_path / "a.ply", plain.table(plain.names, **change)))
    assert loaded.num_dropped == 0 and loaded.splats.num_gaussians == plain.num
    for name, value in expected.items():
        found = getattr(loaded.splats, name).reshape(plain.num, -1)[:, -1]
        assert bool((found == value).all())
    assert f"{plain.num} of {plain.num} Gaussians are fully opaque, empty or flat" in caplog.text
    torch.testing.assert_close(loaded.splats.means, truth.means)


def test_no_numbers_are_dropped_and_counted(plain: Plain, tmp_path: Path) -> None:
    x = plain.columns["x"].copy()
    x[:7] = np.nan
    loaded = load(write(tmp_path / "a.ply", plain.table(plain.names, x=x, opacity=np.inf)))
    assert (loaded.num_dropped, loaded.splats.num_gaussians) == (7, plain.num - 7)


def test_two_scales_are_a_disc(plain: Plain, truth: Splats, tmp_path: Path) -> None:
    found = load(write(tmp_path / "a.ply", plain.table(without(plain.names, "scale_2")))).splats
    torch.testing.assert_close(found.log_scales[:, :2], truth.log_scales[:, :2])
    assert bool((found.log_scales[:, 2] == FLAT).all())


def test_one_scale_is_a_ball(plain: Plain, truth: Splats, tmp_path: Path) -> None:
    found = load(write(tmp_path / "a.ply", plain.table(without(plain.names, "scale_1", "scale_2")))).splats
    torch.testing.assert_close(found.log_scales, truth.log_scales[:, :1].expand(-1, 3))


@pytest.mark.parametrize(("dtype", "value"), [("u1", 204), ("<f4", 0.8)])
def test_colours_as_red_green_blue(dtype: str, value: float, plain: Plain, tmp_path: Path) -> None:
    names = without(plain.names, "f_dc_0", "f_dc_1", "f_dc_2")
    table = np.zeros(plain.num, [*((n, "<f4") for n in names), *((n, dtype) for n in ("red", "green", "blue"))])
    for name in names:
        table[name] = plain.columns[name]
    table["red"] = value
    found = load(write(tmp_path / "a.ply", table)).splats
    colors = found.sh[:, 0] * 0.28209479177387814 + 0.5
    torch.testing.assert_close(colors, torch.tensor([0.8, 0.0, 0.0]).expand(plain.num, 3), rtol=0, atol=1e-5)


def test_degree_4_is_cut_to_3_and_said(plain: Plain, tmp_path: Path, caplog) -> None:
    rest = plain.noise(72)
    found = load(write(tmp_path / "a.ply", plain.table([*plain.names, *rest], **rest))).splats
    assert found.sh_degree == 3 and "degree 4 are cut to degree 3" in caplog.text
    for channel in range(3):
        expected = torch.tensor(rest[f"f_rest_{24 * channel + 14}"], dtype=torch.float32)
        torch.testing.assert_close(found.sh[:, 15, channel], expected)


def test_filter_3d_makes_gaussians_larger_and_fainter(plain: Plain, truth: Splats, tmp_path: Path) -> None:
    found = load(write(tmp_path / "a.ply", plain.table([*plain.names, "filter_3D"], filter_3D=0.05))).splats
    before, after = (2 * truth.log_scales).exp(), (2 * found.log_scales).exp()
    torch.testing.assert_close(after, before + 0.05**2)
    factor = (before.prod(1) / after.prod(1)).sqrt()
    expected = torch.sigmoid(truth.opacity_logits) * factor
    torch.testing.assert_close(torch.sigmoid(found.opacity_logits), expected, rtol=1e-4, atol=1e-6)


MODES = [
    ("SplatRenderMode: mip", True),
    ("antialiased 1", True),
    ("Antialiasing: true", True),
    ("SplatRenderMode: default", False),
    ("antialiased 0", False),
    ("Vertical Axis: z", False),
]


@pytest.mark.parametrize(("said", "antialiased"), MODES)
def test_header_says_how_to_draw(said: str, antialiased: bool, plain: Plain, tmp_path: Path) -> None:
    assert load(write(tmp_path / "a.ply", plain.table(plain.names), comments=[said])).antialiased is antialiased


FORMATS = [
    # ending, position (world units), opacity, colour (DC in [0, 1]), log scale: largest differences
    pytest.param(".compressed.ply", 2e-3, 0.02, 0.04, 0.02, id="compressed .ply"),
    pytest.param(".splat", 1e-6, 0.004, 0.004, 1e-4, id=".splat"),
    pytest.param(".spz", 1e-4, 0.004, 0.03, 0.04, id=".spz"),
    pytest.param(".sog", 1e-3, 0.004, 0.04, 0.1, id=".sog"),
    pytest.param(".ksplat", 1e-6, 0.004, 0.004, 1e-4, id=".ksplat"),
]


@pytest.mark.parametrize(("ending", "position", "opacity", "color", "scale"), FORMATS)
def test_round_trip(
    ending: str, position: float, opacity: float, color: float, scale: float, truth: Splats, tmp_path: Path
) -> None:
    # colours within a byte's reach: the formats clip what lies outside
    inside = replace(truth, sh=truth.sh.clamp(-1.7, 1.7))
    write_ply(tmp_path / "exact.ply", inside)
    if ending == ".ksplat":  # read alone
        convert_file(tmp_path / "exact.ply", "ply", tmp_path / "made.ksplat", "ksplat")
    else:
        convert(tmp_path / "exact.ply", tmp_path / f"made{ending}")
    loaded = load(tmp_path / f"made{ending}")
    found = loaded.splats
    assert (found.num_gaussians, loaded.num_dropped) == (inside.num_gaussians, 0)
    distance, index = cKDTree(found.means.numpy()).query(inside.means.numpy())
    assert float(np.max(distance)) < position
    # close neighbours may be taken for each other where a format rounds positions and sorts
    assert len(np.unique(index)) >= 0.99 * inside.num_gaussians
    order = torch.from_numpy(index)
    alpha = torch.sigmoid(found.opacity_logits[order]) - torch.sigmoid(inside.opacity_logits)
    assert float(alpha.abs().quantile(0.99)) < opacity
    assert float((found.sh[order, 0] - inside.sh[:, 0]).abs().quantile(0.99)) * 0.2821 < color
    assert float((found.log_scales[order] - inside.log_scales).abs().quantile(0.99)) < scale
    turned = torch.nn.functional.normalize(found.quats[order], dim=1)
    cosine = (turned * torch.nn.functional.normalize(inside.quats, dim=1)).sum(dim=1).abs()
    assert float(cosine.quantile(0.05)) > 0.999


def test_another_reader_reads_what_is_written(truth: Splats, tmp_path: Path) -> None:
    import gsply

    write_ply(tmp_path / "exact.ply", truth)
    convert(tmp_path / "exact.ply", tmp_path / "made.compressed.ply")
    found = np.asarray(gsply.plyread(tmp_path / "made.compressed.ply").means)
    distance, _ = cKDTree(found).query(truth.means.numpy())
    assert len(found) == truth.num_gaussians and float(np.max(distance)) < 2e-3


def test_the_first_layout_of_compressed_files(truth: Splats, tmp_path: Path) -> None:
    """Without ranges of colours per chunk: a colour's byte is of 255."""
    write_ply(tmp_path / "exact.ply", truth)
    convert(tmp_path / "exact.ply", tmp_path / "made.compressed.ply")
    new = PlyData.read(str(tmp_path / "made.compressed.ply"))
    chunks, vertices = new["chunk"].data, new["vertex"].data
    names = [name for name in chunks.dtype.names if name[-2:] not in ("_r", "_g", "_b")]
    old = np.zeros(len(chunks), [(name, "<f4") for name in names])
    for name in names:
        old[name] = chunks[name]
    elements = [PlyElement.describe(old, "chunk"), PlyElement.describe(vertices, "vertex")]
    PlyData(elements, byte_order="<").write(str(tmp_path / "old.ply"))
    found, newer = load(tmp_path / "old.ply").splats, load(tmp_path / "made.compressed.ply").splats
    assert torch.equal(found.means, newer.means) and torch.equal(found.quats, newer.quats)
    packed = vertices["packed_color"].astype(np.int64)
    colors = np.stack([(packed >> shift) & 255 for shift in (24, 16, 8)], axis=1) / 255
    np.testing.assert_allclose(found.sh[:, 0].numpy() * 0.28209479 + 0.5, colors, atol=1e-4)


UTM = (448_262.0, 4_427_000.0, 120.0)


def utm(plain: Plain) -> dict[str, np.ndarray]:
    return {name: plain.columns[name] + offset for name, offset in zip("xyz", UTM)}


def test_a_countrys_grid_is_moved_in_double_precision_and_given_back(
    plain: Plain, truth: Splats, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.ply", plain.table(plain.names, "<f8", **utm(plain)))
    matrix = torch.cat([torch.eye(3), -torch.tensor(UTM)[:, None]], dim=1).double()
    found = load_splats(path, "world", matrix, 0.5).splats
    torch.testing.assert_close(found.means, 0.5 * truth.means, rtol=0, atol=1e-6)
    everything = torch.ones(plain.num, dtype=torch.bool)
    export_ply(tmp_path / "out.ply", found, everything, "world", Similarity.from_dataparser(matrix, 0.5))
    again = read_ply(tmp_path / "out.ply")[0]
    assert again.means.dtype == torch.float64
    torch.testing.assert_close(again.means - torch.tensor(UTM).double(), truth.means.double(), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"out\.spz: only a \.ply holds coordinates as large"):
        export_ply(tmp_path / "out.spz", found, everything, "world", Similarity.from_dataparser(matrix, 0.5))
    assert not (tmp_path / "out.spz").exists()


def truncated(plain: Plain, folder: Path) -> Path:
    return edited(lambda content: content[:-500])(plain, folder)


def mesh(plain: Plain, folder: Path) -> Path:
    return write(folder / "made.ply", plain.table(["x", "y", "z"]), after=[small("face", 2)])


def lone(name: str, content: bytes) -> Callable[[Plain, Path], Path]:
    def make(plain: Plain, folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def cut(ending: str, keep: float) -> Callable[[Plain, Path], Path]:
    def make(plain: Plain, folder: Path) -> Path:
        write(folder / "exact.ply", plain.table(plain.names))
        convert(folder / "exact.ply", folder / f"made{ending}")
        content = (folder / f"made{ending}").read_bytes()
        (folder / f"made{ending}").write_bytes(content[: int(len(content) * keep) - 1])
        return folder / f"made{ending}"

    return make


def bad_gsplat(values: dict) -> Callable[[Plain, Path], Path]:
    def make(plain: Plain, folder: Path) -> Path:
        torch.save(values, folder / "made.pt")
        return folder / "made.pt"

    return make


REFUSED = [
    pytest.param(truncated, "truncated or damaged, the header promises 600 Gaussians", id="truncated .ply"),
    pytest.param(mesh, "this looks like a mesh, not a Gaussian splat", id="mesh"),
    pytest.param(lambda p, f: write(f / "a.ply", p.table(["x", "y", "z"])), "a point cloud", id="points"),
    pytest.param(lambda p, f: write(f / "a.ply", p.table(without(p.names, "scale_1"))), "lack scale_1", id="scale"),
    pytest.param(
        lambda p, f: write(f / "a.ply", p.table([*p.names, *p.noise(30)])),
        "30 f_rest properties fit no",
        id="30 f_rest",
    ),
    pytest.param(lambda p, f: write(f / "a.ply", p.table(p.names)[:0]), "holds 0 Gaussians", id="no Gaussians"),
    pytest.param(
        lambda p, f: write(f / "a.ply", p.table(p.names, rot_0=0.0, rot_1=0.0, rot_2=0.0, rot_3=0.0)),
        "all 600 Gaussians have NaN, infinite or zero-quaternion parameters",
        id="zero quaternions",
    ),
    pytest.param(edited(lambda c: gzip.compress(c)), "not a .ply file", id="gzip named .ply"),
    pytest.param(lone("a.splat", b""), "the file is empty", id="empty .splat"),
    pytest.param(lone("a.splat", bytes(33)), "no whole number of Gaussians", id="cut .splat"),
    pytest.param(lone("a.spz", b"none"), "cannot be read as a file of Gaussians of the kind spz", id="bad .spz"),
    pytest.param(lone("a.sog", b"none"), "cannot be read as a file of Gaussians of the kind sog", id="bad .sog"),
    pytest.param(lone("a.ksplat", b"none"), "cannot be read as a file of Gaussians of the kind ksplat", id="ksplat"),
    pytest.param(cut(".spz", 0.5), "cannot be read as a file of Gaussians of the kind spz", id="cut .spz"),
    pytest.param(cut(".sog", 0.5), "cannot be read as a file of Gaussians of the kind sog", id="cut .sog"),
    pytest.param(cut(".compressed.ply", 0.5), "the compressed .ply is damaged", id="cut compressed .ply"),
    pytest.param(lone("a.pt", b"no checkpoint"), "cannot be read as a checkpoint", id="bad .pt"),
    pytest.param(bad_gsplat({"model": {}}), "holds no `splats`", id=".pt of something else"),
    pytest.param(bad_gsplat({"splats": {}}), "have no `means`", id=".pt without means"),
    pytest.param(
        bad_gsplat({"splats": {"means": torch.zeros(4, 3), "quats": torch.zeros(3, 4)}}),
        r"`quats` of its `splats` is \[3, 4\], expected \[4, 4\]",
        id=".pt of unequal lengths",
    ),
    pytest.param(
        lambda p, f: write(f / "a.ply", p.table(p.names, "<f8", **utm(p))), "Shift the splat and the camera", id="grid"
    ),
    pytest.param(lambda p, f: f / "absent.splat", "no such file", id="absent .splat"),
    pytest.param(lambda p, f: f, "no checkpoint found", id="empty folder"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_is_refused_in_one_line(make, message: str, plain: Plain, tmp_path: Path) -> None:
    path = make(plain, tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        load(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value) and "converted.ply" not in str(error.value)


@pytest.mark.parametrize("ending", [".splat", ".compressed.ply", ".spz", ".sog"])
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_end_in_one_line(ending: str, data, plain: Plain, tmp_path: Path) -> None:
    whole = tmp_path / f"made{ending}"
    if not whole.exists():
        write(tmp_path / "exact.ply", plain.table(plain.names))
        convert(tmp_path / "exact.ply", whole)
    content = bytearray(whole.read_bytes())
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = tmp_path / f"damaged{ending}"
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    message = ""
    try:
        found, _ = read_splat_file(damaged)
        assert found.num_gaussians > 0
    except ValueError as error:
        message = str(error)
    assert not message or message.startswith(f"{damaged}: ")
    assert "\n" not in message
