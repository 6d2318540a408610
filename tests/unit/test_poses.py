"""`click-gaussian poses`, without COLMAP: frames, cameras, pairs, photos, the output folder, words."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from click_gaussian_ns.poses import colmap, command
from click_gaussian_ns.poses.advice import poses_advice
from click_gaussian_ns.poses.cameras import PhotoFacts, camera_groups
from click_gaussian_ns.poses.command import PoseSettings, run_poses
from click_gaussian_ns.poses.frames import sharpest_of_stretches, write_sharp_frames
from click_gaussian_ns.poses.pairs import matching_rule, photo_pairs
from click_gaussian_ns.poses.photos import check_photos, find_photos, link_photos, number_photos
from click_gaussian_ns.poses.report import draw_cameras, report_lines, upright_axes
from click_gaussian_ns.poses.solver import Model
from click_gaussian_ns.poses.workplace import Workplace

WIDTH, HEIGHT = 160, 120


def texture(seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH)) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (size[0] // 4, size[1] // 4, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((4, 4, 1), np.uint8))


def photo(path: Path, seed: int = 0, size: tuple[int, int] = (HEIGHT, WIDTH), **exif: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = Image.Exif()
    for tag, value in exif.items():
        data[int(tag.removeprefix("tag_"))] = value
    Image.fromarray(texture(seed, size)).save(path, **({"exif": data} if exif else {}))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of four photos."""
    for number in range(4):
        photo(tmp_path / "photos" / f"p{number}.jpg", number)
    return tmp_path / "photos"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames of a camera that pans over a texture; all but every fifth (2, 7, 12, ...) are blurred."""
    path = tmp_path_factory.mktemp("video") / "pan.avi"
    wall = texture(3, (HEIGHT, 4 * WIDTH))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for index in range(40):
        frame = np.ascontiguousarray(wall[:, 3 * index : 3 * index + WIDTH])
        writer.write(frame if index % 5 == 2 else cv2.GaussianBlur(frame, (0, 0), 2.5))
    writer.release()
    return path


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[colmap.Job]:
    """The jobs that COLMAP was given: in its place is something that places all photos but the last."""
    jobs: list[colmap.Job] = []

    def solve(job: colmap.Job, folder: Path) -> tuple[list[Model], dict[str, float]]:
        jobs.append(job)
        Path(job.database).write_bytes(b"features")
        model = Path(job.output) / "0"
        model.mkdir()
        (model / "images.bin").write_bytes(b"model")
        some = len(job.names) - 1
        np.savez(
            Path(job.output) / "largest.npz",
            points=np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32),
            colors=np.zeros((50, 3), np.uint8),
            centers=np.eye(3, dtype=np.float32)[np.arange(some) % 3],
            rotations=np.tile(np.eye(3, dtype=np.float32), (some, 1, 1)),
        )
        return [Model(list(job.names[:-1]), 50, 0.5, ["1, 2, 3, 4"])], {"features": 1.0}

    monkeypatch.setattr(command, "solve", solve)
    monkeypatch.setattr(command, "check_installed", lambda: None)
    monkeypatch.setattr(colmap, "version", lambda: "4.2.1")
    return jobs


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in [folder, *folder.rglob("*")]
    }


# --- frames


def test_the_sharpest_frame_of_each_stretch_is_taken(video: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    names = write_sharp_frames(video, 8, tmp_path, lambda done, total: told.append((done, total)))
    assert names == [f"frame_{index:06d}.jpg" for index in range(2, 40, 5)]
    assert told[-1] == (40, 40)
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    with Image.open(tmp_path / names[0]) as first:
        shown = np.asarray(first, float)[..., ::-1]
    # the third frame and no other, in its colours (the video's own compression moves them a little)
    assert np.abs(shown - texture(3, (HEIGHT, 4 * WIDTH))[:, 6 : 6 + WIDTH]).mean() < 25


def test_a_short_video_gives_all_its_frames(video: Path, tmp_path: Path) -> None:
    assert len(write_sharp_frames(video, 100, tmp_path, lambda done, total: None)) == 40


@pytest.mark.parametrize("claimed", [9, 12, 20])
def test_a_wrong_number_of_frames_in_the_file_loses_no_stretch_that_is_there(claimed: int) -> None:
    scores = [1.0, 3.0, 2.0, 9.0, 8.0, 7.0, 0.0, 1.0, 0.5, 0.1, 0.2, 4.0]
    said = list(sharpest_of_stretches(iter(scores), claimed, 3))
    assert len(said) == len(scores)
    last = {stretch: index for index, (stretch, is_best) in enumerate(said) if is_best}
    for stretch, index in last.items():
        assert scores[index] == max(score for score, (own, _) in zip(scores, said) if own == stretch)
    assert last[0] in (1, 3)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"a\.mp4 cannot be read as a video"):
        write_sharp_frames(tmp_path / "a.mp4", 8, tmp_path, lambda done, total: None)


# --- cameras


SMALL, LARGE = (640, 480), (800, 600)
PHONE, REFLEX = ("Acme", "Phone", "4.2", "26"), ("Acme", "Reflex", "50.0", "75")


@pytest.mark.parametrize(
    ("photos", "cameras", "expected"),
    [
        ([("a", SMALL, ()), ("b", SMALL, ())], "auto", [0, 0]),
        ([("a", SMALL, PHONE), ("c/b", SMALL, PHONE)], "auto", [0, 0]),
        ([("a", SMALL, PHONE), ("b", SMALL, REFLEX), ("c", SMALL, PHONE)], "auto", [0, 1, 0]),
        ([("a", SMALL, ()), ("b", LARGE, ()), ("c", SMALL, ())], "auto", [0, 1, 2]),
        ([("1/a", SMALL, ()), ("1/b", SMALL, ()), ("2/a", LARGE, ()), ("2/b", LARGE, ())], "auto", [0, 0, 1, 1]),
        ([("1/a", SMALL, PHONE), ("1/b", LARGE, PHONE), ("2/a", SMALL, PHONE)], "auto", [0, 1, 0]),
        ([("1/a", SMALL, ()), ("2/a", SMALL, ())], "per-folder", [0, 1]),
        ([("a", SMALL, PHONE), ("b", SMALL, REFLEX)], "one", [0, 0]),
        ([("a", SMALL, PHONE), ("b", SMALL, PHONE)], "per-photo", [0, 1]),
    ],
)
def test_which_photos_share_a_camera(photos: list, cameras: str, expected: list[int]) -> None:
    assert camera_groups([PhotoFacts(*one) for one in photos], cameras) == expected


@pytest.mark.parametrize("cameras", ["one", "per-folder"])
def test_one_camera_has_one_size(cameras: str) -> None:
    with pytest.raises(ValueError, match=f"--cameras {cameras}: b is 800x600 px and a 640x480 px"):
        camera_groups([PhotoFacts("a", SMALL), PhotoFacts("b", LARGE)], cameras)


def test_the_stored_grid_counts_and_the_lens_is_read(tmp_path: Path) -> None:
    """COLMAP ignores the flag that turns a photo, and so does nerfstudio."""
    turned = photo(tmp_path / "turned.jpg", tag_274=6, tag_271="Acme", tag_272="Phone")
    plain = photo(tmp_path / "plain.jpg")
    facts = check_photos([turned, plain], lambda done: None)
    assert [fact.size for fact in facts] == [(WIDTH, HEIGHT)] * 2
    assert facts[0].lens[:2] == ("Acme", "Phone")
    assert facts[1].lens == ()


# --- pairs


@pytest.mark.parametrize("num", [0, 1, 3, 12, 60, 400])
def test_pairs_are_each_there_once_and_join_all_photos(num: int) -> None:
    for rule in ("exhaustive", "sequential"):
        pairs = photo_pairs(rule, num)
        assert len(set(pairs)) == len(pairs)
        assert all(0 <= a < b < num for a, b in pairs)
        assert {(a, a + 1) for a in range(num - 1)} <= set(pairs)
    assert len(photo_pairs("exhaustive", num)) == num * (num - 1) // 2
    assert len(photo_pairs("sequential", num)) <= 20 * num + 800


def test_the_rule_of_pairs() -> None:
    assert matching_rule("auto", 100, False) == "exhaustive"
    assert matching_rule("auto", 151, False) == "sequential"
    assert matching_rule("auto", 30, True) == "sequential"
    assert matching_rule("exhaustive", 1000, True) == "exhaustive"


def test_the_ends_of_a_walk_around_an_object_meet() -> None:
    assert any(b - a > 350 for a, b in photo_pairs("sequential", 400))


# --- photos


def test_other_files_are_left_out_and_said(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    (photos / "notes.txt").write_text("x")
    (photos / "IMG.HEIC").write_text("x")
    (photos / ".DS_Store").write_text("x")
    photo(photos / ".thumbnails" / "p0.jpg")
    photo(photos / "more" / "UPPER.JPG")
    assert [path.name for path in find_photos(photos)] == ["UPPER.JPG", *(f"p{number}.jpg" for number in range(4))]
    (said,) = caplog.messages
    assert "IMG.HEIC, notes.txt" in said and "DS_Store" not in said


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"text" * 90])
def test_damaged_photos_are_refused_by_name(photos: Path, damage) -> None:
    bad = photos / "p2.jpg"
    bad.write_bytes(damage(bad.read_bytes()))
    with pytest.raises(
        ValueError, match=r"p2\.jpg cannot be read as a photo .*: copy it again, or take it out"
    ) as error:
        check_photos(find_photos(photos), lambda done: None)
    assert "\n" not in str(error.value)


def test_photos_are_linked_or_copied(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = find_photos(photos)
    names = ["cam0/a b.jpg", "cam0/ü.jpg", "c.jpg", "d.jpg"]
    link_photos(paths, names, tmp_path / "linked")
    assert all((tmp_path / "linked" / name).samefile(path) for name, path in zip(names, paths))

    def no_link(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", no_link)
    link_photos(paths, names, tmp_path / "copied")
    for name, path in zip(names, paths):
        assert (tmp_path / "copied" / name).read_bytes() == path.read_bytes()
        assert not (tmp_path / "copied" / name).samefile(path)


def test_a_link_to_a_photo_leads_to_the_photo(photos: Path, tmp_path: Path) -> None:
    (photos / "p9.jpg").symlink_to(photos / "p0.jpg")
    link_photos([photos / "p9.jpg"], ["p9.jpg"], tmp_path / "out")
    assert not (tmp_path / "out" / "p9.jpg").is_symlink()


def test_colmap_gets_names_without_spaces_and_formats_that_it_knows(tmp_path: Path) -> None:
    paths = [photo(tmp_path / "in" / "a b.JPG"), photo(tmp_path / "in" / "ü.webp")]
    (tmp_path / "out").mkdir()
    assert number_photos(paths, tmp_path / "out") == ["000000.jpg", "000001.png"]
    with Image.open(tmp_path / "out" / "000001.png") as image:
        assert image.format == "PNG" and image.size == (WIDTH, HEIGHT)


# --- the command


def test_photos_and_model_appear_under_their_names(photos: Path, tmp_path: Path, solved: list, capsys) -> None:
    photo(photos / "cam0" / "p0.jpg", 9)
    before = listing(photos)
    data = tmp_path / "data"
    run_poses(photos, data, PoseSettings())
    assert listing(photos) == before
    assert solved[0].names == ["cam0/p0.jpg", "p0.jpg", "p1.jpg", "p2.jpg", "p3.jpg"]
    assert solved[0].groups == [0] * 5 and len(solved[0].pairs) == 10
    assert {str(path.relative_to(data)) for path in data.rglob("*") if ".poses" not in path.parts} == {
        *("images", "images/cam0", "sparse", "sparse/0", "sparse/0/images.bin", "poses.json", "poses.jpg"),
        *(f"images/{name}" for name in solved[0].names),
    }
    report = json.loads((data / "poses.json").read_text())
    assert report["num_registered"] == 4 and report["left_out"] == ["p3.jpg"] and report["mean_error_px"] == 0.5
    said = capsys.readouterr().out
    assert "4 of 5 photos placed, 50 points, mean reprojection error 0.50 px" in said
    assert "left out: p3.jpg" in said and f"ns-train click-gaussian --data {data}" in said


def test_a_finished_folder_is_found_again(photos: Path, tmp_path: Path, solved: list, capsys) -> None:
    data = tmp_path / "data"
    run_poses(photos, data, PoseSettings())
    before = listing(data)
    capsys.readouterr()
    run_poses(photos, data, PoseSettings())
    assert len(solved) == 1 and listing(data) == before
    assert "is finished already" in capsys.readouterr().out
    for other in (PoseSettings(matching="sequential"), PoseSettings(seed=1), PoseSettings(camera_model="pinhole")):
        with pytest.raises(ValueError, match=r"holds poses of other photos or settings .* or --overwrite"):
            run_poses(photos, data, other)
    os.utime(photos / "p1.jpg", (1, 1))
    with pytest.raises(ValueError, match="holds poses of other photos"):
        run_poses(photos, data, PoseSettings())
    assert listing(data / "sparse") and len(solved) == 1


def test_overwrite_replaces_what_was_made(photos: Path, tmp_path: Path, solved: list) -> None:
    data = tmp_path / "data"
    run_poses(photos, data, PoseSettings())
    (photos / "p0.jpg").unlink()
    run_poses(photos, data, PoseSettings(), overwrite=True)
    assert sorted(path.name for path in (data / "images").iterdir()) == ["p1.jpg", "p2.jpg", "p3.jpg"]
    assert sorted(path.name for path in (data / ".poses").iterdir()) == ["database.db", "key.json", "lock"]


def test_two_calls_do_not_work_in_one_folder(photos: Path, tmp_path: Path, solved: list) -> None:
    with (
        Workplace(tmp_path / "data").held(),
        pytest.raises(ValueError, match="another `click-gaussian poses` is at work"),
    ):
        run_poses(photos, tmp_path / "data", PoseSettings())
    run_poses(photos, tmp_path / "data", PoseSettings())


@pytest.mark.parametrize("name", ["sparse", "images", "colmap", "transforms.json", "poses.jpg", "poses.json"])
def test_what_is_the_users_is_refused(name: str, photos: Path, tmp_path: Path, solved: list) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / name).write_text("{}")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=f"{name} is there already and was not made by `click-gaussian poses`"):
            run_poses(photos, data, PoseSettings(), overwrite=overwrite)
    assert [path.name for path in data.iterdir()] == [name] and not solved


def test_nothing_is_written_where_the_photos_are(photos: Path, tmp_path: Path, solved: list) -> None:
    data = tmp_path / "data"
    run_poses(photos, data, PoseSettings())
    for images, output in ((photos, photos), (photos, photos / "out"), (data / "images", data)):
        with pytest.raises(ValueError, match="in each other's way"):
            run_poses(images, output, PoseSettings(), overwrite=True)
    assert len(solved) == 1 and len(list((data / "images").iterdir())) == 4


@pytest.mark.parametrize("moment", range(8))
def test_a_call_that_was_killed_at_the_end_leaves_no_half_model(
    moment: int, photos: Path, tmp_path: Path, solved: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at each of the last renames, the first time and when replacing; the next call goes on."""
    data = tmp_path / "data"
    replace = os.replace
    for overwrite in (False, True):
        renames = 0

        def dying(source: Path, target: Path) -> None:
            nonlocal renames
            if Path(source).parent in (data, data / ".poses") and Path(source).name in (
                *("images", "sparse", "poses.jpg", "poses.json"),
            ):
                renames += 1
                if renames > moment:
                    raise KeyboardInterrupt
            replace(source, target)

        monkeypatch.setattr(os, "replace", dying)
        # replaced are four names, put there four
        dies = moment < (8 if overwrite else 4)
        if dies:
            with pytest.raises(KeyboardInterrupt):
                run_poses(photos, data, PoseSettings(), overwrite=overwrite)
        if (data / "sparse").exists():
            assert (data / "sparse" / "0" / "images.bin").is_file() and len(list((data / "images").iterdir())) == 4
        monkeypatch.setattr(os, "replace", replace)
        run_poses(photos, data, PoseSettings(), overwrite=overwrite)
        assert Workplace(data).is_whole() and not (data / ".poses" / "finishing").exists()


def test_features_are_used_again_only_if_photos_and_settings_are_the_same(photos: Path, tmp_path: Path) -> None:
    place = Workplace(tmp_path / "data")
    place.work.mkdir(parents=True)
    assert not place.begin({"photos": 1})
    place.database.write_bytes(b"features")
    assert place.begin({"photos": 1}) and place.database.read_bytes() == b"features"
    assert not place.begin({"photos": 2}) and not place.database.exists()


def test_a_video_is_one_camera(video: Path, tmp_path: Path, solved: list) -> None:
    run_poses(video, tmp_path / "data", PoseSettings(num_frames=8))
    (job,) = solved
    assert job.groups == [0] * 8 and job.names[0] == "frame_000002.jpg"
    assert len(list((tmp_path / "data" / "images").iterdir())) == 8


def test_input_that_cannot_be_used_ends_in_one_line(photos: Path, video: Path, tmp_path: Path, solved: list) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for images, settings, message in (
        (tmp_path / "none", PoseSettings(), "there is no such folder or video"),
        (empty, PoseSettings(), r"holds 0 photos .*: expected 3 or more, and rather 30"),
        (photos / "p0.jpg", PoseSettings(), "is one photo: expected a folder of photos, or a video"),
        (video, PoseSettings(num_frames=2), "--num-frames 2: expected 3 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            run_poses(images, tmp_path / "data", settings)
    assert not (tmp_path / "data").exists() and not solved


def test_without_pycolmap_the_extra_is_named(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colmap, "is_installed", lambda: False)
    with pytest.raises(ValueError, match=r"run `pip install 'click-gaussian-ns\[poses\]'`"):
        run_poses(photos, tmp_path / "data", PoseSettings())
    assert not (tmp_path / "data").exists()


def test_when_no_photo_is_placed_it_says_what_to_do(
    photos: Path, tmp_path: Path, solved: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "solve", lambda job, folder: ([], {}))
    with pytest.raises(ValueError, match=r"COLMAP could place none of 4 photos\. Take photos from places a small step"):
        run_poses(photos, tmp_path / "data", PoseSettings())
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".poses"]


# --- words and the picture


def test_few_photos_are_said() -> None:
    names = [f"{number}.jpg" for number in range(20)]
    few = report_lines([Model(names[:7], 90, 0.6, []), Model(names[7:11], 30, 0.7, [])], names)
    assert few[0].startswith("7 of 20 photos placed")
    assert few[1].startswith("left out: 7.jpg, 8.jpg") and "and 1 more" in few[1]
    assert "sparse/1 (4)" in few[2]
    assert few[3].startswith("warning: only 7 of 20 photos could be placed. Take photos")
    assert len(report_lines([Model(names, 90, 0.6, [])], names)) == 1


def test_up_is_up_in_the_picture(tmp_path: Path) -> None:
    """Cameras in a ring around a pole that is green above and red below, looking at it, in a turned frame."""
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    centers = np.stack([3 * np.sin(angles), 0 * angles, 3 * np.cos(angles)], 1)
    down = np.array([0.0, -1.0, 0.0])
    rotations = np.stack([np.stack([np.cross(down, -c / 3), down, -c / 3]) for c in centers])
    height = np.linspace(-2, 2, 4000)
    points = np.stack([0 * height, height, 0 * height], 1) + np.random.default_rng(0).normal(0, 0.02, (4000, 3))
    colors = np.where(height[:, None] > 0, [[0, 160, 0]], [[160, 0, 0]]).astype(np.uint8)
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    axes = upright_axes(rotations @ turn.T)
    np.testing.assert_allclose(axes[1], turn @ [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(axes) < 0  # right, up, forward
    draw_cameras(tmp_path / "a.png", points @ turn.T, colors, centers @ turn.T, rotations @ turn.T)
    with Image.open(tmp_path / "a.png") as picture:
        side = np.asarray(picture)[:, 720:].astype(int)
    rows = {
        name: np.nonzero((side == color).all(-1))[0].mean()
        for name, color in (("up", (0, 160, 0)), ("down", (160, 0, 0)))
    }
    assert rows["up"] < 250 < 310 < rows["down"]


# --- advice


def test_advice_for_photos_without_poses(photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "photos_with_poses"
    assert poses_advice(photos) == (
        f"{photos} holds 4 photos without camera poses: run `click-gaussian poses --images {photos} --output-dir "
        f"{target}` first, then `ns-train click-gaussian --data {target}`"
    )
    spaced = photos.rename(tmp_path / "my photos")
    assert f"--images '{spaced}'" in (poses_advice(spaced) or "")


def test_advice_for_a_video(video: Path, tmp_path: Path) -> None:
    copied = tmp_path / "film.mp4"
    copied.write_bytes(video.read_bytes())
    for data in (copied, tmp_path):
        assert f"film.mp4 is a video without camera poses: run `click-gaussian poses --images {copied}" in (
            poses_advice(data) or ""
        )


def test_no_advice_for_anything_else(tmp_path: Path) -> None:
    (tmp_path / "scene.ply").write_text("ply")
    for data in (tmp_path, tmp_path / "scene.ply", tmp_path / "none"):
        assert poses_advice(data) is None
