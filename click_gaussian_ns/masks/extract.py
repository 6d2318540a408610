"""The mask stage: photos become label maps, once, and can be interrupted at any moment."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from click_gaussian_ns.files import cache_folder, listed
from click_gaussian_ns.masks.cache import DamagedCacheFile, ImageSegments, SegmentCache
from click_gaussian_ns.masks.config import MaskConfig, flag, level_names_of
from click_gaussian_ns.masks.engines import Job, job_digest, run_local, run_on_ray
from click_gaussian_ns.masks.folder import open_mask_folder
from click_gaussian_ns.masks.images import fit_photo, is_stored_sideways, read_header, read_photo
from click_gaussian_ns.masks.lens import Lens
from click_gaussian_ns.masks.levels import level_maps
from click_gaussian_ns.masks.progress import progress_bar
from click_gaussian_ns.masks.provenance import provenance
from click_gaussian_ns.masks.resolve import make_segmenter, resolve_generator
from click_gaussian_ns.masks.segmenter import GuidanceSource, Segmenter
from click_gaussian_ns.masks.source import DecodedLevelMaps, PhotoMask
from click_gaussian_ns.types import LevelMaps

logger = logging.getLogger(__name__)


def prepare_level_maps(
    config: MaskConfig,
    image_paths: Sequence[Path],
    sizes: Sequence[tuple[int, int]],
    guidance: GuidanceSource | None = None,
    device: torch.device | str = "cpu",
    photo_mask: PhotoMask = lambda index: None,
    lenses: Sequence[Lens | None] | None = None,
) -> DecodedLevelMaps:
    """Label maps of the training views (a `LevelMapSource`): from a folder, from the cache, or segmented now.

    Segments are kept image by image, so that a killed stage goes on where it was, and changing how levels are made of
    segments runs no segmenter again. Label maps are made of them when they are asked for.

    Args:
        config: see `MaskConfig`.
        image_paths: photos of the training views.
        sizes: (height, width) of the photos as their cameras have them, px; label maps are brought to them (nearest).
        guidance: what a splat knows of the views; only `superpixels` uses it.
        device: where SAM runs (the engine `ray` chooses by itself).
        photo_mask: pixels of a photo that do not count are unassigned at all levels.
        lenses: of the photos. Label maps are those of the views without distortion: photos are straightened before they
            are segmented, ready-made masks are resampled (nearest). None: there is none.

    Raises:
        ValueError: a photo, a mask folder or a checkpoint that cannot be used; names the file and says what to do.
    """
    config = replace(config, mask_generator=resolve_generator(config, device, image_paths))
    names = level_names_of(config.mask_levels)
    lenses = [None] * len(image_paths) if lenses is None else list(lenses)
    if config.mask_generator == "folder":
        decode, num_segments = _from_folder(config, image_paths, sizes, lenses)
    else:
        decode, num_segments = _from_segmenter(config, image_paths, sizes, lenses, guidance, torch.device(device))
    # where there is no mask at all (None) was said already
    _report_empty([path for path, count in zip(image_paths, num_segments) if count == 0], config)
    views = [size if lens is None else lens.view_size for size, lens in zip(sizes, lenses)]

    def counts(index: int) -> Bool[np.ndarray, "H W"] | None:
        mask, lens = photo_mask(index), lenses[index]
        if lens is None:
            return mask
        whole = np.ones(lens.photo_size, np.uint16) if mask is None else mask.astype(np.uint16)
        return lens.resample(whole[None])[0] > 0

    return DecodedLevelMaps(names, decode, views, config.resident_mb, counts, provenance(config))


def _from_folder(
    config: MaskConfig,
    image_paths: Sequence[Path],
    sizes: Sequence[tuple[int, int]],
    lenses: Sequence[Lens | None],
) -> tuple[Any, Sequence[int | None]]:
    assert config.mask_dir is not None
    photo_sizes = [fit_photo(path, read_header(path), size)[0] for path, size in zip(image_paths, sizes)]
    with progress_bar() as progress:
        task = progress.add_task("Checking masks", total=len(image_paths))
        folder = open_mask_folder(
            config.mask_dir, image_paths, sizes, photo_sizes, config.mask_levels, lambda: progress.advance(task)
        )

    def decode(index: int) -> LevelMaps:
        maps, lens = folder.decode(index), lenses[index]
        return maps if lens is None else LevelMaps(maps.names, lens.resample(maps.maps))

    return decode, folder.num_segments


@dataclass(frozen=True)
class _Entry:
    """A photo, and the key of its segments."""

    job: Job
    fields: dict[str, Any]


def _from_segmenter(
    config: MaskConfig,
    image_paths: Sequence[Path],
    sizes: Sequence[tuple[int, int]],
    lenses: Sequence[Lens | None],
    guidance: GuidanceSource | None,
    device: torch.device,
) -> tuple[Any, list[int]]:
    segmenter = make_segmenter(config, device)
    if config.mask_levels != "area" and not segmenter.gives_levels:
        raise ValueError(
            f"the levels {config.mask_levels} need a generator that knows levels, and {segmenter.name} does not: "
            f"use {flag('mask_levels', 'area')}"
        )
    guidance = guidance if segmenter.uses_guidance else None
    cache = SegmentCache(config.mask_cache_dir or cache_folder("masks"))
    settings = {f"{segmenter.name}.{name}": value for name, value in segmenter.fingerprint().items()}
    entries: list[_Entry] = []
    with progress_bar() as progress:
        views = progress.track(list(zip(image_paths, sizes, lenses)), description="Reading photos")
        for index, (path, size, lens) in enumerate(views):
            entries.append(_entry(index, path, size, lens, segmenter, settings, config, guidance))
    num_segments, missing = _look_up(cache, entries)
    if missing:
        num_segments |= _segment(config, segmenter, cache, missing, guidance)

    def decode(index: int) -> LevelMaps:
        found = _cached(cache, entries[index])
        return level_maps(found.segments, config.mask_levels, found.size)

    return decode, [num_segments[index] for index in range(len(entries))]


def _entry(
    index: int,
    path: Path,
    size: tuple[int, int],
    lens: Lens | None,
    segmenter: Segmenter,
    settings: Mapping[str, Any],
    config: MaskConfig,
    guidance: GuidanceSource | None,
) -> _Entry:
    data = read_photo(path)
    job = Job(index, path, job_digest(data), is_stored_sideways(path, data, size), config.max_side, lens)
    fields = {
        "image": job.digest,
        "turned": job.turn,
        "max_side": config.max_side,
        "generator": segmenter.name,
        **settings,
    }
    if lens is not None:
        fields["lens"] = repr(lens)
    if segmenter.uses_guidance:
        fields["guidance"] = None if guidance is None else guidance.fingerprint(index)
    return _Entry(job, fields)


def _look_up(cache: SegmentCache, entries: Sequence[_Entry]) -> tuple[dict[int, int], list[_Entry]]:
    """Numbers of segments of what the cache has, and what it lacks; says why photos seen before are segmented again."""
    num_segments: dict[int, int] = {}
    missing: list[_Entry] = []
    again: dict[str, list[Path]] = {}
    for entry in entries:
        reason = ""
        try:
            found = cache.read(entry.fields)
        except DamagedCacheFile as error:
            found, reason = None, str(error)
        if found is not None:
            num_segments[entry.job.index] = len(found.segments)
        else:
            missing.append(entry)
            reason = reason or "; ".join(cache.changed_fields(entry.job.path, entry.fields))
        cache.note(entry.job.path, entry.fields)
        if reason:
            again.setdefault(reason, []).append(entry.job.path)
    for reason, paths in again.items():
        logger.warning("Segmenting %s again: %s", listed([path.name for path in paths]), reason)
    return num_segments, missing


def _segment(
    config: MaskConfig,
    segmenter: Segmenter,
    cache: SegmentCache,
    missing: Sequence[_Entry],
    guidance: GuidanceSource | None,
) -> dict[int, int]:
    fields = {entry.job.index: entry.fields for entry in missing}
    jobs = [entry.job for entry in missing]
    if guidance is not None:
        guidance.prepare(config.superpixels)
    if config.engine == "ray":
        results = run_on_ray(make_segmenter, config, jobs, guidance)
    else:
        results = run_local(segmenter, jobs, guidance)
    num_segments: dict[int, int] = {}
    with progress_bar() as progress:
        task = progress.add_task(f"Segmenting ({segmenter.name})", total=len(jobs))
        for job, found in results:
            cache.write(fields[job.index], found)
            num_segments[job.index] = len(found.segments)
            progress.advance(task)
    return num_segments


def _cached(cache: SegmentCache, entry: _Entry) -> ImageSegments:
    try:
        found = cache.read(entry.fields)
    except DamagedCacheFile as error:
        raise ValueError(f"{error}, and it was whole when the run began: start the run again") from error
    if found is None:
        raise ValueError(
            f"the segments of {entry.job.path} ({cache.path(entry.fields)}) were deleted while in use: "
            "start the run again"
        )
    return found


def _report_empty(empty: Sequence[Path], config: MaskConfig) -> None:
    if empty:
        logger.warning(
            "The generator %s found no segment in %s: these views teach nothing. Lower its thresholds, or remove "
            "the photos",
            config.mask_generator,
            listed([path.name for path in empty]),
        )
