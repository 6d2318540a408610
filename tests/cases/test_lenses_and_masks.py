"""COLMAP models of every kind of lens and name, fisheyes, and photo masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanagerConfig
from nerfstudio.data.dataparsers.colmap_dataparser import ColmapDataParserConfig
from PIL import Image
from scene_files import FOCAL, HEIGHT, WIDTH, Scene, listing, opened

from click_gaussian_ns.demo.scene import DemoScene
from click_gaussian_ns.masks.config import MaskConfig
from click_gaussian_ns.masks.extract import prepare_level_maps
from click_gaussian_ns.scenes.open_scene import open_scene
from click_gaussian_ns.scenes.photo_dataset import PhotoDataManager
from click_gaussian_ns.scenes.views import undistorted_view
from click_gaussian_ns.types import UNASSIGNED

K = np.array([[FOCAL, 0, WIDTH / 2 - 0.5], [0, FOCAL, HEIGHT / 2 - 0.5], [0, 0, 1.0]])
NAMES = ["plain.png", "with space.png", "Küche (früh).png", "cam0/a.png", "two  spaces.png"]


def renamed(scene: Scene, name: Callable[[int, str], str]) -> dict[str, str]:
    """Photos moved within images/; their new names by the old ones."""
    names = {}
    for index, frame in enumerate(scene.frames):
        old = Path(frame["file_path"]).name
        names[old] = name(index, old)
        scene.rename(frame, f"images/{names[old]}")
        frame["file_path"] = f"images/{old}"
    return names


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
@pytest.mark.parametrize("kind", NAMES)
def test_photos_of_a_model_are_found_by_any_name(kind: str, text: bool, mini: DemoScene, tmp_path: Path) -> None:
    plain = Scene(mini.data, tmp_path / "plain")
    truth = opened(plain.colmap()).train_dataset
    scene = Scene(mini.data, tmp_path / "scene")
    stem, ending = kind.rsplit(".", 1)
    names = renamed(scene, lambda index, old: f"{stem}{index:02d}.{ending}")
    found = opened(scene.colmap(name=names.__getitem__, text=text)).train_dataset
    assert [path.name for path in found.image_filenames] == [
        Path(names[path.name]).name for path in truth.image_filenames
    ]
    assert np.array_equal(found.get_numpy_image(3), truth.get_numpy_image(3))
    torch.testing.assert_close(found.cameras.camera_to_worlds, truth.cameras.camera_to_worlds)


def test_photos_of_two_folders_may_have_equal_names(mini: DemoScene, tmp_path: Path) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    names = renamed(scene, lambda index, old: f"cam{index % 2}/{index // 2:03d}.png")
    dataset = opened(scene.colmap(name=names.__getitem__)).train_dataset
    folders = {path.parent.name for path in dataset.image_filenames}
    assert folders == {"cam0", "cam1"} and len(set(dataset.image_filenames)) == len(dataset)


LENSES = [
    pytest.param(("SIMPLE_RADIAL", WIDTH, HEIGHT, [FOCAL, 80.0, 60.0, 0.03]), True, id="SIMPLE_RADIAL"),
    pytest.param(("OPENCV", WIDTH, HEIGHT, [FOCAL, FOCAL, 80.0, 60.0, 0.02, -0.01, 0.001, 0.0]), True, id="OPENCV"),
    pytest.param(("OPENCV", WIDTH, HEIGHT, [FOCAL, FOCAL, 80.0, 60.0] + [0.0] * 4), False, id="OPENCV of zeros"),
    pytest.param(
        ("OPENCV_FISHEYE", WIDTH, HEIGHT, [FOCAL, FOCAL, 80.0, 60.0] + [0.0] * 4), True, id="fisheye of zeros"
    ),
]


@pytest.mark.parametrize(("camera", "distorted"), LENSES)
def test_a_lens_goes_by_its_model(camera, distorted: bool, mini: DemoScene, tmp_path: Path) -> None:
    cameras = opened(Scene(mini.data, tmp_path / "scene").colmap(camera=camera)).train_dataset.cameras
    assert (undistorted_view(cameras[0:1])[1] is not None) == distorted


@pytest.mark.parametrize("model", ["FULL_OPENCV", "THIN_PRISM_FISHEYE"])
def test_a_lens_that_is_not_supported_is_refused_by_name(model: str, mini: DemoScene, tmp_path: Path) -> None:
    camera = (model, WIDTH, HEIGHT, [FOCAL, FOCAL, 80.0, 60.0] + [0.0] * 8)
    scene = Scene(mini.data, tmp_path / "scene").colmap(camera=camera)
    with pytest.raises(ValueError, match=f"cameras.bin: the camera model {model} is not supported"):
        opened(scene)


def test_a_fisheye_of_zeros_is_straightened(mini: DemoScene, tmp_path: Path) -> None:
    """Photos bent as such a lens does come back as the plain ones, where they reach."""
    scene = Scene(mini.data, tmp_path / "scene")
    across, down = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    flat = np.stack([across, down], -1).reshape(-1, 1, 2).astype(np.float64)
    source = cv2.fisheye.undistortPoints(flat, K, np.zeros(4), P=K).reshape(HEIGHT, WIDTH, 2).astype(np.float32)
    for frame in scene.frames:
        photo = np.array(Image.open(scene.photo(frame)))
        Image.fromarray(cv2.remap(photo, source[..., 0], source[..., 1], cv2.INTER_LINEAR)).save(scene.photo(frame))
    scene.meta.update(camera_model="OPENCV_FISHEYE")
    scene.save()
    manager = opened(scene.folder)
    straight = manager.cached_eval[0]["image"].numpy() * 255
    camera = manager.eval_dataset.cameras[0]
    # the same pixels of the plain photo, by both intrinsics
    columns = (across + 0.5 - float(camera.cx)) / float(camera.fx) * FOCAL + WIDTH / 2 - 0.5
    rows = (down + 0.5 - float(camera.cy)) / float(camera.fy) * FOCAL + HEIGHT / 2 - 0.5
    plain = opened(mini.data).eval_dataset.get_numpy_image(0)
    expected = cv2.remap(plain, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR)
    inside = (columns > 8) & (columns < WIDTH - 8) & (rows > 8) & (rows < HEIGHT - 8)
    error = np.abs(straight[:HEIGHT, :WIDTH].astype(float) - expected)[inside].mean()
    bent = np.array(Image.open(manager.eval_dataset.image_filenames[0]))
    # measured .4 and 2.4: the scene is small in its photos
    assert error < 0.25 * np.abs(bent.astype(float) - expected)[inside].mean(), error


def left_third(photo: Path) -> np.ndarray:
    with Image.open(photo) as image:
        counts = np.full((image.height, image.width), 255, np.uint8)
    counts[:, : counts.shape[1] // 3] = 0
    return counts


def named_mask(scene: Scene, frame: dict, place: str, picture: np.ndarray) -> None:
    (scene.folder / place).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(scene.folder / place)


def by_mask_path(scene: Scene, share: int = 1, change: Callable = lambda mask: mask) -> None:
    for frame in scene.frames[::share]:
        frame["mask_path"] = f"ignored/{Path(frame['file_path']).name}"
        named_mask(scene, frame, frame["mask_path"], change(left_third(scene.photo(frame))))
    scene.save()


def beside(pattern: str, model: bool = False) -> Callable[[Scene], None]:
    def change(scene: Scene) -> None:
        for frame in scene.frames:
            path = scene.photo(frame)
            named_mask(scene, frame, "masks/" + pattern.format(name=path.name, stem=path.stem), left_third(path))
        scene.colmap() if model else scene.save()

    return change


def transparent(mask: np.ndarray) -> np.ndarray:
    return np.dstack([np.full((*mask.shape, 3), 255, np.uint8), mask])


def black_and_transparent(mask: np.ndarray) -> np.ndarray:
    return np.dstack([np.zeros((*mask.shape, 3), np.uint8), mask])


MASKS = [
    pytest.param(by_mask_path, 10, id="mask_path"),
    pytest.param(lambda s: by_mask_path(s, share=3), 4, id="mask_path of some"),
    pytest.param(lambda s: by_mask_path(s, change=lambda m: np.stack([m] * 3, -1)), 10, id="mask in colour"),
    pytest.param(lambda s: by_mask_path(s, change=lambda m: m // 255), 10, id="mask of 0 and 1"),
    pytest.param(lambda s: by_mask_path(s, change=lambda m: m[::2, ::2]), 10, id="mask of half the size"),
    pytest.param(
        lambda s: by_mask_path(s, change=lambda m: m.astype(np.uint16) // 255), 10, id="16-bit mask of 0 and 1"
    ),
    pytest.param(lambda s: by_mask_path(s, change=transparent), 10, id="mask in the transparency"),
    pytest.param(lambda s: by_mask_path(s, change=black_and_transparent), 10, id="black, mask in the transparency"),
    pytest.param(beside("{stem}.PNG"), 10, id="masks/NAME.PNG"),
    pytest.param(beside("{stem}.jpg"), 10, id="masks/NAME.jpg"),
    pytest.param(beside("{stem}.png"), 10, id="masks/NAME.png"),
    pytest.param(beside("{name}.png"), 10, id="masks/NAME.png.png"),
    pytest.param(beside("{stem}.png", model=True), 14, id="COLMAP, masks/NAME.png"),
    pytest.param(beside("{name}.png", model=True), 14, id="COLMAP, masks/NAME.png.png"),
]


@pytest.mark.parametrize(("change", "masked"), MASKS)
def test_masked_pixels_take_no_part(change, masked: int, mini: DemoScene, tmp_path: Path) -> None:
    """No geometry from there, no segments there: of the photos that have a mask, and of these alone."""
    scene = Scene(mini.data, tmp_path / "scene")
    change(scene)
    before = listing(scene.folder)
    dataset = opened(scene.folder).train_dataset
    assert sum(mask is not None for mask in dataset.photo_masks) == masked
    for index in range(len(dataset)):
        counts = dataset.get_data(index)["mask"][..., 0].numpy()
        assert counts[:, 54:].all() and counts[:, :52].any() == (dataset.photo_masks[index] is None)
    opening = open_scene(scene.folder, None)
    assert opening.sizes is not None
    config = MaskConfig(mask_generator="superpixels", mask_cache_dir=tmp_path / "cache")
    maps = prepare_level_maps(config, opening.photos, opening.sizes, photo_mask=opening.photo_mask)
    for index in range(len(maps)):
        empty = (maps[index].maps[:, :, :52] == UNASSIGNED).all()
        assert empty == (dataset.photo_masks[index] is not None)
        assert (maps[index].maps[:, :, 54:] != UNASSIGNED).all()
    assert listing(scene.folder) == before


def test_masks_and_lenses_go_together(mini: DemoScene, tmp_path: Path) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    by_mask_path(scene)
    scene.meta.update(k1=0.1, k2=0.01)
    scene.save()
    entry = opened(scene.folder).cached_train[0]
    assert entry["mask"].shape[:2] == entry["image"].shape[:2]
    assert 0.2 < 1 - float(entry["mask"].float().mean()) < 0.45


def test_label_maps_in_masks_are_no_photo_masks(mini: DemoScene, tmp_path: Path, caplog) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    for frame in scene.frames:
        stripes = np.tile(np.arange(WIDTH, dtype=np.uint8) // 20, (HEIGHT, 1))
        named_mask(scene, frame, f"masks/{Path(frame['file_path']).name}", stripes)
    scene.save()
    assert not any(opened(scene.folder).train_dataset.photo_masks)
    assert "they are not taken as photo masks" in caplog.text


@pytest.mark.parametrize("labels", [True, False], ids=["16-bit label maps", "all black"])
def test_what_is_no_photo_mask_is_left_alone(labels: bool, mini: DemoScene, tmp_path: Path, caplog) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    for frame in scene.frames:
        stripes = np.tile(np.arange(WIDTH, dtype=np.uint16) // 20, (HEIGHT, 1)) * labels
        named_mask(scene, frame, f"masks/{Path(frame['file_path']).name}", stripes.astype(np.uint16))
    scene.save()
    assert not any(opened(scene.folder).train_dataset.photo_masks)
    assert "they are not taken as photo masks" in caplog.text


def test_a_mask_of_other_proportions_is_refused(mini: DemoScene, tmp_path: Path) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    by_mask_path(scene, change=lambda mask: mask.T)
    with pytest.raises(ValueError, match=r"000.png is 120x160 px, but its photo is 160x120 px"):
        opened(scene.folder).train_dataset.get_data(0)


@pytest.mark.parametrize(("orientation", "stored"), [(6, Image.Transpose.ROTATE_90), (8, Image.Transpose.ROTATE_270)])
def test_a_mask_is_turned_with_its_photo(orientation: int, stored, mini: DemoScene, tmp_path: Path) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    by_mask_path(scene)
    for frame in scene.frames:
        photo = Image.open(scene.photo(frame))
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo.transpose(stored).save(scene.photo(frame), exif=exif)
        mask = scene.folder / frame["mask_path"]
        Image.open(mask).transpose(stored).save(mask)
    counts = opened(scene.folder).train_dataset.get_data(0)["mask"][..., 0].numpy()
    assert not counts[:, :52].any() and counts[:, 54:].all()


@pytest.mark.parametrize("text", [True, False], ids=["text", "binary"])
def test_a_model_of_no_points_is_read(text: bool, mini: DemoScene, tmp_path: Path) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    scene.colmap(text=text)
    path = scene.folder / "sparse/0" / ("points3D.txt" if text else "points3D.bin")
    path.write_bytes(b"# none\n" if text else bytes(8))
    assert "points3D_xyz" not in opened(scene.folder).train_dataset.metadata


@pytest.mark.parametrize("place", ["dense/sparse/0", "undistorted/sparse", "colmap", "."])
@pytest.mark.parametrize("photos", ["images", "photos", "rgb", "."])
def test_models_and_photos_lie_in_more_places(place: str, photos: str, mini: DemoScene, tmp_path: Path) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    scene.colmap(place)
    if photos == ".":
        for path in (scene.folder / "images").iterdir():
            path.rename(scene.folder / path.name)
        (scene.folder / "images").rmdir()
    else:
        (scene.folder / "images").rename(scene.folder / photos)
    assert len(opened(scene.folder).train_dataset) == 14


def test_a_model_that_was_asked_for_is_not_talked_over(mini: DemoScene, tmp_path: Path, caplog) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    scene.colmap("sparse/1")
    scene.meta["frames"] = scene.frames[:3]
    scene.colmap("sparse/0")
    config = FullImageDatamanagerConfig(
        _target=PhotoDataManager,
        dataparser=ColmapDataParserConfig(data=scene.folder, colmap_path=Path("sparse/0")),
    )
    manager = config.setup(device="cpu", test_mode="val", world_size=1, local_rank=0)
    assert len(manager.train_dataset) == 2 and "is taken" not in caplog.text


def test_a_text_model_with_a_byte_order_mark_is_refused(mini: DemoScene, tmp_path: Path) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    scene.colmap(text=True)
    path = scene.folder / "sparse/0/images.txt"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    with pytest.raises(ValueError, match=r"images\.txt: it begins with a byte order mark"):
        opened(scene.folder)


def test_a_missing_mask_is_refused(mini: DemoScene, tmp_path: Path) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    by_mask_path(scene)
    (scene.folder / "ignored/000.png").unlink()
    with pytest.raises(ValueError, match=r"ignored/000.png are missing"):
        opened(scene.folder)


def test_a_model_without_points_is_read(mini: DemoScene, tmp_path: Path) -> None:
    manager = opened(Scene(mini.data, tmp_path / "scene").colmap(points=False))
    assert len(manager.train_dataset) == 14 and "points3D_xyz" not in manager.train_dataset.metadata


def test_points_of_a_model_are_found_without_a_question(mini: DemoScene, tmp_path: Path) -> None:
    """transforms.json of an old `ns-process-data` beside a COLMAP model: nerfstudio asks, and rewrites the file."""
    scene = Scene(mini.data, tmp_path / "scene")
    scene.colmap("colmap/sparse/0")
    before = listing(scene.save())
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    from click_gaussian_ns.scenes.dataparsers import TransformsDataParser

    config = NerfstudioDataParserConfig(data=scene.folder, load_3D_points=True, _target=TransformsDataParser)
    outputs = config.setup().get_dataparser_outputs("train")
    assert outputs.metadata["points3D_xyz"].shape == (50, 3)
    assert listing(scene.folder) == before
