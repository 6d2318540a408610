"""Average linkage of a sparse graph of similarities: what is no neighbour has similarity 0."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from jaxtyping import Float32, Int32, Int64
from numba import njit


def linked_groups(
    row_offsets: Int64[np.ndarray, " S_plus_1"],
    columns: Int32[np.ndarray, " nnz"],
    values: Float32[np.ndarray, " nnz"],
    least: float,
) -> Int32[np.ndarray, " S"]:
    """Group of every row: the two groups of the highest mean similarity become one while that is at least `least`.

    The graph is symmetric, without loops. Groups are numbered by their first row. By chains of nearest neighbours,
    which give the same groups as looking for the highest pair of all each time: a merged group is never nearer to a
    third than the nearer of its two parts was.
    """
    owners = _link(row_offsets, columns, values, np.float32(least))
    _, groups = np.unique(owners, return_inverse=True)
    return groups.astype(np.int32)


@njit(cache=True, nogil=True)
@no_type_check
def _link(offsets, columns, values, least):
    """The first row of every row's group."""
    num = offsets.shape[0] - 1
    owner, size = np.arange(num), np.ones(num, np.int64)
    following, last = np.full(num, -1, np.int64), np.arange(num)  # the rows of a group, as a linked list
    is_group = np.ones(num, np.bool_)
    sums, touched = np.zeros(num, np.float64), np.empty(num, np.int64)
    chain, length = np.empty(num + 1, np.int64), 0
    start = 0
    while True:
        if length == 0:
            while start < num and not is_group[start]:
                start += 1
            if start == num:
                return owner
            chain[0], length = start, 1
        group = chain[length - 1]
        before = chain[length - 2] if length > 1 else -1
        num_touched, row = 0, group
        while row >= 0:
            for k in range(offsets[row], offsets[row + 1]):
                other = owner[columns[k]]
                if other != group:
                    if sums[other] == 0.0:
                        touched[num_touched] = other
                        num_touched += 1
                    sums[other] += values[k]
            row = following[row]
        best, nearest = -1.0, -1
        for place in range(num_touched):
            other = touched[place]
            mean = sums[other] / (size[group] * size[other])
            sums[other] = 0.0
            # of equals the group before in the chain, or the chain would go round in circles
            if mean > best or (mean == best and (other == before or (nearest != before and other < nearest))):
                best, nearest = mean, other
        if nearest < 0 or best < least:
            # nothing is near enough, and nothing will be: only the chain's first can end here
            is_group[group], length = False, 0
            continue
        if nearest != before:
            chain[length] = nearest
            length += 1
            continue
        first, other = min(group, before), max(group, before)
        row = other
        while row >= 0:
            owner[row] = first
            row = following[row]
        following[last[first]] = other
        last[first] = last[other]
        size[first] += size[other]
        is_group[other] = False
        length -= 2
