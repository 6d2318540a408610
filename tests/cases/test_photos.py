"""Photos as people have them: each kind gives the plain scene's pictures and cameras, or one line."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from commands import run_command
from nerfstudio.cameras.cameras import CameraType
from nerfstudio.data.datamanagers.full_images_datamanager import FullImageDatamanagerConfig
from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
from PIL import Image
from scene_files import FOCAL, HEIGHT, WIDTH, Scene, listing, opened, pixels

from click_gaussian_ns.demo.scene import DemoScene
from click_gaussian_ns.scenes.photo_dataset import PhotoDataManager

Change = Callable[[Scene], None]


def each(write: Callable[[Image.Image, Path], None], ending: str = ".png") -> Change:
    """Every photo written anew by `write`."""

    def change(scene: Scene) -> None:
        for frame in scene.frames:
            photo = Image.open(scene.photo(frame))
            photo.load()
            path = scene.rename(frame, str(Path(frame["file_path"]).with_suffix(ending)))
            path.unlink()
            write(photo, path)

    return change


def in_16_bits(photo: Image.Image, path: Path) -> None:
    """Not multiples of 257, whose low byte would be right by chance."""
    low = np.random.default_rng(0).integers(0, 256, (photo.height, photo.width))
    Image.fromarray((np.array(photo.convert("L")).astype(np.uint16) * 256 + low).astype(np.uint16)).save(path)


def in_16_bits_of_color(photo: Image.Image, path: Path) -> None:
    cv2.imwrite(str(path), np.array(photo)[:, :, ::-1].astype(np.uint16) * 256 + 77)


def see_through(photo: Image.Image, path: Path) -> None:
    made = photo.convert("RGBA")
    made.putalpha(Image.fromarray(np.full((photo.height, photo.width), 255, np.uint8)))
    made.save(path)


def sideways(orientation: int, stored: Image.Transpose) -> Callable[[Image.Image, Path], None]:
    def write(photo: Image.Image, path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo.transpose(stored).save(path, quality=95, exif=exif, format="JPEG")

    return write


def scaled(factor: float) -> Change:
    size = (round(WIDTH * factor), round(HEIGHT * factor))
    return each(lambda photo, path: photo.resize(size, Image.Resampling.LANCZOS).save(path))


def mixed(scene: Scene) -> None:
    """Every third photo at half its size, every third upright, its camera turned."""
    scene.per_frame()
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    for index, frame in enumerate(scene.frames):
        photo, path = Image.open(scene.photo(frame)), scene.photo(frame)
        if index % 3 == 1:
            photo.resize((80, 60), Image.Resampling.LANCZOS).save(path)
            frame.update(fl_x=FOCAL / 2, fl_y=FOCAL / 2, cx=40.0, cy=30.0, w=80, h=60)
        elif index % 3 == 2:
            photo.transpose(Image.Transpose.ROTATE_270).save(path)
            pose = np.array(frame["transform_matrix"])
            pose[:3, :3] = pose[:3, :3] @ turn
            frame.update(cx=60.0, cy=80.0, w=120, h=160, transform_matrix=pose.tolist())


def grey(photo: np.ndarray) -> np.ndarray:
    return np.repeat(np.array(Image.fromarray(photo).convert("L"))[..., None], 3, axis=2)


def palette(photo: np.ndarray) -> np.ndarray:
    return np.array(Image.fromarray(photo).convert("P").convert("RGB"))


def black_or_white(photo: np.ndarray) -> np.ndarray:
    return np.array(Image.fromarray(photo).convert("1").convert("RGB"))


def same(photo: np.ndarray) -> np.ndarray:
    return photo


KINDS = [
    # how photos are stored, what is read of them, mean difference in grey values at most
    pytest.param(each(lambda photo, path: photo.save(path)), same, 0.0, id="png"),
    pytest.param(each(lambda p, path: p.save(path, quality=95), ".jpg"), same, 4.0, id="jpg"),
    pytest.param(each(lambda p, path: p.save(path, format="JPEG", quality=95), ".JPG"), same, 4.0, id="JPG"),
    pytest.param(each(lambda p, path: p.save(path), ".tif"), same, 0.0, id="tif"),
    pytest.param(each(lambda p, path: p.save(path), ".bmp"), same, 0.0, id="bmp"),
    pytest.param(each(lambda p, path: p.save(path, lossless=True), ".webp"), same, 0.0, id="webp"),
    pytest.param(each(lambda p, path: p.convert("CMYK").save(path), ".jpg"), same, 8.0, id="cmyk"),
    pytest.param(each(see_through), same, 0.0, id="rgba"),
    pytest.param(each(lambda p, path: p.convert("L").save(path)), grey, 0.0, id="grey"),
    pytest.param(each(lambda p, path: p.convert("LA").save(path)), grey, 0.0, id="grey and alpha"),
    pytest.param(each(in_16_bits), grey, 1.0, id="16 bits"),
    pytest.param(each(in_16_bits_of_color), same, 1.0, id="16 bits of colour"),
    pytest.param(each(lambda p, path: p.convert("P").save(path)), palette, 0.0, id="palette"),
    pytest.param(each(lambda p, path: p.convert("1").save(path)), black_or_white, 0.0, id="1 bit"),
    pytest.param(each(sideways(6, Image.Transpose.ROTATE_90), ".jpg"), same, 4.0, id="EXIF 6"),
    pytest.param(each(sideways(8, Image.Transpose.ROTATE_270), ".jpg"), same, 4.0, id="EXIF 8"),
]


def check_plain(scene: Scene, read: Callable[[np.ndarray], np.ndarray], tolerance: float, mini: DemoScene) -> None:
    manager, plain = opened(scene.folder), opened(mini.data)
    for found, truth in ((manager.train_dataset, plain.train_dataset), (manager.eval_dataset, plain.eval_dataset)):
        assert len(found) == len(truth) > 0
        torch.testing.assert_close(found.cameras.camera_to_worlds, truth.cameras.camera_to_worlds)
        torch.testing.assert_close(found.cameras.fx / found.cameras.width, truth.cameras.fx / truth.cameras.width)
        for index in range(len(found)):
            picture = found.get_numpy_image(index)
            assert picture.shape[:2] == (int(found.cameras.height[index]), int(found.cameras.width[index]))
            expected = read(truth.get_numpy_image(index))
            assert np.abs(picture[..., :3].astype(float) - expected).mean() <= tolerance


@pytest.mark.parametrize(("change", "read", "tolerance"), KINDS)
def test_every_kind_of_photo_is_read_right(change: Change, read, tolerance: float, mini, tmp_path: Path) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    change(scene)
    before = listing(scene.save())
    check_plain(scene, read, tolerance, mini)
    assert listing(scene.folder) == before


SIZES = [
    # of photos, and of the cameras that are read
    pytest.param(scaled(0.5), (60, 80), id="half"),
    pytest.param(scaled(2), (240, 320), id="twice"),
    pytest.param(scaled(20), (1200, 1600), id="longer than 1600"),
    pytest.param(each(lambda p, path: p.resize((159, 119)).save(path)), (119, 159), id="one pixel less"),
]


@pytest.mark.parametrize(("change", "size"), SIZES)
def test_cameras_are_as_large_as_photos(change: Change, size: tuple[int, int], mini, tmp_path: Path) -> None:
    """Solved on photos of another size, as the published scenes of 3DGS are."""
    scene = Scene(mini.data, tmp_path / "scene")
    for frame in scene.frames[3:-3]:
        scene.photo(frame).unlink()
    scene.meta["frames"] = [frame for frame in scene.frames if scene.photo(frame).exists()]
    for key in ("train_filenames", "val_filenames", "test_filenames"):
        del scene.meta[key]
    change(scene)
    before = listing(scene.save())
    manager = opened(scene.folder)
    cameras = manager.train_dataset.cameras
    assert {(int(h), int(w)) for h, w in zip(cameras.height, cameras.width)} == {size}
    torch.testing.assert_close(cameras.fx, torch.full_like(cameras.fx, FOCAL * size[1] / WIDTH))
    torch.testing.assert_close(cameras.cy, torch.full_like(cameras.cy, size[0] / 2))
    picture = Image.fromarray(manager.train_dataset.get_numpy_image(0)).resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    plain = pixels(mini.data / "images" / manager.train_dataset.image_filenames[0].name)
    assert np.abs(np.array(picture).astype(float) - plain).mean() < 8
    assert listing(scene.folder) == before


def test_smaller_photos_are_made_in_memory(mini: DemoScene, tmp_path: Path) -> None:
    """nerfstudio asks on stdin, and writes images_2 with ffmpeg."""
    scene = Scene(mini.data, tmp_path / "scene")
    scaled(11)(scene)
    scene.meta.update(fl_x=FOCAL * 11, fl_y=FOCAL * 11, cx=WIDTH * 5.5, cy=HEIGHT * 5.5, w=WIDTH * 11, h=HEIGHT * 11)
    before = listing(scene.colmap(camera=("PINHOLE", WIDTH * 11, HEIGHT * 11, [FOCAL * 11, FOCAL * 11, 880.0, 660.0])))
    cameras = opened(scene.folder).train_dataset.cameras
    assert (int(cameras.width[0]), int(cameras.height[0])) == (880, 660)
    torch.testing.assert_close(cameras.fx, torch.full_like(cameras.fx, FOCAL * 5.5))
    assert listing(scene.folder) == before


def test_portrait_and_landscape_and_sizes_are_mixed(mini: DemoScene, tmp_path: Path) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    mixed(scene)
    scene.save()
    dataset = opened(scene.folder).train_dataset
    shapes = {dataset.get_numpy_image(index).shape[:2] for index in range(len(dataset))}
    assert shapes == {(120, 160), (60, 80), (160, 120)}


def without_file(name: str) -> Change:
    return lambda scene: (scene.folder / "images" / name).unlink()


def test_missing_photos_are_left_out_and_said(mini: DemoScene, tmp_path: Path, caplog) -> None:
    """The frame stays that of all poses, so that a splat of it fits."""
    scene = Scene(mini.data, tmp_path / "scene")
    lost = scene.meta["train_filenames"][1]
    (scene.folder / lost).unlink()
    scene.save()
    found, plain = opened(scene.folder).train_dataset, opened(mini.data).train_dataset
    kept = [i for i, path in enumerate(plain.image_filenames) if path.name != Path(lost).name]
    assert [path.name for path in found.image_filenames] == [plain.image_filenames[i].name for i in kept]
    torch.testing.assert_close(found.cameras.camera_to_worlds, plain.cameras.camera_to_worlds[kept])
    assert f"1 of 10 photos are missing, and are left out: {Path(lost).name}" in caplog.text


def no_photo(scene: Scene) -> None:
    for frame in scene.frames:
        scene.photo(frame).unlink()


def empty_photo(scene: Scene) -> None:
    scene.photo(scene.frames[0]).write_bytes(b"")


def text_photo(scene: Scene) -> None:
    scene.photo(scene.frames[0]).write_text("no photo")


def swapped(scene: Scene) -> None:
    scene.meta.update(w=HEIGHT, h=WIDTH)


def set_meta(**values) -> Change:
    return lambda scene: scene.meta.update(values)


def drop_meta(key: str) -> Change:
    return lambda scene: scene.meta.pop(key)


def set_pose(value) -> Change:
    return lambda scene: scene.frames[1].update(transform_matrix=value)


def far(offset: float) -> Change:
    def change(scene: Scene) -> None:
        for frame in scene.frames:
            frame["transform_matrix"][0][3] += offset

    return change


def as_is(content: bytes) -> Change:
    def change(scene: Scene) -> None:
        scene.save().joinpath("transforms.json").write_bytes(content)
        scene.save = lambda: scene.folder  # type: ignore[method-assign]

    return change


MIRRORED = np.diag([1.0, 1, -1, 1]).tolist()
REFUSED = [
    pytest.param(no_photo, "transforms.json: none of its 10 photos is there", id="no photo"),
    pytest.param(empty_photo, "000.png is empty", id="empty photo"),
    pytest.param(text_photo, "000.png cannot be read as an image", id="no image"),
    pytest.param(swapped, "is 160x120 px, but its training view is 120x160 px", id="width and height swapped"),
    pytest.param(set_meta(camera_model="FULL_OPENCV"), "camera model FULL_OPENCV is not supported", id="FULL_OPENCV"),
    pytest.param(set_meta(camera_model="FOV"), "camera model FOV is not supported", id="FOV"),
    pytest.param(set_meta(camera_model="EQUIRECTANGULAR"), "EQUIRECTANGULAR is not supported", id="EQUIRECTANGULAR"),
    pytest.param(set_meta(camera_model="ORTHOPHOTO"), "ORTHOPHOTO is not supported", id="ORTHOPHOTO"),
    pytest.param(set_meta(k1=0.1, k4=0.1), "a coefficient k4", id="k4"),
    pytest.param(drop_meta("fl_x"), "`fl_x` of images/000.png is missing", id="no fl_x"),
    pytest.param(drop_meta("h"), "`h` of images/000.png is missing", id="no h"),
    pytest.param(set_meta(fl_x="wide"), "`fl_x` of images/000.png is 'wide'", id="fl_x in words"),
    pytest.param(set_meta(w=0), "`w` of images/000.png is 0", id="w 0"),
    pytest.param(set_meta(k5=0.1), "a coefficient k5, which is not supported", id="k5"),
    pytest.param(lambda s: s.frames[0].update(camera_model="PINHOLE"), "cameras of several models", id="two models"),
    pytest.param(lambda s: s.meta.update(frames=s.frames[:1]), "it lists one photo", id="one photo"),
    pytest.param(set_pose([[1, 0], [0, 1]]), "the pose of images/001.png is no 4x4 matrix", id="2x2 pose"),
    pytest.param(set_pose("none"), "the pose of images/001.png is no 4x4 matrix", id="pose in words"),
    pytest.param(set_pose([[float("nan")] * 4] * 4), "images/001.png has numbers that are not finite", id="NaN pose"),
    pytest.param(set_pose(MIRRORED), "the pose of images/001.png is no rotation", id="mirrored pose"),
    pytest.param(far(5e6), r"its cameras lie around \(5000000, .*Shift the camera poses", id="UTM"),
    pytest.param(set_meta(train_filenames=["images/x.png"]), "1 names in its `train_filenames`", id="unknown name"),
    pytest.param(as_is(b'{"frames": ['), "cannot be read as JSON", id="cut off"),
    pytest.param(as_is(b"[" * 100_000), "cannot be read as JSON", id="deep"),
    pytest.param(as_is(b"\xff\xfe{}"), "cannot be read as JSON", id="UTF-16"),
    pytest.param(as_is(b"{}"), "it lists no photos", id="no frames"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_a_bad_scene_is_refused_in_one_line(change: Change, message: str, mini: DemoScene, tmp_path: Path) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    change(scene)
    before = listing(scene.save())
    with pytest.raises(ValueError, match=message) as error:
        opened(scene.folder)
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
    told = run_command("click-gaussian", "masks", "--data", scene.folder, ok=False)
    # nerfstudio's own log may come before
    assert told.endswith(f"error: {error.value}\n") and "Traceback" not in told
    assert listing(scene.folder) == before


def test_photos_without_poses_are_told_how_to_get_some(mini: DemoScene, tmp_path: Path) -> None:
    scene = Scene(mini.data, tmp_path / "my photos")
    with pytest.raises(ValueError, match="my photos holds 16 photos without camera poses: run `click-gaussian poses"):
        opened(scene.folder)


def with_mark(scene: Scene) -> None:
    scene.save().joinpath("transforms.json").write_text(json.dumps(scene.meta), encoding="utf-8-sig")
    scene.save = lambda: scene.folder  # type: ignore[method-assign]


def without_endings(scene: Scene) -> None:
    """Blender's `r_0`."""
    for frame in scene.frames:
        frame["file_path"] = frame["file_path"].removesuffix(".png")
    for key in ("train_filenames", "val_filenames", "test_filenames"):
        scene.meta[key] = [name.removesuffix(".png") for name in scene.meta[key]]


def other_case(scene: Scene) -> None:
    for frame in scene.frames:
        scene.photo(frame).rename(scene.photo(frame).with_suffix(".PNG"))


def only_smaller_copies(scene: Scene) -> None:
    (scene.folder / "images").rename(scene.folder / "images_2")


def sizes_as_floats(scene: Scene) -> None:
    scene.meta.update(w=float(WIDTH), h=float(HEIGHT))


def three_rows(scene: Scene) -> None:
    for frame in scene.frames:
        frame["transform_matrix"] = frame["transform_matrix"][:3]


def own_before_common(scene: Scene) -> None:
    """What a frame says of its camera counts before what is said for all."""
    for frame in scene.frames[1:]:
        frame.update(fl_x=scene.meta["fl_x"], fl_y=scene.meta["fl_y"])
    scene.frames[0].update(fl_x=scene.meta["fl_x"], fl_y=scene.meta["fl_y"])
    scene.meta.update(fl_x=1.0, fl_y=1.0)


def dotted(scene: Scene) -> None:
    for frame in scene.frames:
        frame["file_path"] = "./" + frame["file_path"]


def of_windows(scene: Scene) -> None:
    for frame in scene.frames:
        frame["file_path"] = frame["file_path"].replace("/", "\\")
    for key in ("train_filenames", "val_filenames", "test_filenames"):
        scene.meta[key] = [name.replace("/", "\\") for name in scene.meta[key]]


def taken_apart(scene: Scene) -> None:
    """macOS writes an umlaut as two characters."""
    spaced(scene)
    for frame in scene.frames:
        path = scene.photo(frame)
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))


def in_folders(scene: Scene) -> None:
    """Photos of two cameras with the same names."""
    for index, frame in enumerate(scene.frames):
        scene.rename(frame, f"images/cam{index % 2}/{index // 2:03d}.png")


def spaced(scene: Scene) -> None:
    for index, frame in enumerate(scene.frames):
        scene.rename(frame, f"images/Küche früh ({index:02d}).png")


AS_PLAIN = [
    pytest.param(with_mark, id="byte order mark"),
    pytest.param(without_endings, id="names without endings"),
    pytest.param(other_case, id="ending in another case"),
    pytest.param(only_smaller_copies, id="smaller copies alone"),
    pytest.param(sizes_as_floats, id="sizes as floats"),
    pytest.param(three_rows, id="3x4 poses"),
    pytest.param(own_before_common, id="a frame's own focal length"),
    pytest.param(dotted, id="./ in paths"),
    pytest.param(of_windows, id="paths of Windows"),
    pytest.param(taken_apart, id="umlauts of macOS"),
    pytest.param(spaced, id="names with spaces"),
]


@pytest.mark.parametrize("change", AS_PLAIN)
def test_a_scene_of_other_tools_is_the_plain_one(change: Change, mini: DemoScene, tmp_path: Path) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    change(scene)
    scene.save()
    check_plain(scene, same, 0.0, mini)


def test_a_scene_of_blenders_is_read(mini: DemoScene, tmp_path: Path) -> None:
    """transforms_train.json and its siblings: names without endings, one angle for all cameras, transparency."""
    scene = Scene(mini.data, tmp_path / "scene")
    for split, names in (("train", scene.meta["train_filenames"]), ("test", scene.meta["val_filenames"])):
        frames = []
        for number, name in enumerate(names):
            (frame,) = (frame for frame in scene.frames if frame["file_path"] == name)
            path = scene.folder / split / f"r_{number}.png"
            path.parent.mkdir(exist_ok=True)
            see_through(Image.open(scene.folder / name), path)
            frames.append({"file_path": f"./{split}/r_{number}", "transform_matrix": frame["transform_matrix"]})
        meta = {"camera_angle_x": 2 * float(np.arctan(WIDTH / 2 / FOCAL)), "frames": frames}
        for named in {split, "val" if split == "test" else split}:
            (scene.folder / f"transforms_{named}.json").write_text(json.dumps(meta))
    before = listing(scene.folder)
    manager = opened(scene.folder)
    torch.testing.assert_close(manager.train_dataset.cameras.fx.float(), torch.full((10, 1), FOCAL))
    found = manager.train_dataset.get_numpy_image(1)
    assert np.array_equal(found[..., :3], pixels(mini.data / scene.meta["train_filenames"][1]))
    assert listing(scene.folder) == before


def test_without_test_photos_a_training_photo_stands_in(mini: DemoScene, tmp_path: Path, caplog) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    for name in scene.meta["val_filenames"]:
        (scene.folder / name).unlink()
    scene.save()
    manager = opened(scene.folder)
    assert len(manager.train_dataset) == 10 and len(manager.eval_dataset) == 1
    assert manager.eval_dataset.image_filenames == manager.train_dataset.image_filenames[:1]
    assert "6 of 6 photos are missing, and are left out" in caplog.text


@pytest.mark.parametrize("how", ["in every frame", "is_fisheye"])
def test_a_fisheye_may_be_named_elsewhere(how: str, mini: DemoScene, tmp_path: Path) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    del scene.meta["camera_model"]
    if how == "is_fisheye":
        scene.meta["is_fisheye"] = True
    else:
        for frame in scene.frames:
            frame["camera_model"] = "OPENCV_FISHEYE"
    scene.save()
    cameras = opened(scene.folder).train_dataset.cameras
    assert (cameras.camera_type == CameraType.FISHEYE.value).all()


def test_options_that_were_set_count_for_a_colmap_scene(mini: DemoScene, tmp_path: Path, caplog) -> None:
    scene = Scene(mini.data, tmp_path / "scene")
    scene.colmap()
    parser = NerfstudioDataParserConfig(downscale_factor=2, mask_color=(0.0, 0.0, 0.0))
    config = FullImageDatamanagerConfig(_target=PhotoDataManager, dataparser=parser)
    config.data = parser.data = scene.folder
    manager = config.setup(device="cpu", test_mode="val", world_size=1, local_rank=0)
    assert int(manager.train_dataset.cameras.width[0]) == WIDTH // 2
    assert "--mask-color does nothing here" in caplog.text


@pytest.mark.parametrize("factor", [0, -2])
def test_a_factor_that_is_none_is_refused(factor: int, mini: DemoScene, tmp_path: Path) -> None:
    parser = NerfstudioDataParserConfig(downscale_factor=factor, data=Scene(mini.data, tmp_path / "s").save())
    config = FullImageDatamanagerConfig(_target=PhotoDataManager, dataparser=parser)
    with pytest.raises(ValueError, match=f"--downscale-factor {factor}: expected 1 or more"):
        config.setup(device="cpu", test_mode="val", world_size=1, local_rank=0)
