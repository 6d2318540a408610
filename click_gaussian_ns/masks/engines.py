"""Where segmenting runs: in this process, or spread over a Ray cluster. Results come back as they are finished."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from click_gaussian_ns.masks.cache import ImageSegments
from click_gaussian_ns.masks.config import MaskConfig, flag
from click_gaussian_ns.masks.images import decode_straight, read_photo
from click_gaussian_ns.masks.lens import Lens
from click_gaussian_ns.masks.segmenter import GuidanceSource, Segmenter, ViewGuidance

_QUEUED_PER_WORKER = 2


@dataclass(frozen=True)
class Job:
    """One photo to segment."""

    index: int
    """Index of its view."""
    path: Path
    digest: str
    """SHA-256 of the file when it was listed, under which its segments are kept."""
    turn: bool
    """Whether to apply its EXIF orientation."""
    max_side: int
    lens: Lens | None = None
    """Segments are those of the photo without its distortion."""


def job_digest(data: bytes) -> str:
    """SHA-256 of a photo's file, for `Job.digest`."""
    return hashlib.sha256(data).hexdigest()


def _read_listed(job: Job) -> bytes:
    """The photo that was listed; not another one that has taken its place, whose segments would be kept as its own."""
    data = read_photo(job.path)
    if job_digest(data) != job.digest:
        raise ValueError(f"the photo {job.path} was changed while photos were segmented: start the run again")
    return data


def segment_photo(segmenter: Segmenter, job: Job, data: bytes, guidance: ViewGuidance | None) -> ImageSegments:
    """Segments of a photo, whose file holds `data`."""
    image = decode_straight(job.path, data, job.turn, job.max_side, job.lens)
    segments = segmenter.segment(image, guidance)
    height, width = segments[0].rle["size"] if segments else image.shape[:2]
    return ImageSegments((height, width), tuple(segments))


def run_local(
    segmenter: Segmenter, jobs: Iterable[Job], guidance: GuidanceSource | None
) -> Iterator[tuple[Job, ImageSegments]]:
    """One photo after the other."""
    for job in jobs:
        view = guidance(job.index) if guidance is not None and segmenter.uses_guidance else None
        yield job, segment_photo(segmenter, job, _read_listed(job), view)


def run_on_ray(
    make_segmenter: Callable[[MaskConfig, torch.device], Segmenter],
    config: MaskConfig,
    jobs: Sequence[Job],
    guidance: GuidanceSource | None,
) -> Iterator[tuple[Job, ImageSegments]]:
    """One worker per GPU of the cluster, or per CPU where it has none, and no more than photos; it keeps its model.

    Connects to the cluster of $RAY_ADDRESS, else starts one on this machine. Photos and guidance travel to the
    workers and segments back, so that machines need no common folder (only the weights, each at the same path).
    """
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        ray.init(
            address=os.environ.get("RAY_ADDRESS"), log_to_driver=False, include_dashboard=False, configure_logging=False
        )
    try:
        resources = ray.cluster_resources()
        num_gpus = int(resources.get("GPU", 0))
        worker_class = ray.remote(num_cpus=1, num_gpus=1 if num_gpus else 0)(_Worker)
        num_workers = min(num_gpus or max(1, int(resources.get("CPU", 1))), len(jobs))
        workers = [worker_class.remote(make_segmenter, config) for _ in range(num_workers)]
        yield from _drain(ray, workers, jobs, guidance)
    finally:
        if started:
            ray.shutdown()


class _Worker:
    """Lives in a process of its own on some machine of the cluster."""

    def __init__(self, make_segmenter: Callable[[MaskConfig, torch.device], Segmenter], config: MaskConfig) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._segmenter = make_segmenter(config, device)

    def segment(self, job: Job, data: bytes, guidance: ViewGuidance | None) -> tuple[Job, ImageSegments]:
        return job, segment_photo(self._segmenter, job, data, guidance)


def _drain(
    ray: Any,
    workers: Sequence[Any],
    jobs: Iterable[Job],
    guidance: GuidanceSource | None,
) -> Iterator[tuple[Job, ImageSegments]]:
    """Keeps every worker busy with a short queue, so that few photos are in memory at a time."""
    pool = ray.util.ActorPool(list(workers) * _QUEUED_PER_WORKER)

    def submit(worker: Any, job: Job) -> Any:
        return worker.segment.remote(job, _read_listed(job), None if guidance is None else guidance(job.index))

    for job in jobs:
        if not pool.has_free():
            yield _next_result(ray, pool)
        pool.submit(submit, job)
    while pool.has_next():
        yield _next_result(ray, pool)


def _next_result(ray: Any, pool: Any) -> tuple[Job, ImageSegments]:
    try:
        return pool.get_next_unordered()
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayActorError as error:
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), "for no known reason")
        raise ValueError(
            f"a worker of the engine ray could not start or was stopped ({reason.strip()}): mend that on its "
            f"machine, or use {flag('engine', 'local')}"
        ) from error


def _import_ray() -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            "the engine ray needs the package ray: install it with `pip install 'click-gaussian-ns[ray]'`, "
            f"or use {flag('engine', 'local')}"
        ) from error
    return ray
