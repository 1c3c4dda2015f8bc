"""Compiled loops of the PNG reader, for one byte a pixel or less; imported when the first PNG is decoded.

Rows are handled eight pixels at a time as little-endian words. Masks are mostly flat, and over flat areas the PNG
filters leave zeros, so almost every word takes one of the short cuts; the byte-wise definitions (PNG specification,
section 9) remain for the outlines.
"""

from __future__ import annotations

import numpy as np
from numba import int64, types, uint8, uint64

from .jit import compiled

# The C library hands freed arrays of this size back to the system, and the next picture pays for fresh pages: half of
# its decoding time. Freeing one larger block first makes glibc keep up to twice its size (its pages are never touched).
np.empty(1 << 24, np.uint8)

_LOW = np.uint64(0x7F7F7F7F7F7F7F7F)
_HIGH = np.uint64(0x8080808080808080)
_SPREAD = np.uint64(0x0101010101010101)
_ZERO = np.uint64(0)
_S8, _S16, _S32, _S56 = np.uint64(8), np.uint64(16), np.uint64(32), np.uint64(56)
_READ_ONLY = types.Array(uint8, 2, "C", readonly=True)


@compiled("uint64(uint64, uint64)")
def _add_bytes(a, b):  # type: ignore[no-untyped-def]
    """Eight sums modulo 256 in one word; no carry crosses a byte."""
    return ((a & _LOW) + (b & _LOW)) ^ ((a ^ b) & _HIGH)


@compiled("void(uint64[::1])")
def _undo_sub(row):  # type: ignore[no-untyped-def]
    left = _ZERO
    for j in range(row.size):
        x = row[j]
        if x != _ZERO:
            x = _add_bytes(x, x << _S8)
            x = _add_bytes(x, x << _S16)
            x = _add_bytes(x, x << _S32)
            x = _add_bytes(x, left)
            row[j] = x
            left = (x >> _S56) * _SPREAD
        else:
            row[j] = left


@compiled("void(uint8[::1], uint8[::1])")
def _undo_up(row, above):  # type: ignore[no-untyped-def]
    for j in range(row.size):
        row[j] += above[j]


@compiled("void(uint64[::1], uint64[::1], uint8[::1], uint8[::1])")
def _undo_average(words, words_above, row, above):  # type: ignore[no-untyped-def]
    left = np.int64(0)
    for j in range(words.size):
        flat = np.uint64(left) * _SPREAD
        if words[j] == _ZERO and words_above[j] == flat:
            words[j] = flat
            continue
        for i in range(8 * j, 8 * j + 8):
            left = (np.int64(row[i]) + ((left + np.int64(above[i])) >> 1)) & 255
            row[i] = left


@compiled("void(uint64[::1], uint64[::1], uint8[::1], uint8[::1])")
def _undo_paeth(words, words_above, row, above):  # type: ignore[no-untyped-def]
    left = np.int64(0)
    corner = np.int64(0)
    for j in range(words.size):
        if words[j] == _ZERO:
            if left == corner:  # the predictor is then the pixel above, all along the word
                words[j] = words_above[j]
                left = corner = np.int64(above[8 * j + 7])
                continue
            if words_above[j] == np.uint64(corner) * _SPREAD:  # above equals the corner: the predictor is left
                words[j] = np.uint64(left) * _SPREAD
                continue
        for i in range(8 * j, 8 * j + 8):
            up = np.int64(above[i])
            to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            if to_left <= to_up and to_left <= to_corner:
                predicted = left
            elif to_up <= to_corner:
                predicted = up
            else:
                predicted = corner
            left = (np.int64(row[i]) + predicted) & 255
            corner = up
            row[i] = left


@compiled(int64(_READ_ONLY, uint8[:, ::1], uint64[:, ::1]))
def unfilter(stored, rows, words):  # type: ignore[no-untyped-def]
    """Undo the PNG row filters.

    Args:
        stored: uint8 (H, 1 + n), the filter type of each row and its filtered bytes; read-only.
        rows: uint8 (H, n rounded up to words), receives the bytes; what is beyond n means nothing.
        words: the same memory as uint64.

    Returns:
        The number of the first row whose filter type is none of 0-4, or -1.
    """
    n = stored.shape[1] - 1
    nothing = np.zeros(rows.shape[1], np.uint8)
    nothing_words = np.zeros(words.shape[1], np.uint64)
    for y in range(rows.shape[0]):
        row, source, kind = rows[y], stored[y, 1:], stored[y, 0]
        for i in range(n):
            row[i] = source[i]
        for i in range(n, row.size):
            row[i] = 0
        above = rows[y - 1] if y > 0 else nothing
        words_above = words[y - 1] if y > 0 else nothing_words
        if kind == 1:
            _undo_sub(words[y])
        elif kind == 2:
            _undo_up(row, above)
        elif kind == 3:
            _undo_average(words[y], words_above, row, above)
        elif kind == 4:
            _undo_paeth(words[y], words_above, row, above)
        elif kind != 0:
            return y
    return -1
