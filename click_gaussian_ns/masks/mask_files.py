"""One photo's masks in one file or folder: pictures and arrays, as segmenters and other tools leave them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt16
from PIL import Image, UnidentifiedImageError

from click_gaussian_ns.files import check_npy_header, one_line, read_npy, read_torch_file
from click_gaussian_ns.masks.images import same_proportions
from click_gaussian_ns.masks.segmenter import Segment, encode_masks

_GREY = ("I;16", "I;16L", "I;16B", "I", "L", "P", "1")
_MAX_LABEL = np.iinfo(np.uint16).max
_EXPECTED_STACK = "Expected an array of masks [K, H, W], or of labels [H, W]"


def read_label_map(path: Path) -> UInt16[np.ndarray, "H W"]:
    """A label map: greyscale (or indexed) PNG of 16 or 8 bits, 0 = unassigned.

    Raises:
        ValueError: missing, unreadable, or of another pixel format.
    """
    labels = _grey_values(
        path,
        "expected a greyscale PNG of 16 bits whose values are segment IDs (0 = unassigned); a coloured picture of "
        "segments cannot be used",
    )
    if labels.dtype.itemsize > 2 and labels.max(initial=0) > _MAX_LABEL:
        raise ValueError(f"{path} has segment IDs above {_MAX_LABEL}: renumber them")
    return labels.astype(np.uint16)


def read_binary_masks(folder: Path) -> list[Segment]:
    """A folder of black-and-white PNGs, one a segment.

    Raises:
        ValueError: a file is no such picture.
    """
    segments: list[Segment] = []
    for path in sorted(folder.glob("*.png")):
        values = _grey_values(path, "expected a black-and-white mask (0 = outside)")
        segments += segments_of((values > 0)[None])
    return segments


def segments_of(masks: np.ndarray) -> list[Segment]:
    """Segments of boolean masks [K, H, W]; empty ones are left out."""
    areas = masks.reshape(len(masks), -1).sum(axis=1).tolist()
    rles = (encode_masks(mask[None])[0] for mask in masks)
    return [Segment(rle, int(area), predicted_iou=1.0, stability=1.0) for rle, area in zip(rles, areas) if area]


def read_array(path: Path) -> np.ndarray:
    """The array of a .npy, .npz or .pt file.

    Raises:
        ValueError: cut off, damaged, or no such file; an .npz of several arrays.
    """
    if path.suffix == ".npz":
        return _read_npz(path)
    if path.suffix == ".npy":
        return read_npy(path, _EXPECTED_STACK)
    import torch

    found = read_torch_file(path, _EXPECTED_STACK)
    if isinstance(found, (list, tuple)) and found and all(isinstance(mask, torch.Tensor) for mask in found):
        if len({mask.shape for mask in found}) > 1:
            raise ValueError(f"{path}: its masks are of several sizes. {_EXPECTED_STACK}")
        found = torch.stack(list(found))
    if not isinstance(found, torch.Tensor) or found.is_complex() or found.is_quantized or found.is_sparse:
        raise ValueError(f"{path} holds no tensor of masks. {_EXPECTED_STACK}")
    return found.float().numpy() if found.dtype is torch.bfloat16 else found.numpy()


def _read_npz(path: Path) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(names) != 1 and "masks.npy" not in names:
                raise ValueError(f"it holds the arrays {', '.join(names[:3])}: keep one, or call it masks")
            name = names[0] if len(names) == 1 else "masks.npy"
            with archive.open(name) as member:
                check_npy_header(member, archive.getinfo(name).file_size)
        with np.load(path, allow_pickle=False) as arrays:
            return arrays[name.removesuffix(".npy")]
    # zip and numpy pass on all that can go wrong in a damaged file
    except Exception as error:
        raise ValueError(f"{path}: cannot be read as a .npz file ({one_line(error)}). {_EXPECTED_STACK}") from error


def label_stack(path: Path, array: np.ndarray, num_levels: int) -> list[UInt16[np.ndarray, "H W"]] | None:
    """An array of labels as one map per level, coarse to fine; None for an array of masks.

    Args:
        path: for errors.
        array: [H, W], one map for all levels; [L, H, W] with as many maps as levels, coarse to fine; or LangSplat's
            [4, H, W]: all, small, middle, large. Where there are negative numbers, they are what is unassigned.
        num_levels: how many maps are wanted.

    Raises:
        ValueError: an array of another kind.
    """
    if array.ndim == 3 and _is_binary(array):
        return None
    if array.ndim == 2:
        maps = [array] * num_levels
    elif array.ndim == 3 and len(array) == 4:
        _, small, middle, large = array
        maps = [large, small] if num_levels == 2 else [large, middle, small]
    elif array.ndim == 3 and len(array) == num_levels:
        maps = list(array)
    else:
        raise ValueError(f"{path} is an array of shape {list(array.shape)}. {_EXPECTED_STACK}")
    return [_numbered(path, labels) for labels in maps]


def _is_binary(array: np.ndarray) -> bool:
    """Of two values at most, neither negative."""
    if array.dtype == np.bool_ or not array.size:
        return array.dtype == np.bool_
    low, high = array.min(), array.max()
    return bool(low >= 0 and ((array == low) | (array == high)).all())


def _numbered(path: Path, labels: np.ndarray) -> UInt16[np.ndarray, "H W"]:
    """Numbers mean nothing beyond one map: those that 16 bits cannot hold are given anew."""
    shift = 1 if labels.size and labels.min() < 0 else 0
    found = np.maximum(labels.astype(np.int64) + shift, 0)
    if found.max(initial=0) > _MAX_LABEL:
        ids, found = np.unique(found, return_inverse=True)
        found = found.reshape(labels.shape) + (0 if ids[0] == 0 else 1)
        if len(ids) > _MAX_LABEL:
            raise ValueError(f"{path} has {len(ids)} segments, more than the {_MAX_LABEL} that can be numbered")
    return found.astype(np.uint16)


def oriented(path: Path, array: np.ndarray, proportions: tuple[int, int]) -> np.ndarray:
    """Whole numbers or booleans, the axis of masks first.

    Args:
        path: for errors.
        array: as read; masks may be probabilities.
        proportions: (height, width) of the photo.

    Raises:
        ValueError: no array of masks or labels.
    """
    if array.ndim == 4 and 1 in array.shape:
        array = array.squeeze(axis=array.shape.index(1))
    if array.ndim not in (2, 3) or array.dtype.kind not in "biuf" or 0 in array.shape[-2:]:
        raise ValueError(f"{path} is an array of {array.dtype} of shape {list(array.shape)}. {_EXPECTED_STACK}")
    if array.ndim == 3:
        first, second, third = array.shape
        if not same_proportions((second, third), proportions) and same_proportions((first, second), proportions):
            array = np.moveaxis(array, -1, 0)
    if array.dtype.kind != "f":
        return array
    if not np.isfinite(array).all():
        raise ValueError(f"{path} has numbers that are not finite. {_EXPECTED_STACK}")
    if array.min(initial=0) >= 0 and array.max(initial=0) <= 1:
        return array > 0.5
    if (array != np.rint(array)).any():
        raise ValueError(
            f"{path} has numbers that are neither labels nor in [0, 1], such as logits: threshold them first"
        )
    return array.astype(np.int64)


def _grey_values(path: Path, expected: str) -> np.ndarray:
    """The values of a picture as stored [H, W]; one in colour must be grey after all."""
    image = _open_mask(path)
    values = np.asarray(image)
    if image.mode in ("RGB", "RGBA") and (values[..., :1] == values[..., :3]).all():
        return values[..., 0]
    if image.mode not in _GREY:
        raise ValueError(f"{path} has {image.mode} pixels: {expected}")
    return values


def _open_mask(path: Path) -> Image.Image:
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image ({one_line(error)}): export the mask again") from error
