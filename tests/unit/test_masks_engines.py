"""Where segmenting runs: as many workers as there are photos for, and no photo but the one that was listed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import ray.util.actor_pool
from mask_scenes import SIZE, BoxSegmenter, write_photos

from click_gaussian_ns.masks import engines, extract
from click_gaussian_ns.masks.config import MaskConfig, flag
from click_gaussian_ns.masks.extract import prepare_level_maps


class TaskError(Exception):
    """As ray.exceptions.RayTaskError."""


class ActorError(Exception):
    """As ray.exceptions.RayActorError."""


class InlineRay:
    """What `run_on_ray` and Ray's own pool of actors use of Ray, in this process."""

    exceptions = SimpleNamespace(RayTaskError=TaskError, RayActorError=ActorError, ActorDiedError=ActorError)
    util = ray.util

    def __init__(self, num_cpus: int, start_error: str = "") -> None:
        self.num_cpus = num_cpus
        self.start_error = start_error
        self.num_workers = 0
        self.most_running = 0

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self.num_cpus)}

    def remote(self, **resources: float) -> Any:
        def declare(worker_class: type) -> Any:
            def start(*args: Any) -> Any:
                self.num_workers += 1
                worker = worker_class(*args)
                return SimpleNamespace(segment=SimpleNamespace(remote=lambda *job: lambda: worker.segment(*job)))

            return SimpleNamespace(remote=start)

        return declare

    def wait(self, running: list[Any], num_returns: int, timeout: float | None) -> tuple[list[Any], list[Any]]:
        self.most_running = max(self.most_running, len(running))
        return running[:1], running[1:]

    def get(self, done: Any) -> Any:
        if self.start_error:
            raise ActorError(self.start_error)
        return done()


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch) -> BoxSegmenter:
    boxes = BoxSegmenter()
    monkeypatch.setattr(extract, "make_segmenter", lambda config, device: boxes)
    return boxes


@pytest.fixture
def use_ray(monkeypatch: pytest.MonkeyPatch) -> Callable[[InlineRay], InlineRay]:
    def use(inline: InlineRay) -> InlineRay:
        monkeypatch.setattr(engines, "_import_ray", lambda: inline)
        monkeypatch.setattr(ray.util.actor_pool, "ray", inline)
        return inline

    return use


def stage(tmp_path, photos, engine="ray"):
    config = MaskConfig(mask_generator="superpixels", mask_cache_dir=tmp_path / "cache", engine=engine)
    return prepare_level_maps(config, photos, [SIZE] * len(photos))


@pytest.mark.parametrize(("num_cpus", "num_photos", "expected"), [(64, 2, 2), (2, 5, 2), (0, 2, 1)])
def test_ray_starts_no_more_workers_than_photos(tmp_path, use_ray, segmenter, num_cpus, num_photos, expected):
    inline = use_ray(InlineRay(num_cpus))
    stage(tmp_path, write_photos(tmp_path / "images", num_photos))
    assert inline.num_workers == expected
    assert segmenter.calls == num_photos


def test_two_photos_a_worker_are_in_memory(tmp_path, use_ray, segmenter):
    inline = use_ray(InlineRay(2))
    stage(tmp_path, write_photos(tmp_path / "images", 9))
    assert (segmenter.calls, inline.most_running) == (9, 4)


def test_a_worker_that_cannot_start_is_one_error(tmp_path, use_ray, segmenter):
    use_ray(InlineRay(1, "The actor died in its creation task\n  File ...\nValueError: no weights at /w.pth\n"))
    with pytest.raises(
        ValueError, match=r"could not start or was stopped \(ValueError: no weights at /w\.pth\).*--engine local"
    ) as caught:
        stage(tmp_path, write_photos(tmp_path / "images", 2))
    assert isinstance(caught.value.__cause__, ActorError)


@pytest.mark.parametrize("engine", ["local", "ray"])
@pytest.mark.parametrize("deleted", [False, True])
def test_a_photo_that_changes_meanwhile_is_not_kept_as_the_old_one(
    tmp_path, monkeypatch, use_ray, segmenter, engine, deleted
):
    use_ray(InlineRay(1))
    photos = write_photos(tmp_path / "images", 3)
    listed, other = photos[2].read_bytes(), photos[0].read_bytes()
    look_up = extract._look_up

    def change_afterwards(cache, entries):
        found = look_up(cache, entries)
        photos[2].unlink()
        if not deleted:
            photos[2].write_bytes(other)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(extract, "_look_up", change_afterwards)
        expected = (
            r"photo_002\.png cannot be opened" if deleted else r"photo_002\.png was changed while .* start the run"
        )
        with pytest.raises(ValueError, match=expected):
            stage(tmp_path, photos, engine)
    photos[2].write_bytes(listed)
    assert len(list((tmp_path / "cache").glob("segments/*/*.json"))) < 3
    stage(tmp_path, photos, engine)
    assert len(list((tmp_path / "cache").glob("segments/*/*.json"))) == 3


def test_flags_are_named_as_both_commands_have_them():
    assert flag("mask_generator", "sam") == ("--generator sam (ns-train: --pipeline.datamanager.mask-generator sam)")
    assert flag("sam2.checkpoint") == "--sam2.checkpoint (ns-train: --pipeline.datamanager.sam2.checkpoint)"
