"""Products of compressed sparse rows with dense features on CPU, in parallel and without races."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit, prange

from click_gaussian_ns.raster.scalar_math import prefetch

_ZERO = np.float32(0.0)
_AHEAD = 16
"""Entries between one that is worked on and the one whose row memory is asked for."""


@njit(inline="always")
@no_type_check
def _fetch_row(flat, row, num_channels):
    start = np.intp(row) * num_channels
    prefetch(flat, start)
    prefetch(flat, start + num_channels - 1)


@njit(parallel=True, cache=True, nogil=True)
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


@njit(parallel=True, cache=True, nogil=True)
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
