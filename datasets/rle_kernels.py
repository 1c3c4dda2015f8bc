"""Compiled loops that read COCO RLE into packed masks; imported when the first RLE is decoded."""

from __future__ import annotations

import numpy as np

from .jit import compiled

_1 = np.uint64(1)


@compiled("int64(uint8[::1], int64[::1])")
def run_lengths(text, lengths):  # type: ignore[no-untyped-def]
    """The run lengths in the compressed string of the COCO API, background first.

    The string keeps five bits a character, lowest first; bit 5 says that more follow, bit 4 of the last one is the
    sign. From the fourth on, a length is the difference to the one before the last (cocodataset/cocoapi, rleFrString).

    Args:
        text: the characters.
        lengths: as many, receives the lengths.

    Returns:
        The number of lengths; -1 for other characters, a run of more than 35 bits, or a string that is cut short.
    """
    n = k = value = 0
    for character in text:
        digit = np.int64(character) - 48
        if digit < 0 or digit > 63 or k > 6:
            return -1
        value |= (digit & 31) << (5 * k)
        k += 1
        if digit & 32:
            continue
        if digit & 16:
            value |= np.int64(-1) << (5 * k)
        lengths[n] = value + lengths[n - 2] if n > 2 else value
        n += 1
        value = k = 0
    return n if k == 0 else -1


@compiled("void(int64[::1], uint64[:, ::1])")
def draw_runs(lengths, words):  # type: ignore[no-untyped-def]
    """Draw alternating runs of zeros and ones, counted down the columns, into empty packed rows that they fill.

    A run toggles one bit where it starts in a column and one below its end; the running exclusive-or down the rows
    then gives the mask, so that the cost depends on the number of runs and not on the area.
    """
    height, n = words.shape
    start = 0
    for k in range(lengths.size):
        end = start + lengths[k]
        if k % 2 == 1 and end > start:
            x, y = start // height, start % height
            words[y, x // 64] ^= _1 << np.uint64(x % 64)
            for x in range(start // height + 1, (end - 1) // height + 1):
                words[0, x // 64] ^= _1 << np.uint64(x % 64)
            x, y = end // height, end % height
            if y != 0:
                words[y, x // 64] ^= _1 << np.uint64(x % 64)
        start = end
    for y in range(1, height):
        for j in range(n):
            words[y, j] ^= words[y - 1, j]
