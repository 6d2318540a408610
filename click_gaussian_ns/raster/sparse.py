"""Products of compressed sparse rows with dense features on CPU, in parallel and without races."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
import torch
from jaxtyping import Float32
from numba import njit, prange
from torch import Tensor

from click_gaussian_ns.raster.parallel_kernel import parallel_kernel
from click_gaussian_ns.raster.scalar_math import prefetch
from click_gaussian_ns.types import BlendWeights, SegmentWeights

_ZERO = np.float32(0.0)
_BLOCK_BYTES = 2**20
"""Of sums that one thread holds at once: they stay in the second-level cache."""
_AHEAD = 16
"""Entries between one that is worked on and the one whose row memory is asked for."""


def csr(rows: BlendWeights | SegmentWeights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """row_offsets, columns, weights: what the kernels below take first."""
    return rows.row_offsets.numpy(), rows.gaussian_ids.numpy(), rows.weights.numpy()


def float32_array(tensor: Tensor) -> Float32[np.ndarray, ...]:
    """A tensor's values as kernels take them: without a copy where it is contiguous float32 on the CPU."""
    return tensor.detach().to(torch.float32).contiguous().numpy()


@njit(inline="always")
@no_type_check
def _fetch_row(flat, row, num_channels):
    start = np.intp(row) * num_channels
    prefetch(flat, start)
    prefetch(flat, start + num_channels - 1)


@parallel_kernel()
@no_type_check
def multiply(row_offsets, columns, weights, dense):
    """W x for W in compressed sparse rows and dense x [N, C] float32 -> [P, C] float32."""
    num_rows, num_channels = row_offsets.shape[0] - 1, dense.shape[1]
    out = np.empty((num_rows, num_channels), np.float32)
    flat = dense.reshape(-1)
    for p in prange(num_rows):
        row = out[p]
        row[:] = _ZERO
        for k in range(row_offsets[p], row_offsets[p + 1]):
            _fetch_row(flat, columns[min(k + _AHEAD, columns.shape[0] - 1)], num_channels)
            w, source = weights[k], dense[columns[k]]
            for c in range(num_channels):
                row[c] += w * source[c]
    return out


@parallel_kernel()
@no_type_check
def add_transposed(row_offsets, columns, weights, dense, out, num_threads):
    """out [N, C] += W^T y for dense y [P, C], all float32.

    Every thread walks all the entries but owns one stretch of the columns: no races, the same sum in any run.
    """
    num_columns, num_channels = out.shape
    stretch = (num_columns + num_threads - 1) // num_threads
    flat = out.reshape(-1)
    for thread in prange(num_threads):
        low, high = thread * stretch, min(num_columns, (thread + 1) * stretch)
        for p in range(row_offsets.shape[0] - 1):
            row = dense[p]
            for k in range(row_offsets[p], row_offsets[p + 1]):
                ahead, column = columns[min(k + _AHEAD, columns.shape[0] - 1)], columns[k]
                if ahead >= low and ahead < high:
                    _fetch_row(flat, ahead, num_channels)
                if column >= low and column < high:
                    w, target = weights[k], out[column]
                    for c in range(num_channels):
                        target[c] += w * row[c]


def multiply_transposed(row_offsets, columns, weights, dense, num_columns, num_threads):
    """W^T y for dense y [P, C] float32 -> [N, C] float32."""
    out = np.zeros((num_columns, dense.shape[1]), np.float32)
    add_transposed(row_offsets, columns, weights, dense, out, num_threads)
    return out


@parallel_kernel()
@no_type_check
def sum_by_label(row_offsets, columns, weights, labels, num_labels):
    """Weight of each label's columns in every row: [P, num_labels] float32, for labels [N] int32, below 0 for none."""
    num_rows = row_offsets.shape[0] - 1
    sums = np.zeros((num_rows, num_labels), np.float32)
    for p in prange(num_rows):
        row = sums[p]
        for k in range(row_offsets[p], row_offsets[p + 1]):
            label = labels[columns[k]]
            if label >= 0:
                row[label] += weights[k]
    return sums


def two_largest_transposed(row_offsets, columns, weights, dense, num_columns):
    """Of each row of W^T y [N, K], for dense y [P, K] float32 >= 0: the place of the largest number, int32 (-1: all are
    0), and the two largest [N, 2]. Columns must ascend in every row. W^T y is never held whole."""
    block = max(_BLOCK_BYTES // (4 * max(dense.shape[1], 1)), 64)
    return _two_largest_transposed(row_offsets, columns, weights, dense, num_columns, block)


@parallel_kernel()
@no_type_check
def _two_largest_transposed(row_offsets, columns, weights, dense, num_columns, block):
    num_rows, num_values = dense.shape
    place = np.full(num_columns, -1, np.int32)
    most = np.zeros((num_columns, 2), np.float32)
    for b in prange((num_columns + block - 1) // block):
        low, high = b * block, min(num_columns, (b + 1) * block)
        sums = np.zeros((high - low, num_values), np.float32)
        for p in range(num_rows):
            end, row = row_offsets[p + 1], dense[p]
            k = row_offsets[p] + np.searchsorted(columns[row_offsets[p] : end], low)
            while k < end and columns[k] < high:
                w, own = weights[k], sums[columns[k] - low]
                for c in range(num_values):
                    own[c] += w * row[c]
                k += 1
        for i in range(low, high):
            for c in range(num_values):
                value = sums[i - low, c]
                if value > most[i, 0]:
                    most[i, 1], most[i, 0], place[i] = most[i, 0], value, c
                elif value > most[i, 1]:
                    most[i, 1] = value
    return place, most
