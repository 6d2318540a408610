"""`click-gaussian export --labels` and `--masks`: what other programs read of a run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click_scene import OBJECTS, pixel_of
from PIL import Image
from plyfile import PlyData
from pycocotools import mask as coco
from small_run import run_for_shell, shifted
from splats_factory import assert_close

from click_gaussian_ns.raster import rasterize
from click_gaussian_ns.runs import commands
from click_gaussian_ns.runs.open_run import Run
from click_gaussian_ns.scenes.views import undistorted_view
from click_gaussian_ns.selection.propagate import selection_masks_2d
from click_gaussian_ns.selection.storage import write_selection
from click_gaussian_ns.splats.ply import read_ply
from click_gaussian_ns.types import Selection

BARREL = [-0.3, 0.05, 0.0, 0.0, 0.001, 0.002]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    cameras = {"cam0/a.png": shifted(0.0), "cam1/a.png": shifted(0.3), "lens.png": shifted(0.1, BARREL)}
    made = run_for_shell(tmp_path / "run", monkeypatch, cameras)
    for name, level, cluster in (("mug", "coarse", 0), ("große Tasse", "fine", 1)):
        mask = made.clusters[level].labels == cluster
        write_selection(made.run_dir, name, Selection(level, (cluster,), mask), {})
    return made


def export(run: Run, **wanted) -> None:
    asked = {"selection": None, "complement": None, "all_objects": False, "level_name": "coarse", "frame": "dataparser"}
    given = {"output_dir": None, **asked, **wanted}
    commands.export_from_shell(run.run_dir / "config.yml", **given)


def test_labels_are_a_column_per_level(run: Run, tmp_path: Path) -> None:
    export(run, labels=tmp_path / "labels.npy")
    found = np.load(tmp_path / "labels.npy")
    assert found.dtype == np.int32 and found.shape == (run.splats.num_gaussians, 2)
    for column, level in enumerate(("coarse", "fine")):
        assert np.array_equal(found[:, column], run.clusters[level].labels.numpy())


@pytest.mark.parametrize("frame", ["dataparser", "world"])
def test_labels_are_properties_of_the_splat(run: Run, frame: str, tmp_path: Path) -> None:
    export(run, labels=tmp_path / "labels.ply", frame=frame)
    vertex = PlyData.read(str(tmp_path / "labels.ply"))["vertex"]
    assert np.array_equal(vertex["label_fine"], run.clusters["fine"].labels.numpy())
    assert np.array_equal(vertex["confidence_coarse"], run.clusters["coarse"].confidence.numpy())
    splats, info = read_ply(tmp_path / "labels.ply")
    assert splats.num_gaussians == run.splats.num_gaussians and info.stated_frame == frame
    if frame == "dataparser":
        assert_close(splats, run.splats, atol=1e-6)


def test_labels_have_names_and_the_tree(run: Run, tmp_path: Path) -> None:
    export(run, labels=tmp_path / "labels.json")
    record = json.loads((tmp_path / "labels.json").read_text())
    fine = record["levels"]["fine"]
    assert fine["labels"] == run.clusters["fine"].labels.tolist() and len(fine["confidence"]) == record["num_gaussians"]
    assert {entry["label"]: entry["name"] for entry in fine["objects"] if entry["name"]} == {1: "große Tasse"}
    assert record["levels"]["coarse"]["objects"][0]["name"] == "mug"
    assert sum(entry["num_gaussians"] for entry in fine["objects"]) == sum(label >= 0 for label in fine["labels"])
    assert run.tree is not None and record["tree"]["parents"] == run.tree.parents.tolist()


def test_masks_are_where_photos_show_the_selection(run: Run, tmp_path: Path) -> None:
    """Also through a lens: the object is where the photo, not the straightened view, has it."""
    export(run, selection="mug", masks=tmp_path / "masks")
    data = json.loads((tmp_path / "masks" / "masks.json").read_text())
    assert [entry["file_name"] for entry in data["images"]] == ["cam0/a.png", "cam1/a.png", "lens.png"]
    assert data["categories"] == [{"id": 1, "name": "mug"}]
    for view, image in zip(run.views, data["images"]):
        mask = np.array(Image.open(tmp_path / "masks" / Path(view.name).with_suffix(".png"))) > 0
        assert mask.shape == (image["height"], image["width"])
        assert mask.shape == (int(view.camera.height.item()), int(view.camera.width.item()))
        (found,) = (entry for entry in data["annotations"] if entry["image_id"] == image["id"])
        assert np.array_equal(coco.decode(found["segmentation"]) > 0, mask) and found["area"] == mask.sum()
        left, top, width, height = found["bbox"]
        assert mask[top : top + height, left : left + width].sum() == mask.sum() > 20
    bent = run.views[2]
    straight, source = undistorted_view(bent.camera)
    assert source is not None
    prepared = rasterize.prepare(run.splats, straight, run.rasterize_mode)
    shown = selection_masks_2d(prepared, (run.clusters["coarse"].labels == 0)[None])[0]
    columns, rows = (np.rint(source[..., axis][shown]).astype(int) for axis in (0, 1))
    mask = np.array(Image.open(tmp_path / "masks" / "lens.png")) > 0
    assert mask[rows, columns].mean() > 0.95
    assert mask[: shown.shape[0], : shown.shape[1]][shown[: mask.shape[0], : mask.shape[1]]].mean() < 0.9
    plain = run.views[0]
    prepared = rasterize.prepare(run.splats, plain.view, run.rasterize_mode)
    expected = selection_masks_2d(prepared, (run.clusters["coarse"].labels == 0)[None])[0]
    assert np.array_equal(np.array(Image.open(tmp_path / "masks" / "cam0" / "a.png")) > 0, expected)


def test_photos_that_differ_in_their_ending_keep_it(run: Run, tmp_path: Path) -> None:
    object.__setattr__(run.views[1], "name", "cam0/a.jpg")
    export(run, selection="mug", masks=tmp_path / "masks")
    found = {str(path.relative_to(tmp_path / "masks")) for path in (tmp_path / "masks").rglob("*.png")}
    assert found == {"cam0/a.png.png", "cam0/a.jpg.png", "lens.png"}


def test_masks_have_the_size_of_the_photo(run: Run, tmp_path: Path) -> None:
    """Cameras are at most 1600 px wide, photos may be larger."""
    view = run.views[0]
    height, width = int(view.camera.height.item()), int(view.camera.width.item())
    photo = tmp_path / "photo.png"
    Image.new("RGB", (2 * width, 2 * height)).save(photo)
    object.__setattr__(view, "path", photo)
    export(run, selection="mug", masks=tmp_path / "masks")
    mask = np.array(Image.open(tmp_path / "masks" / "cam0" / "a.png")) > 0
    assert mask.shape == (2 * height, 2 * width)
    x, y = pixel_of(view.view, OBJECTS[0])
    assert mask[int(2 * y), int(2 * x)]


REFUSED = [
    ({}, "say where to: --output-dir DIR"),
    ({"labels": "a.txt"}, r"--labels .*a.txt: expected a name that ends in one of .npy, .ply, .json"),
    ({"labels": "there.npy"}, r"there.npy exists already: give another --labels"),
    ({"masks": "m"}, "--masks .*m: say of what, with --selection NAME"),
    ({"masks": "there", "selection": "mug"}, r"masks.json exists already: give another --masks"),
    ({"masks": "m", "selection": "cup"}, "holds no selection. Saved in this run: große Tasse, mug"),
    ({"labels": "a.npy", "edits": "edits.json"}, "--edits does not go with --labels"),
]


@pytest.mark.parametrize(("wanted", "message"), REFUSED)
def test_what_cannot_be_written_is_refused(run: Run, wanted: dict, message: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "masks.json").write_text("mine")
    (tmp_path / "there.npy").write_text("mine")
    with pytest.raises(ValueError, match=message):
        export(run, **{key: value if key == "selection" else tmp_path / value for key, value in wanted.items()})
    assert (tmp_path / "there.npy").read_text() == (tmp_path / "there" / "masks.json").read_text() == "mine"
    if "there" in wanted.get("labels", ""):
        export(run, labels=tmp_path / "there.npy", overwrite=True)
        assert np.load(tmp_path / "there.npy").shape[1] == 2
