"""COCO's compressed run lengths, read and painted without a mask in between."""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba import njit

from click_gaussian_ns.raster.kernel_cache import use_kernel_cache

use_kernel_cache()


@njit(cache=True, nogil=True)
@no_type_check
def paint_runs(counts, label, columns):
    """Writes a label over the pixels of a mask.

    A number is written in groups of five bits, lowest first, as characters from "0" on; the sixth bit says that more
    follow, and the last group's fifth bit is the sign. From the fourth number on it is the difference to the number
    two before. Numbers are the lengths of runs outside and inside the mask, in turn.

    Args:
        counts: [S] uint8, the characters.
        label: what to write.
        columns: [W * H] pixels, column by column; changed in place.

    Returns:
        Pixels that the runs cover; -1 where the encoding is garbled. Nothing is written beyond the end.
    """
    before, last = 0, 0
    number, shift, index, place = 0, 0, 0, 0
    for character in counts:
        group = np.int64(character) - 48
        if group < 0 or group > 63 or shift > 55:
            return -1
        number |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            number -= 1 << shift
        if index > 2:
            number += before
        if number < 0:
            return -1
        if index % 2 == 1:
            columns[place : place + number] = label
        place += number
        before, last = last, number
        number, shift = 0, 0
        index += 1
    return place if shift == 0 else -1
