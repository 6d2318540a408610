"""Masks as other tools leave them: each layout gives the plain label maps, or one line."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco

from click_gaussian_ns.masks.config import MaskConfig
from click_gaussian_ns.masks.extract import prepare_level_maps
from click_gaussian_ns.types import LevelMaps

HEIGHT, WIDTH = 40, 60
NUM = 4
Write = Callable[["Masks"], None]


class Masks:
    """Photos, their label maps, and a folder to lay masks out in."""

    def __init__(self, folder: Path, names: list[str] | None = None) -> None:
        self.folder = folder / "masks"
        self.folder.mkdir()
        self.names = names or [f"{index:03d}.jpg" for index in range(NUM)]
        self.photos = [folder / "images" / name for name in self.names]
        self.coarse, self.fine = [], []
        for index, photo in enumerate(self.photos):
            photo.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (WIDTH, HEIGHT), (index, 0, 0)).save(photo)
            # blocks of 20 px, of which each has two parts; the first column is unassigned
            rows, columns = np.indices((HEIGHT, WIDTH))
            blocks = 1 + rows // 20 * 3 + columns // 20
            parts = 2 * blocks - 1 + (columns % 20 >= 10)
            inside = columns >= 4 + index
            self.coarse.append(np.where(inside, blocks, 0))
            self.fine.append(np.where(inside, parts, 0))

    def stems(self) -> list[str]:
        return [str(Path(name).with_suffix("")) for name in self.names]

    def save(self, place: str, labels: np.ndarray, dtype: type = np.uint16) -> None:
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels.astype(dtype)).save(path)

    def segments(self, index: int) -> list[np.ndarray]:
        """What an automatic segmenter gives: objects and parts, overlapping."""
        found = []
        for labels in (self.coarse[index], self.fine[index]):
            found += [labels == label for label in np.unique(labels) if label]
        return found

    def read(self, **fields: Any) -> list[LevelMaps]:
        mask_dir = fields.pop("mask_dir", self.folder)
        source = prepare_level_maps(
            MaskConfig(mask_dir=mask_dir, **fields), self.photos, [(HEIGHT, WIDTH)] * len(self.photos)
        )
        return [source[index] for index in range(len(source))]


def both_levels(masks: Masks, name: Callable[[str, str], str] = lambda stem, name: f"{stem}.png") -> None:
    for index, (stem, photo) in enumerate(zip(masks.stems(), masks.names)):
        masks.save(f"coarse/{name(stem, photo)}", masks.coarse[index])
        masks.save(f"fine/{name(stem, photo)}", masks.fine[index])


def shaped(change: Callable[[np.ndarray], np.ndarray]) -> Write:
    def write(masks: Masks) -> None:
        masks.coarse = [change(labels) for labels in masks.coarse]
        masks.fine = [change(labels) for labels in masks.fine]
        both_levels(masks)

    return write


def grey_in_color(masks: Masks) -> None:
    for index, stem in enumerate(masks.stems()):
        for level, maps in (("coarse", masks.coarse), ("fine", masks.fine)):
            masks.save(f"{level}/{stem}.png", np.stack([maps[index]] * 3, axis=-1), np.uint8)


def per_photo(save: Callable[[Masks, int, str], None]) -> Write:
    def write(masks: Masks) -> None:
        for index, stem in enumerate(masks.stems()):
            save(masks, index, stem)

    return write


def binary(masks: Masks, index: int, stem: str) -> None:
    for number, mask in enumerate(masks.segments(index)):
        masks.save(f"{stem}/{number}.png", mask * 255, np.uint8)
    (masks.folder / stem / "metadata.csv").write_text("id,area\n")


def binary_in_color(masks: Masks, index: int, stem: str) -> None:
    for number, mask in enumerate(masks.segments(index)):
        masks.save(f"{masks.names[index]}/{number}.png", np.stack([mask * 255] * 3, axis=-1), np.uint8)


def annotation(mask: np.ndarray, compressed: bool = True) -> dict[str, Any]:
    flat = mask.ravel(order="F").astype(int)
    bounds = np.flatnonzero(np.diff(np.concatenate([[0], flat, [1 - flat[-1]]])))
    runs: Any = [int(run) for run in np.diff(np.concatenate([[0], bounds]))]
    if compressed:
        runs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    return {"segmentation": {"size": [HEIGHT, WIDTH], "counts": runs}, "area": int(mask.sum())}


def polygon(mask: np.ndarray, scale: float = 1) -> list[float]:
    """Around a rectangle of pixels."""
    rows, columns = np.nonzero(mask)
    left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    return [float(v * scale) for v in (left, top, right, top, right, bottom, left, bottom)]


def json_file(make: Callable[[Masks, int], Any], ending: str = ".json") -> Write:
    def save(masks: Masks, index: int, stem: str) -> None:
        path = masks.folder / f"{stem}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(make(masks, index)))

    return per_photo(save)


def run_lengths(compressed: bool = True) -> Callable[[Masks, int], Any]:
    return lambda masks, index: [annotation(mask, compressed) for mask in masks.segments(index)]


def sa_1b(masks: Masks, index: int) -> Any:
    image = {"file_name": masks.names[index], "width": WIDTH, "height": HEIGHT}
    return {"image": image, "annotations": run_lengths()(masks, index)}


def polygons(masks: Masks, index: int) -> Any:
    return [{"segmentation": [polygon(mask)]} for mask in masks.segments(index)]


def labelme(masks: Masks, index: int) -> Any:
    shapes = []
    for number, mask in enumerate(masks.segments(index)):
        points = np.array(polygon(mask)).reshape(-1, 2).tolist()
        rectangle = number % 2 == 0
        shapes.append(
            {
                "label": "thing",
                "shape_type": "rectangle" if rectangle else "polygon",
                "points": points[::2] if rectangle else points,
            }
        )
    return {"version": "5", "shapes": shapes, "imageHeight": HEIGHT, "imageWidth": WIDTH}


def data_set(
    file: str, name: Callable[[str], str], make: Callable[[np.ndarray], Any] = annotation, scale: float = 1
) -> Write:
    def write(masks: Masks) -> None:
        images, annotations = [], []
        for index, photo in enumerate(masks.names):
            images.append(
                {"id": 10 + index, "file_name": name(photo), "width": WIDTH * scale, "height": HEIGHT * scale}
            )
            annotations += [{**make(mask), "image_id": 10 + index, "id": 1} for mask in masks.segments(index)]
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
        (masks.folder / file).write_text(json.dumps(content))

    return write


def array(save: Callable[[Path, np.ndarray], None], ending: str, change=lambda stack: stack) -> Write:
    def write(masks: Masks, index: int, stem: str) -> None:
        path = masks.folder / f"{stem}{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, change(np.stack(masks.segments(index))))

    return per_photo(write)


def save_tensor(path: Path, values: np.ndarray) -> None:
    torch.save(torch.from_numpy(values.copy()), path)


def langsplat(masks: Masks, index: int, stem: str) -> None:
    """-1 is unassigned; numbers go on from level to level; features lie beside."""
    coarse, fine = masks.coarse[index].astype(np.int32) - 1, masks.fine[index].astype(np.int32) - 1
    large = np.where(coarse >= 0, coarse + 100, -1)
    np.save(masks.folder / f"{stem}_s.npy", np.stack([fine, fine, coarse, large]))
    np.save(masks.folder / f"{stem}_f.npy", np.zeros((3, 512), np.float16))


def label_arrays(masks: Masks, index: int, stem: str) -> None:
    np.save(masks.folder / f"{stem}.npy", np.stack([masks.coarse[index], masks.fine[index]]))


def some_missing(masks: Masks) -> None:
    both_levels(masks)
    for level in ("coarse", "fine"):
        (masks.folder / level / "001.png").unlink()


def masks_first_last(stack: np.ndarray) -> np.ndarray:
    return np.moveaxis(stack, 0, -1)


READ = [
    pytest.param(both_levels, id="label maps"),
    pytest.param(lambda m: both_levels(m, lambda stem, name: f"{name}.png"), id="NAME.jpg.png"),
    pytest.param(lambda m: both_levels(m, lambda stem, name: f"{stem}.PNG"), id="NAME.PNG"),
    pytest.param(grey_in_color, id="grey in RGB"),
    pytest.param(shaped(lambda labels: labels.repeat(2, axis=0).repeat(2, axis=1)), id="twice the size"),
    pytest.param(per_photo(binary), id="amg.py's PNGs"),
    pytest.param(per_photo(binary_in_color), id="PNGs in colour below NAME.jpg"),
    pytest.param(json_file(run_lengths()), id="amg.py's run lengths"),
    pytest.param(json_file(run_lengths(compressed=False)), id="uncompressed run lengths"),
    pytest.param(json_file(lambda m, i: {"annotations": run_lengths()(m, i)}), id="annotations"),
    pytest.param(json_file(sa_1b), id="SA-1B"),
    pytest.param(json_file(run_lengths(), ".jpg.json"), id="NAME.jpg.json"),
    pytest.param(json_file(polygons), id="polygons"),
    pytest.param(json_file(labelme), id="LabelMe"),
    pytest.param(data_set("instances_default.json", lambda name: name), id="COCO data set"),
    pytest.param(data_set("a.json", lambda name: f"images\\{name}"), id="COCO data set of Windows"),
    pytest.param(
        data_set("a.json", str, lambda m: {"segmentation": [polygon(m, 2)]}, 2.0), id="COCO of twice the size"
    ),
    pytest.param(data_set("a.json", lambda name: f"./train/{name}"), id="COCO data set, another folder"),
    pytest.param(data_set("a.json", str, lambda m: {"segmentation": [polygon(m)]}), id="COCO data set of polygons"),
    pytest.param(
        data_set("a.json", str, lambda m: annotation(m, False) | {"iscrowd": 1}), id="COCO data set of crowds"
    ),
    pytest.param(array(np.save, ".npy"), id=".npy of booleans"),
    pytest.param(array(np.save, ".npy", lambda s: s.astype(np.uint8) * 255), id=".npy of bytes"),
    pytest.param(array(np.save, ".npy", lambda s: s.astype(np.float32)), id=".npy of floats"),
    pytest.param(array(np.save, ".npy", masks_first_last), id=".npy, masks last"),
    pytest.param(array(lambda p, v: np.savez_compressed(p, v), ".npz"), id=".npz"),
    pytest.param(array(lambda p, v: np.savez(p, masks=v, boxes=np.zeros(4)), ".npz"), id=".npz with others"),
    pytest.param(array(save_tensor, ".pt"), id="SAGA's .pt"),
    pytest.param(array(save_tensor, ".pt", lambda s: s[:, None].astype(np.uint8)), id=".pt [K, 1, H, W]"),
    pytest.param(array(lambda p, v: torch.save(list(torch.from_numpy(v)), p), ".pt"), id=".pt of a list"),
    pytest.param(per_photo(langsplat), id="LangSplat"),
    pytest.param(per_photo(label_arrays), id=".npy of levels"),
]


def same_partition(found: np.ndarray, expected: np.ndarray) -> bool:
    """Equal up to the numbers; unassigned is 0 in both."""
    pairs = np.unique(np.stack([found.ravel(), expected.ravel()], axis=1), axis=0)
    return len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1])) == len(pairs) and [0, 0] in pairs.tolist()


def check(masks: Masks, found: list[LevelMaps], coarse: list[np.ndarray], fine: list[np.ndarray]) -> None:
    assert len(found) == len(masks.photos)
    for index, maps in enumerate(found):
        assert same_partition(maps.level("coarse"), coarse[index]), (index, "coarse")
        assert same_partition(maps.level("fine"), fine[index]), (index, "fine")


@pytest.mark.parametrize("names", [None, ["cam0/0.jpg", "cam0/1.jpg", "cam1/0.jpg", "cam1/1.jpg"]], ids=["", "folders"])
@pytest.mark.parametrize("write", READ)
def test_masks_of_a_tool_are_read_right(write: Write, names: list[str] | None, tmp_path: Path) -> None:
    masks = Masks(tmp_path, names)
    coarse, fine = list(masks.coarse), list(masks.fine)
    for stem in masks.stems():
        (masks.folder / stem).parent.mkdir(parents=True, exist_ok=True)
    write(masks)
    check(masks, masks.read(), coarse, fine)


def test_one_numbering_serves_both_levels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Gaussian Grouping's object_mask; and a folder coarse/ or fine/ alone."""
    for number, place in enumerate(("", "coarse/", "fine/")):
        (tmp_path / str(number)).mkdir()
        masks = Masks(tmp_path / str(number))
        for index, stem in enumerate(masks.stems()):
            masks.save(f"{place}{stem}.png", masks.coarse[index], np.uint8)
        check(masks, masks.read(), masks.coarse, masks.coarse)
        assert not place or f"only {place} is there: its label maps serve all levels" in caplog.text


def test_circles_of_labelme_are_read_and_the_rest_is_counted(tmp_path: Path, caplog) -> None:
    masks = Masks(tmp_path)
    shapes = [
        {"shape_type": "circle", "points": [[30, 20], [40, 20]]},
        {"shape_type": "line", "points": [[0, 0], [9, 9]]},
        {"shape_type": "point", "points": [[0, 0]]},
    ]
    json_file(lambda m, i: {"shapes": shapes, "imageHeight": HEIGHT, "imageWidth": WIDTH})(masks)
    found = masks.read()[0].level("fine") > 0
    rows, columns = np.indices((HEIGHT, WIDTH))
    assert (found == (np.hypot(columns + 0.5 - 30, rows + 0.5 - 20) < 10)).mean() > 0.98
    assert "2 shapes are passed over" in caplog.text


def test_a_data_set_of_more_folders_than_the_scene_says_nothing(tmp_path: Path) -> None:
    """Which of its 0.jpg is the scene's cannot be known."""
    masks = Masks(tmp_path, ["0.jpg", "1.jpg"])
    names, masks.names = masks.names, [f"cam{camera}/{name}" for camera in (0, 1) for name in masks.names]
    masks.coarse, masks.fine = masks.coarse * 2, masks.fine * 2
    data_set("a.json", str)(masks)
    masks.names = names
    with pytest.raises(ValueError, match="another layout"):
        masks.read()


def test_notes_beside_label_maps_are_not_read(tmp_path: Path) -> None:
    masks = Masks(tmp_path)
    both_levels(masks)
    (masks.folder / "notes.json").write_text("{")
    check(masks, masks.read(), masks.coarse, masks.fine)


def test_endings_may_be_in_capital_letters(tmp_path: Path) -> None:
    masks = Masks(tmp_path, ["0.JPG", "1.JPG"])
    both_levels(masks, lambda stem, name: f"{name.lower()}.png")
    check(masks, masks.read(), masks.coarse, masks.fine)


def test_the_file_of_a_data_set_may_be_named(tmp_path: Path) -> None:
    masks = Masks(tmp_path)
    data_set("instances.json", str)(masks)
    check(masks, masks.read(mask_dir=masks.folder / "instances.json"), masks.coarse, masks.fine)


@pytest.mark.parametrize(("height", "width"), [(39, 59), (40, 59), (41, 60), (20, 30), (26, 40)])
def test_sizes_near_the_proportions_fit(height: int, width: int, tmp_path: Path) -> None:
    masks = Masks(tmp_path)
    coarse, fine = list(masks.coarse), list(masks.fine)
    rows, columns = (np.arange(n) * whole // n for n, whole in ((height, HEIGHT), (width, WIDTH)))
    shaped(lambda labels: labels[rows][:, columns])(masks)
    for index, maps in enumerate(masks.read()):
        for level, expected in (("coarse", coarse), ("fine", fine)):
            assert (maps.level(level) == expected[index]).mean() > 0.85


def test_missing_masks_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    masks = Masks(tmp_path)
    some_missing(masks)
    (masks.folder / "fine" / "002.png").unlink()
    found = masks.read()
    assert not found[1].maps.any()
    assert found[2].level("coarse").any() and not found[2].level("fine").any()
    assert "masks of 1 of 4 photos are missing (001.jpg): these views teach nothing" in caplog.text
    assert "masks of a level of 1 of 4 photos are missing (002.jpg)" in caplog.text


def jpegs(masks: Masks) -> None:
    for index, stem in enumerate(masks.stems()):
        masks.save(f"coarse/{stem}.jpg", masks.coarse[index], np.uint8)


def colored(masks: Masks) -> None:
    table = np.random.default_rng(0).integers(0, 255, (256, 3))
    for index, stem in enumerate(masks.stems()):
        masks.save(f"coarse/{stem}.png", table[masks.coarse[index]], np.uint8)


def files(**content: bytes | str) -> Write:
    def write(masks: Masks) -> None:
        for name, data in content.items():
            path = masks.folder / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if isinstance(data, bytes) else data.encode())

    return write


def arrays(make: Callable[[], np.ndarray]) -> Write:
    return per_photo(lambda masks, index, stem: np.save(masks.folder / f"{stem}.npy", make()))


def huge_rle(masks: Masks, index: int) -> Any:
    return [{"segmentation": {"size": [400_000, 600_000], "counts": [240_000_000_000]}}]


def level_of_jpegs(masks: Masks) -> None:
    both_levels(masks)
    for path in (masks.folder / "fine").iterdir():
        Image.open(path).convert("L").save(path.with_suffix(".jpg"))
        path.unlink()


def one_id_twice(masks: Masks) -> None:
    images = [{"id": 1, "file_name": name, "width": WIDTH, "height": HEIGHT} for name in masks.names]
    (masks.folder / "a.json").write_text(json.dumps({"images": images, "annotations": []}))


REFUSED = [
    pytest.param(level_of_jpegs, "fine holds no label map NAME.png of any photo, and another level's", id="one level"),
    pytest.param(one_id_twice, "its id 1 is there twice", id="one id twice"),
    pytest.param(lambda masks: None, "holds no masks: expected label maps", id="empty folder"),
    pytest.param(lambda masks: masks.folder.rmdir(), "does not exist", id="no folder"),
    pytest.param(jpegs, r"holds masks as JPEG \(000.jpg, ...\), which blurs segment IDs", id="JPEG"),
    pytest.param(colored, "coarse/000.png has RGB pixels: expected a greyscale PNG", id="colours"),
    pytest.param(files(a_dot_txt="x"), r"another layout \(1 .txt: a.txt, ...\), none of 000.jpg", id="text"),
    pytest.param(files(b_dot_png="x"), r"\(1 .png: b.png, ...\), none of 000.jpg and the other 3", id="others' masks"),
    pytest.param(shaped(lambda labels: labels.T), "are 40x60 px: expected 60x40 px", id="turned"),
    pytest.param(shaped(lambda labels: labels * 0), "all masks are empty", id="empty masks"),
    pytest.param(files(**{"000_dot_json": "{"}), "000.json is not a list of COCO masks", id="bad JSON"),
    pytest.param(files(**{"000_dot_json": '{"a": 1}'}), "000.json is not a list of COCO masks", id="other JSON"),
    pytest.param(files(**{"000_dot_json": "[" * 99_999}), "000.json is not a list of COCO masks", id="deep JSON"),
    pytest.param(json_file(huge_rle), "a mask of 600000x400000 px", id="huge run lengths"),
    pytest.param(
        json_file(lambda m, i: [{"segmentation": [[0, 0, 1]]}]), "a polygon that is no list of x, y", id="odd polygon"
    ),
    pytest.param(files(a_dot_json='{"images": [{}], "annotations": []}'), "a.json is no COCO data set", id="bad set"),
    pytest.param(files(**{"000_dot_npy": b"no"}), "000.npy: cannot be read as a .npy file", id="bad .npy"),
    pytest.param(files(**{"000_dot_npz": b"no"}), "000.npz: cannot be read as a .npz file", id="bad .npz"),
    pytest.param(files(**{"000_dot_pt": b"no"}), "000.pt: cannot be read as a checkpoint", id="bad .pt"),
    pytest.param(arrays(lambda: np.zeros((2, 3, 4, 5))), r"000.npy is an array of float64 of shape", id="4 axes"),
    pytest.param(arrays(lambda: np.array(["a"])), "000.npy is an array of <U1", id="text in .npy"),
    pytest.param(arrays(lambda: np.arange(3 * 2400).reshape(3, 40, 60)), "is an array of shape", id="3 levels of 2"),
    pytest.param(arrays(lambda: np.linspace(-5, 5, 4 * 2400).reshape(4, 40, 60)), "such as logits", id="logits"),
    pytest.param(
        json_file(lambda m, i: [{"segmentation": [[0, 0, 120, 0, 120, 80, 0, 80]]}]),
        "a polygon that leaves",
        id="too big",
    ),
    pytest.param(files(**{"000__0_dot_jpg": b"x"}), "another layout", id="JPEGs below NAME"),
    pytest.param(arrays(lambda: np.full((2, 40, 60), np.nan)), "numbers that are not finite", id="NaN"),
]


@pytest.mark.parametrize(("write", "message"), REFUSED)
def test_what_cannot_be_read_is_refused_in_one_line(write: Write, message: str, tmp_path: Path) -> None:
    masks = Masks(tmp_path)
    write(masks)
    with pytest.raises(ValueError, match=message) as error:
        masks.read()
    assert "\n" not in str(error.value) and str(masks.folder) in str(error.value)


DAMAGED = [
    pytest.param(both_levels, "coarse/000.png", id="png"),
    pytest.param(json_file(run_lengths()), "000.json", id="json"),
    pytest.param(json_file(run_lengths(compressed=False)), "000.json", id="uncompressed"),
    pytest.param(json_file(polygons), "000.json", id="polygons"),
    pytest.param(data_set("a.json", str), "a.json", id="data set"),
    pytest.param(array(np.save, ".npy"), "000.npy", id="npy"),
    pytest.param(array(lambda p, v: np.savez_compressed(p, v), ".npz"), "000.npz", id="npz"),
    pytest.param(array(save_tensor, ".pt"), "000.pt", id="pt"),
]


@pytest.mark.parametrize(("write", "name"), DAMAGED)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_ends_in_one_line(write: Write, name: str, data, tmp_path_factory) -> None:
    masks = Masks(tmp_path_factory.mktemp("fuzz"))
    write(masks)
    path = masks.folder / name
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    message = "read"
    try:
        masks.read()
    except ValueError as error:
        message = str(error)
    assert message and "\n" not in message
    assert time.perf_counter() - start < 2
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 500 * 2**20
