"""What segmenting with SAM would take on this CPU: measured, not guessed, in some seconds and once per machine."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

from click_gaussian_ns.files import cache_folder, write_renamed
from click_gaussian_ns.masks.config import SamConfig
from click_gaussian_ns.masks.images import decode_image, read_photo
from click_gaussian_ns.masks.memory import free_memory_bytes

logger = logging.getLogger(__name__)

_NEEDED_BYTES = 5 * 2**30
"""The encoder's attention over the whole picture takes 4 GB."""
_PROBED_POINTS = 8


def seconds_per_photo(photo: Path) -> float | None:
    """How long SAM ViT-B takes for a photo on this machine's CPU; None where its package or the memory is missing.

    Timed on the photo with random weights, which cost what trained ones do: one of the encoder's windowed blocks, one
    of its global ones, and the decoding of some points of the grid; the rest is multiplied.

    Args:
        photo: the first of the scene.
    """
    machine = f"{platform.node()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} threads, torch {torch.__version__}"
    kept = cache_folder("sam_on_cpu") / "seconds.json"
    try:
        return float(json.loads(kept.read_text())[machine])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if free_memory_bytes() < _NEEDED_BYTES:
        return None
    try:
        found = _measure(photo)
    except ImportError:
        return None
    write_renamed(kept, json.dumps({machine: found}).encode())
    return found


@torch.inference_mode()
def _measure(photo: Path) -> float:
    from segment_anything import sam_model_registry
    from segment_anything.utils.transforms import ResizeLongestSide

    sam = sam_model_registry["vit_b"](checkpoint=None).eval()
    encoder = sam.image_encoder
    picture = ResizeLongestSide(encoder.img_size).apply_image(decode_image(photo, read_photo(photo)))
    pixels = sam.preprocess(torch.from_numpy(picture).permute(2, 0, 1)[None].float())
    patches = encoder.patch_embed(pixels)
    windowed = next(block for block in encoder.blocks if block.window_size)
    whole = next(block for block in encoder.blocks if not block.window_size)
    num_whole = sum(not block.window_size for block in encoder.blocks)
    seconds = num_whole * _timed(lambda: whole(patches))
    seconds += (len(encoder.blocks) - num_whole) * _timed(lambda: windowed(patches))
    embedding = torch.zeros(1, 256, *sam.prompt_encoder.image_embedding_size)

    def decode() -> None:
        points = (torch.rand(_PROBED_POINTS, 1, 2) * encoder.img_size, torch.ones(_PROBED_POINTS, 1, dtype=torch.int))
        sparse, dense = sam.prompt_encoder(points, None, None)
        masks, _ = sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        sam.postprocess_masks(masks, picture.shape[:2], picture.shape[:2])

    return seconds + SamConfig.points_per_side**2 / _PROBED_POINTS * _timed(decode)


def _timed(work: Callable[[], object]) -> float:
    """Of two times the shorter: the first fills caches."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)
