"""Ground truth in the layouts that the data sets' authors publish, with their folder and file names."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from click_gaussian_ns.evaluate.datasets import open_ground_truth, read_binary_mask
from click_gaussian_ns.evaluate.truth import EvaluatedView, fit_to_view
from click_gaussian_ns.types import PinholeView

LEVELS = ("coarse", "fine")


def views(*names: str, test: tuple[str, ...] = (), size: tuple[int, int] = (12, 16)) -> tuple[EvaluatedView, ...]:
    pinhole = PinholeView(torch.eye(4), torch.eye(3), size[1], size[0])
    return tuple(EvaluatedView(name, pinhole, "test" if name in test else "train", size) for name in names)


def block(rows: slice, columns: slice, size: tuple[int, int] = (12, 16)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return mask


def write_mask(path: Path, mask: np.ndarray, inside: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(mask, inside, 0).astype(np.uint8)).save(path)


def write_labels(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels.astype(np.uint16)).save(path)


LARGE, MIDDLE, SMALL = (
    block(slice(0, 8), slice(0, 10)),
    block(slice(2, 8), slice(0, 8)),
    block(slice(0, 2), slice(0, 5)),
)


# --- label maps


@pytest.fixture
def label_maps(tmp_path: Path) -> Path:
    """Two objects: 1 is in all views, largest in the training view b; 2 only ever has 10 px."""
    for stem, mask in {"a": MIDDLE, "b": LARGE, "c": MIDDLE, "d": SMALL}.items():
        labels = mask.astype(np.uint16)
        labels[10:12, 10:15] = 2
        for level in LEVELS:
            write_labels(tmp_path / level / f"{stem}.png", labels)
    (tmp_path / "labels.json").write_text(json.dumps({level: {"1": "cup", "2": "crumb"} for level in LEVELS}))
    return tmp_path


FOUR = views("a.jpg", "b.jpg", "c.jpg", "d.jpg", test=("c.jpg", "d.jpg"))


def test_label_maps_show_an_object_where_it_is_largest_in_training(label_maps: Path):
    truth = open_ground_truth("label-maps", label_maps, FOUR, LEVELS, 30)
    assert [(t.level, t.name, t.reference, t.scored) for t in truth.tasks] == [
        ("coarse", "cup", 1, (2,)),  # in d it has 10 px
        ("fine", "cup", 1, (2,)),
    ]
    assert truth.labelled_views == (2, 3)
    prompt = truth.prompt(truth.tasks[0])
    assert prompt.is_mask and (prompt.inside == LARGE).all() and (prompt.outside == ~LARGE).all()
    assert (truth.mask(truth.tasks[0], 2) == MIDDLE).all()
    assert truth.label_map("fine", 3)[11, 12] == 2


def test_label_maps_count_what_is_left_out(label_maps: Path):
    left_out = open_ground_truth("label-maps", label_maps, FOUR, LEVELS, 30).left_out
    assert left_out.views == {"coarse": 3, "fine": 3}  # cup in d, crumb in c and d
    assert left_out.objects == {"coarse": ("crumb",), "fine": ("crumb",)}


def test_label_maps_need_only_the_levels_that_are_there(label_maps: Path):
    three = ("coarse", "middle", "fine")
    assert {t.level for t in open_ground_truth("label-maps", label_maps, FOUR, three, 30).tasks} == set(LEVELS)


def test_label_maps_of_training_photos_may_be_missing(label_maps: Path):
    (label_maps / "coarse" / "b.png").unlink()
    truth = open_ground_truth("label-maps", label_maps, FOUR, LEVELS, 30)
    assert {t.level: t.reference for t in truth.tasks} == {"coarse": 0, "fine": 1}


def test_label_maps_of_another_size_are_resampled(label_maps: Path):
    truth = open_ground_truth(
        "label-maps", label_maps, views("b.jpg", "c.jpg", test=("c.jpg",), size=(24, 32)), LEVELS, 30
    )
    assert truth.mask(truth.tasks[0], 1).sum() == 4 * MIDDLE.sum()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "fine" / "d.png").unlink(), r"fine/d\.png is missing: every test photo"),
        (
            lambda folder: write_labels(folder / "fine" / "d.png", np.zeros((12, 12))),
            r"12x12 px, but the photo d\.jpg is 16x12",
        ),
        (lambda folder: write_labels(folder / "fine" / "d.png", np.full((12, 16), 9)), "has the label 9"),
        (
            lambda folder: (folder / "labels.json").write_text("{"),
            "labels.json does not name the labels of coarse and fine",
        ),
        (lambda folder: (folder / "labels.json").unlink(), "labels.json does not name the labels"),
        (lambda folder: (folder / "labels.json").write_text('{"coarse": {}}'), "labels.json does not name the labels"),
    ],
)
def test_damaged_label_maps_are_named(label_maps: Path, damage, message: str):
    damage(label_maps)
    with pytest.raises(ValueError, match=message):
        open_ground_truth("label-maps", label_maps, FOUR, LEVELS, 30)


def test_folders_without_ground_truth_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match="no such folder"):
        open_ground_truth("label-maps", tmp_path / "nowhere", FOUR, LEVELS, 30)
    with pytest.raises(ValueError, match="has none of the folders coarse, fine"):
        open_ground_truth("label-maps", tmp_path, FOUR, LEVELS, 30)


def test_a_run_without_test_photos_cannot_be_measured(label_maps: Path):
    with pytest.raises(ValueError, match="no test photos"):
        open_ground_truth("label-maps", label_maps, views("a.jpg", "b.jpg"), LEVELS, 30)


def test_kitchen(shared_data: Path):
    names = [f"{i:03d}.jpg" for i in range(60)]
    kitchen = views(*names, test=tuple(names[5::6]), size=(384, 512))
    truth = open_ground_truth("label-maps", shared_data / "kitchen" / "gt", kitchen, LEVELS, 30)
    assert sum(t.level == "coarse" for t in truth.tasks) == 12
    assert sum(t.level == "fine" for t in truth.tasks) == 35
    assert truth.left_out.objects == {"coarse": (), "fine": ("orange/button",)}
    assert truth.left_out.views == {"coarse": 0, "fine": 26}


# --- LERF-Mask: <scene>/test_mask/<view>/<text prompt>.png, view k is the photo test_k


@pytest.fixture
def teatime(tmp_path: Path) -> Path:
    """As published, folder 1 of teatime is missing; masks overlap; the sheep is not in view 0."""
    scene = tmp_path / "lerf_mask" / "teatime"
    write_mask(scene / "test_mask" / "0" / "plate.png", LARGE)
    write_mask(scene / "test_mask" / "0" / "cookies on a plate.png", MIDDLE)
    write_mask(scene / "test_mask" / "0" / "sheep.png", np.zeros((12, 16), bool))
    write_mask(scene / "test_mask" / "2" / "plate.png", MIDDLE)
    write_mask(scene / "test_mask" / "2" / "sheep.png", LARGE)
    for folder in ("distorted", "images", "images_train", "object_mask", "sparse", "stereo"):
        (scene / folder).mkdir()
    return scene


TEATIME = views("frame_00001.jpg", "frame_00002.jpg", "test_0.jpg", "test_1.jpg", "test_2.jpg", test=("test_0.jpg",))


def test_lerf_mask(teatime: Path):
    truth = open_ground_truth("lerf-mask", teatime, TEATIME, LEVELS, 30)
    coarse = {t.name: (t.reference, t.scored) for t in truth.tasks if t.level == "coarse"}
    assert coarse == {"cookies on a plate": (2, (2,)), "plate": (2, (2, 4)), "sheep": (4, (4,))}
    assert coarse == {t.name: (t.reference, t.scored) for t in truth.tasks if t.level == "fine"}
    plate = next(t for t in truth.tasks if t.name == "plate")
    assert (truth.mask(plate, 4) == MIDDLE).all()
    assert (truth.prompt(plate).inside == LARGE).all() and truth.prompt(plate).is_mask
    assert truth.labelled_views == ()


def test_lerf_mask_of_photos_that_the_run_lacks(teatime: Path, caplog: pytest.LogCaptureFixture):
    truth = open_ground_truth("lerf-mask", teatime, TEATIME[:4], LEVELS, 30)
    assert truth.left_out.masks == ("2",) and "1 of 2 masks are of photos that the run does not have" in caplog.text
    with pytest.raises(ValueError, match="a photo called 0 or test_0, but the run has neither"):
        open_ground_truth("lerf-mask", teatime, views("x.jpg"), LEVELS, 30)


def test_lerf_mask_needs_test_mask(tmp_path: Path):
    with pytest.raises(ValueError, match=r"is no scene of LERF-Mask: expected .*test_mask/<view>/<object>\.png"):
        open_ground_truth("lerf-mask", tmp_path, TEATIME, LEVELS, 30)


def test_lerf_masks_without_enough_pixels_are_left_out(teatime: Path):
    write_mask(teatime / "test_mask" / "0" / "spoon handle.png", SMALL)
    left_out = open_ground_truth("lerf-mask", teatime, TEATIME, LEVELS, 30).left_out
    assert left_out.objects["coarse"] == ("spoon handle",) and left_out.views["coarse"] == 1


# --- SPIn-NeRF: "<scene> (llff)"/<photo>.png beside <photo>_cutout.png and <photo>_pseudo.png


def write_spin(folder: Path, masks: dict[str, np.ndarray], inside: int = 255) -> Path:
    for stem, mask in masks.items():
        write_mask(folder / f"{stem}.png", mask, inside)
        write_mask(folder / f"{stem}_pseudo.png", ~mask)
        Image.fromarray(np.zeros((12, 16, 4), np.uint8), "RGBA").save(folder / f"{stem}_cutout.png")
    (folder / "annotations.json").write_text("{}")
    return folder


@pytest.mark.parametrize("inside", [1, 255])
def test_spin_nerf_masks_numbered_by_the_order_of_photos(tmp_path: Path, inside: int):
    scene = write_spin(tmp_path / "fern (llff)", {"image000": LARGE, "image002": MIDDLE}, inside)
    # held-out photos come last in a run's views, so places and order differ
    fern = views("IMG_4027.JPG", "IMG_4028.JPG", "IMG_4026.JPG", test=("IMG_4026.JPG",))
    truth = open_ground_truth("spin-nerf", scene, fern, LEVELS, 30)
    assert [(t.level, t.name, t.reference, t.scored) for t in truth.tasks] == [
        ("coarse", "fern (llff)", 2, (2, 1)),
        ("fine", "fern (llff)", 2, (2, 1)),
    ]
    assert (truth.mask(truth.tasks[0], 1) == MIDDLE).all()


def test_spin_nerf_masks_by_the_name_of_the_photo(tmp_path: Path):
    scene = write_spin(tmp_path / "lego_real_night_radial", {"0_00001": LARGE, "1_00003": LARGE})
    truth = open_ground_truth("spin-nerf", scene, views("00001.png", "00002.png", "00003.png"), LEVELS, 30)
    assert truth.tasks[0].scored == (0, 2)
    room = write_spin(tmp_path / "room (llff)", {"DJI_20200226_143850_006": LARGE})
    truth = open_ground_truth("spin-nerf", room, views("x.png", "DJI_20200226_143850_006.png"), LEVELS, 30)
    assert truth.tasks[0].scored == (1,)


def test_spin_nerf_masks_of_other_photos(tmp_path: Path):
    scene = write_spin(tmp_path / "fern (llff)", {"image009": LARGE})
    with pytest.raises(ValueError, match=r"image009\.png belongs to none of the run's 2 photos \(a \.\.\. b\)"):
        open_ground_truth("spin-nerf", scene, views("a.png", "b.png"), LEVELS, 30)
    with pytest.raises(ValueError, match="is no scene of SPIn-NeRF's masks"):
        open_ground_truth("spin-nerf", tmp_path, views("a.png"), LEVELS, 30)


def test_spin_nerf_masks_of_photos_that_were_not_registered(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    scene = write_spin(tmp_path / "head", {"a": LARGE, "b": LARGE, "c": LARGE})
    truth = open_ground_truth("spin-nerf", scene, views("a.png", "c.png"), LEVELS, 30)
    assert truth.tasks[0].scored == (0, 1) and truth.left_out.masks == ("b.png",)
    assert "1 of 3 masks are of photos that the run does not have, and are left out: b.png" in caplog.text


def test_references_are_spread_over_the_annotated_photos(tmp_path: Path):
    stems = [f"{index:02d}" for index in range(9)]
    scene = write_spin(tmp_path / "head", {stem: LARGE for stem in stems})
    nine = views(*(f"{stem}.png" for stem in stems))
    for count, expected in ((1, [0]), (2, [0, 8]), (3, [0, 4, 8]), (20, list(range(9)))):
        truth = open_ground_truth("spin-nerf", scene, nine, LEVELS, 30, count)
        assert [task.reference for task in truth.tasks if task.level == "fine"] == expected
        assert all(task.scored == tuple(range(9)) for task in truth.tasks)


def test_references_of_label_maps_are_training_views(label_maps: Path):
    truth = open_ground_truth("label-maps", label_maps, FOUR, LEVELS, 30, 5)
    single = open_ground_truth("label-maps", label_maps, FOUR, LEVELS, 30)
    assert len(truth.tasks) > len(single.tasks)
    assert all(FOUR[task.reference].split == "train" for task in truth.tasks)
    assert {(t.level, t.name) for t in truth.tasks} == {(t.level, t.name) for t in single.tasks}


def test_truck_is_one_pixel_wider_than_its_photos(tmp_path: Path):
    scene = write_spin(tmp_path / "Truck (Tanks & Temples)", {"0_000001": np.ones((546, 980), bool)})
    truth = open_ground_truth("spin-nerf", scene, views("000001.jpg", size=(546, 979)), LEVELS, 30)
    assert truth.mask(truth.tasks[0], 0).shape == (546, 979)


# --- NVOS: labels/llff/{masks,reference_image,scribbles}/<scene>


@pytest.fixture
def horns_left(tmp_path: Path) -> Path:
    """Masks and photos are 4032x3024 as published, here 64x48; scribbles a quarter of that."""
    root = tmp_path / "labels" / "llff"
    target, reference = "DJI_20200223_163024_597", "DJI_20200223_163055_437"
    big = LARGE.repeat(4, axis=0).repeat(4, axis=1)
    write_mask(root / "masks" / "horns_left" / f"{target}_mask.png", big)
    for folder, stem in (("masks", target), ("reference_image", reference)):
        path = root / folder / "horns_left" / f"{stem}.JPG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(path)
    for name, mask in (("pos_0_horns", MIDDLE), ("neg_0_horns", ~LARGE), ("vis_0_horns", LARGE)):
        write_mask(root / "scribbles" / "horns_left" / f"{name}.png", mask)
    return root / "masks" / "horns_left"


HORNS = views("DJI_20200223_163024_597.JPG", "DJI_20200223_163055_437.JPG", size=(24, 32))


def test_nvos(horns_left: Path):
    truth = open_ground_truth("nvos", horns_left, HORNS, ("coarse",), 30)
    (task,) = truth.tasks
    assert (task.name, task.reference, task.scored) == ("horns_left", 1, (0,))
    prompt = truth.prompt(task)
    assert not prompt.is_mask
    assert prompt.inside.sum() == 4 * MIDDLE.sum() and prompt.outside.sum() == 4 * (~LARGE).sum()
    assert truth.mask(task, 0).sum() == 4 * LARGE.sum()


def test_nvos_needs_its_photos_and_scribbles(horns_left: Path):
    with pytest.raises(ValueError, match="NVOS horns_left needs the photo DJI_20200223_163055_437"):
        open_ground_truth("nvos", horns_left, HORNS[:1], LEVELS, 30)
    scribbles = horns_left.parent.parent / "scribbles" / "horns_left"
    (scribbles / "pos_0_horns.png").unlink()
    with pytest.raises(ValueError, match=r"expected one file .*scribbles/horns_left/pos_\*\.png, found 0"):
        open_ground_truth("nvos", horns_left, HORNS, LEVELS, 30)


def test_nvos_scribble_without_a_stroke(horns_left: Path):
    write_mask(horns_left.parent.parent / "scribbles" / "horns_left" / "pos_0_horns.png", np.zeros((12, 16), bool))
    truth = open_ground_truth("nvos", horns_left, HORNS, ("coarse",), 30)
    with pytest.raises(ValueError, match="has no stroke"):
        truth.prompt(truth.tasks[0])


# --- what they share


def test_masks_go_by_name_so_names_must_differ(teatime: Path):
    twice = views("test_0.jpg", "test_0.png", "test_2.jpg")
    with pytest.raises(ValueError, match="two photos are called test_0"):
        open_ground_truth("lerf-mask", teatime, twice, LEVELS, 30)


def test_binary_masks_are_thresholded_as_the_authors_do(tmp_path: Path):
    Image.fromarray(np.array([[0, 128, 129, 255]], np.uint8)).save(tmp_path / "m.png")
    assert read_binary_mask(tmp_path / "m.png").tolist() == [[False, False, True, True]]
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"bad\.png cannot be read as a mask"):
        read_binary_mask(tmp_path / "bad.png")


def test_distorted_photos_are_sampled_where_the_view_sees_them():
    labels = np.arange(12, dtype=np.uint16).reshape(3, 4) + 1
    source = np.zeros((2, 2, 3), np.float32)
    source[..., 0], source[..., 1], source[..., 2] = [[1.2, 2.9], [0, 9]], [[0.6, 1.4], [2, 2]], [[1, 1], [1, 0]]
    pinhole = PinholeView(torch.eye(4), torch.eye(3), 2, 2)
    view = EvaluatedView("p.jpg", pinhole, "test", (3, 4), source)
    # (row 1, column 1), (row 1, column 3), (row 2, column 0), outside the photo
    assert fit_to_view(labels, view, Path("p.png")).tolist() == [[6, 8], [9, 0]]
    doubled = labels.repeat(2, axis=0).repeat(2, axis=1)
    assert fit_to_view(doubled, view, Path("p.png")).tolist() == [[6, 8], [9, 0]]
