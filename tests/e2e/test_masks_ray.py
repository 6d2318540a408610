"""The stage on a local Ray cluster."""

import hashlib

import numpy as np
import pytest
from PIL import Image

from click_gaussian_ns.masks.config import MaskConfig
from click_gaussian_ns.masks.engines import Job, run_on_ray
from click_gaussian_ns.masks.extract import prepare_level_maps

SIZE = (36, 48)


@pytest.fixture(scope="module")
def cluster():
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for index in range(6):
        path = tmp_path / f"photo_{index}.png"
        pattern = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(np.kron(pattern, np.ones((12, 12, 1), np.uint8))).save(path)
        paths.append(path)
    return paths


def run(engine, cache, photos):
    config = MaskConfig(mask_generator="superpixels", mask_cache_dir=cache, engine=engine)
    source = prepare_level_maps(config, photos, [SIZE] * len(photos))
    return np.stack([source[index].maps for index in range(len(photos))])


def test_workers_find_what_one_process_finds(tmp_path, photos, cluster):
    local = run("local", tmp_path / "local", photos)
    spread = run("ray", tmp_path / "ray", photos)
    np.testing.assert_array_equal(local, spread)
    names = {
        engine: {path.name: path.read_bytes() for path in (tmp_path / engine).glob("segments/*/*.json")}
        for engine in ("local", "ray")
    }
    assert len(names["ray"]) == 6
    assert names["local"] == names["ray"]


def test_a_bad_photo_gets_the_same_error_from_a_worker(tmp_path, photos, cluster):
    photos[3].write_bytes(photos[3].read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"photo_3\.png is damaged"):
        run("ray", tmp_path / "cache", photos)


def test_a_worker_that_cannot_start_says_why(photos, cluster):
    def no_weights(config, device):
        raise ValueError("no weights on this machine")

    jobs = [Job(0, photos[0], hashlib.sha256(photos[0].read_bytes()).hexdigest(), turn=False, max_side=64)]
    with pytest.raises(ValueError, match=r"could not start or was stopped \(.*no weights on this machine\)"):
        list(run_on_ray(no_weights, MaskConfig(), jobs, None))
