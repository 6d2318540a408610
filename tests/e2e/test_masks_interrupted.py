"""Kill -9 at random moments, and two processes on one cache: results stay the same, byte for byte."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from click_gaussian_ns.masks.config import MaskConfig, SuperpixelConfig
from click_gaussian_ns.masks.extract import prepare_level_maps

NUM_PHOTOS = 40
SIZE = (36, 48)
PACE_S = 0.04
"""Added to each photo, so that on a fast machine too the stage outlasts the kills: longer than any wait before one."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    paths = []
    for index in range(NUM_PHOTOS):
        coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        path = folder / f"photo_{index:02d}.png"
        Image.fromarray(np.kron(coarse, np.ones((12, 12, 1), np.uint8))).save(path)
        paths.append(path)
    return paths


@pytest.fixture(scope="module")
def processes():
    """Children of a server that has imported the stage once, so that each starts in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["click_gaussian_ns.masks.extract", "click_gaussian_ns.masks.superpixels"])
    return context


def extract(photos: list[Path], cache: Path, journal: Path) -> None:
    """Runs the stage with the real superpixels; the journal gets a line for each photo that is segmented."""
    from click_gaussian_ns.masks import superpixels

    segment = superpixels.SuperpixelSegmenter.segment

    def noted(self, image, guidance):
        time.sleep(PACE_S)
        found = segment(self, image, guidance)
        with journal.open("a") as file:
            file.write(f"{image.tobytes()[:30].hex()}\n")
        return found

    superpixels.SuperpixelSegmenter.segment = noted
    config = MaskConfig(
        mask_generator="superpixels", mask_cache_dir=cache, superpixels=SuperpixelConfig(fine=4.0, coarse=40.0)
    )
    prepare_level_maps(config, photos, [SIZE] * len(photos))


def contents(cache: Path) -> dict[str, bytes]:
    """Every finished file of a cache."""
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in cache.rglob("*")
        if path.is_file() and path.suffix != ".tmp"
    }


def finished(cache: Path) -> int:
    return len(list(cache.glob("segments/*/*.json")))


def test_killed_twenty_times_it_ends_as_if_never_killed(tmp_path, photos, processes):
    whole = processes.Process(target=extract, args=(photos, tmp_path / "whole", tmp_path / "journal_whole"))
    whole.start()
    whole.join()
    assert whole.exitcode == 0
    assert finished(tmp_path / "whole") == NUM_PHOTOS

    cache, journal = tmp_path / "killed", tmp_path / "journal"
    rng = random.Random(0)
    in_work = 0
    for kill in range(20):
        before = finished(cache)
        child = processes.Process(target=extract, args=(photos, cache, journal))
        child.start()
        target = min(before + rng.choice([0, 1, 2, 3]), NUM_PHOTOS - 1)
        while finished(cache) < target and child.is_alive():
            time.sleep(0.0005)
        time.sleep(rng.random() * 0.02)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode in (-signal.SIGKILL, 0), f"kill {kill}"
        in_work += child.exitcode != 0
    assert in_work == 20
    assert 0 < finished(cache) < NUM_PHOTOS
    last = processes.Process(target=extract, args=(photos, cache, journal))
    last.start()
    last.join()
    assert last.exitcode == 0
    assert contents(cache) == contents(tmp_path / "whole")
    # A photo is segmented again only if its run was killed before its file was in place.
    segmented = journal.read_text().split()
    assert len(set(segmented)) == NUM_PHOTOS
    assert len(segmented) <= NUM_PHOTOS + 20


def test_two_processes_on_one_cache(tmp_path, photos, processes):
    both = [
        processes.Process(target=extract, args=(photos, tmp_path / "cache", tmp_path / f"journal_{number}"))
        for number in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    alone = processes.Process(target=extract, args=(photos, tmp_path / "alone", tmp_path / "journal_alone"))
    alone.start()
    alone.join()
    assert contents(tmp_path / "cache") == contents(tmp_path / "alone")
    assert list((tmp_path / "cache").rglob("*.tmp")) == []
