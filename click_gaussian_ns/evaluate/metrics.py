"""Figures of merit of masks and of label maps. Pure NumPy; every one is defined in docs/evaluation.md."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64, Integer
from numpy.typing import ArrayLike
from scipy import ndimage
from scipy.optimize import linear_sum_assignment


def iou(predicted: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"]) -> float:
    """Intersection over union, in [0, 1]; 1 where both are empty."""
    union = np.count_nonzero(predicted | truth)
    return float(np.count_nonzero(predicted & truth) / union) if union else 1.0


def pixel_accuracy(predicted: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"]) -> float:
    """Share of all pixels that are rightly inside or rightly outside (what NVOS and SPIn-NeRF tables call Acc)."""
    return float(1.0 - np.count_nonzero(predicted ^ truth) / truth.size)


def boundary_width_px(size: tuple[int, int], ratio: float) -> int:
    """Width of the band that `boundary_iou` compares: a share of the diagonal of an image (height, width), >= 1 px."""
    return max(1, round(ratio * float(np.hypot(*size))))


def boundary_band(mask: Bool[np.ndarray, "H W"], width_px: int) -> Bool[np.ndarray, "H W"]:
    """Pixels of the mask within this chessboard distance of its outside; beyond the image is outside."""
    band = np.zeros_like(mask)
    box = ndimage.find_objects(mask.astype(np.uint8))
    if not box or box[0] is None:
        return band
    rows, columns = box[0]
    # what is one pixel off the box is outside, and nothing farther off can be nearer
    inner = np.pad(mask[rows, columns], 1)
    distance = np.asarray(ndimage.distance_transform_cdt(inner, metric="chessboard"))[1:-1, 1:-1]
    band[rows, columns] = (distance > 0) & (distance <= width_px)
    return band


def boundary_iou(predicted: Bool[np.ndarray, "H W"], truth: Bool[np.ndarray, "H W"], width_px: int) -> float:
    """Intersection over union of the two masks' inner boundary bands (Cheng et al., CVPR 2021)."""
    return iou(boundary_band(predicted, width_px), boundary_band(truth, width_px))


def contingency(
    truth: Integer[np.ndarray, "*shape"], predicted: Integer[np.ndarray, "*shape"], num_truth: int, num_predicted: int
) -> Int64[np.ndarray, "T P"]:
    """How many pixels have each pair of labels: truth in [0, num_truth), predicted in [0, num_predicted)."""
    pairs = truth.ravel().astype(np.int64) * num_predicted + predicted.ravel()
    return np.bincount(pairs, minlength=num_truth * num_predicted).reshape(num_truth, num_predicted)


def matched_ious(
    intersections: Int64[np.ndarray, "T P"], truth_sizes: Int64[np.ndarray, " T"], sizes: Int64[np.ndarray, " P"]
) -> list[float]:
    """IoU of each true object with the segment matched to it; each segment is matched once, so that the sum is largest.

    0 for an object without a segment of its own.
    """
    unions = truth_sizes[:, None] + sizes[None, :] - intersections
    ious = intersections / np.maximum(unions, 1)
    matched = np.zeros(len(truth_sizes))
    rows, columns = linear_sum_assignment(ious, maximize=True)
    matched[rows] = ious[rows, columns]
    return matched.tolist()


def adjusted_rand_index(pairs: Int64[np.ndarray, "T P"]) -> float:
    """Agreement of two labellings of the same pixels (Hubert and Arabie, 1985): 1 is equal, 0 is chance.

    Args:
        pairs: their contingency table.
    """
    cells, total = _num_pairs(pairs), _num_pairs(pairs.sum())
    rows, columns = _num_pairs(pairs.sum(1)), _num_pairs(pairs.sum(0))
    expected = rows * columns / total if total else 0.0
    largest = (rows + columns) / 2
    return float((cells - expected) / (largest - expected)) if largest != expected else 1.0


def _num_pairs(counts: ArrayLike) -> float:
    """Pairs of pixels within groups of these sizes; in floating point, as their products overflow 64 bits."""
    sizes = np.asarray(counts, np.float64)
    return float((sizes * (sizes - 1) / 2).sum())
