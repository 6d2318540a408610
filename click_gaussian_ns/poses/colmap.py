"""The only module that imports pycolmap: a program of its own, which `solver.py` starts.

It runs apart because the wheel of pycolmap brings its own image libraries: a process in which it is imported before
Pillow breaks off when Pillow writes a PNG (pycolmap 4.2.1, Pillow 13: "corrupted size vs. prev_size"). So nothing here
imports Pillow, OpenCV or torch, and a crash inside COLMAP ends in an exit code and not in the user's process.

It is told what to do by a JSON file, `Job`, and tells what it did in lines of JSON on its standard output.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

_PAIRS_AT_ONCE = 64
_PHOTOS_PER_CORE = 4
"""Features are made in calls of so many: enough that all cores work, few enough that the progress bar moves."""
_USUAL_MIN_MODEL = 10
_ONE_THREAD_UP_TO = 100
"""Photos: their model is made on one core, which is as fast (29 photos: 8 s on one core and on two), and two runs then
agree to the last bit. Larger ones need the cores, whose sums are rounded in another order each time."""


@dataclass(frozen=True)
class Job:
    """What the program does. Paths are text, as in JSON."""

    database: str
    photo_dir: str
    files: Sequence[str]
    """Of the photos, in `photo_dir`; without spaces, because COLMAP's lists of pairs are parted by them."""
    names: Sequence[str]
    """What the model calls them."""
    groups: Sequence[int]
    """Photos of one number share a camera."""
    camera_model: str
    pairs: Sequence[tuple[int, int]]
    """Places of photos in `files`."""
    output: str
    """The folder for the models, `0/`, `1/` and so on, and for `summary.json` and `largest.npz`."""
    seed: int


def is_installed() -> bool:
    """Whether the extra `poses` is there. Imports nothing."""
    return importlib.util.find_spec("pycolmap") is not None


def version() -> str:
    """Of pycolmap: features of one version are not mixed with those of another."""
    return metadata.version("pycolmap")


def run(job: Job, tell: Callable[[str, int, int], None]) -> None:
    """Features, matches and models. What is in the database already is not made again.

    Args:
        job: what to do.
        tell: is called with the stage, and how much of how many is done.
    """
    import pycolmap

    pycolmap.set_random_seed(job.seed)
    _make_features(pycolmap, job, tell)
    _match(pycolmap, job, tell)
    models = _map(pycolmap, job, tell)
    _write_models(job, models)


def _make_features(pycolmap: Any, job: Job, tell: Callable[[str, int, int], None]) -> None:
    with pycolmap.Database.open(job.database) as database:
        known = {image.name: image for image in database.read_all_images()}
        done = {
            name
            for name, image in known.items()
            if database.exists_keypoints(image.image_id) and database.exists_descriptors(image.image_id)
        }
    cameras = {group: known[file].camera_id for file, group in zip(job.files, job.groups) if file in known}
    for file, group in zip(job.files, job.groups):
        if file in known:
            continue
        # photos are listed one after the other first: the threads that make features would number them by chance, and
        # the model depends on the numbers
        options = _reader_options(pycolmap, job, cameras.get(group))
        pycolmap.import_images(job.database, job.photo_dir, pycolmap.CameraMode.SINGLE, [file], options)
        if group not in cameras:
            with pycolmap.Database.open(job.database) as database:
                cameras[group] = database.read_image_with_name(file).camera_id
    at_once = _PHOTOS_PER_CORE * (os.cpu_count() or 1)
    tell("features", len(done), len(job.files))
    for group in sorted(set(job.groups)):
        missing = [file for file, own in zip(job.files, job.groups) if own == group and file not in done]
        for start in range(0, len(missing), at_once):
            now = missing[start : start + at_once]
            pycolmap.extract_features(
                job.database,
                job.photo_dir,
                image_names=now,
                camera_mode=pycolmap.CameraMode.SINGLE,
                reader_options=_reader_options(pycolmap, job, cameras[group]),
                device=pycolmap.Device.cpu,
            )
            done.update(now)
            tell("features", len(done), len(job.files))


def _reader_options(pycolmap: Any, job: Job, camera_id: int | None) -> Any:
    options = pycolmap.ImageReaderOptions()
    options.camera_model = job.camera_model
    if camera_id is not None:
        options.existing_camera_id = camera_id
    return options


def _match(pycolmap: Any, job: Job, tell: Callable[[str, int, int], None]) -> None:
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = str(Path(job.output) / "pairs.txt")
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = job.seed
    with pycolmap.Database.open(job.database) as database:
        ids = {image.name: image.image_id for image in database.read_all_images()}
        numbers = [ids[file] for file in job.files]
        missing = [
            pair for pair in job.pairs if not database.exists_two_view_geometry(numbers[pair[0]], numbers[pair[1]])
        ]
    done = len(job.pairs) - len(missing)
    tell("matches", done, len(job.pairs))
    for start in range(0, len(missing), _PAIRS_AT_ONCE):
        now = missing[start : start + _PAIRS_AT_ONCE]
        lines = [f"{job.files[a]} {job.files[b]}\n" for a, b in now]
        Path(pairing.match_list_path).write_text("".join(lines), encoding="utf8")
        pycolmap.match_image_pairs(
            job.database, pairing_options=pairing, verification_options=verification, device=pycolmap.Device.cpu
        )
        done += len(now)
        tell("matches", done, len(job.pairs))
    Path(pairing.match_list_path).unlink(missing_ok=True)


def _map(pycolmap: Any, job: Job, tell: Callable[[str, int, int], None]) -> list[Any]:
    """Models, the one of most photos first; of as many photos, the one with more points."""
    options = pycolmap.IncrementalPipelineOptions()
    options.min_model_size = min(_USUAL_MIN_MODEL, max(3, len(job.files) // 2))
    if len(job.files) <= _ONE_THREAD_UP_TO:
        options.num_threads = options.mapper.num_threads = 1
    options.random_seed = job.seed
    options.mapper.random_seed = job.seed
    options.triangulation.random_seed = job.seed
    placed = 0

    def one_more(count: int) -> None:
        nonlocal placed
        placed = min(placed + count, len(job.files))
        tell("poses", placed, len(job.files))

    tell("poses", 0, len(job.files))
    own = Path(job.output) / "mapper"
    own.mkdir()
    found = pycolmap.incremental_mapping(
        job.database,
        job.photo_dir,
        str(own),
        options,
        initial_image_pair_callback=lambda: one_more(2),
        next_image_callback=lambda: one_more(1),
    )
    return sorted(found.values(), key=lambda model: (-model.num_reg_images(), -model.num_points3D()))


def _write_models(job: Job, models: Sequence[Any]) -> None:
    output = Path(job.output)
    names = dict(zip(job.files, job.names))
    summary: list[dict[str, Any]] = []
    for number, model in enumerate(models):
        for image in model.images.values():
            image.name = names[image.name]
        folder = output / str(number)
        folder.mkdir()
        model.write_binary(str(folder))
        posed = sorted((image for image in model.images.values() if image.has_pose), key=lambda image: image.name)
        summary.append(
            {
                "registered": [image.name for image in posed],
                "points": model.num_points3D(),
                "error_px": model.compute_mean_reprojection_error(),
                "cameras": [str(camera.params_to_string()) for camera in model.cameras.values()],
            }
        )
        if number == 0:
            points = list(model.points3D.values())
            np.savez(
                output / "largest.npz",
                points=np.array([point.xyz for point in points], np.float32).reshape(-1, 3),
                colors=np.array([point.color for point in points], np.uint8).reshape(-1, 3),
                centers=np.array([image.projection_center() for image in posed], np.float32),
                rotations=np.array([image.cam_from_world().rotation.matrix() for image in posed], np.float32),
            )
    (output / "summary.json").write_text(json.dumps(summary), encoding="utf8")


def _end_with_parent() -> None:
    """Killed, the process that started this one closes its end: then nobody waits for the result."""
    while os.read(0, 1):
        pass
    os._exit(1)


def main() -> None:
    """Run the job in the file that is named on the command line."""
    told = os.fdopen(os.dup(1), "w", encoding="utf8")
    # COLMAP prints, too
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(stage: str, done: int, total: int) -> None:
        print(json.dumps({"stage": stage, "done": done, "total": total}), file=told, flush=True)

    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf8")))
    import pycolmap

    # what it logs goes to a file that is shown when it fails; its warnings are of no use to a reader of progress bars
    pycolmap.logging.minloglevel = int(pycolmap.logging.Level.ERROR)
    run(job, tell)


if __name__ == "__main__":
    main()
