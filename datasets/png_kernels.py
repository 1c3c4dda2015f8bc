"""Compiled loops of the PNG reader, for one byte a pixel or less; imported when the first PNG is decoded.

Rows are handled eight pixels at a time as little-endian words. Masks are mostly flat, and over flat areas the PNG
filters leave zeros, so almost every word takes one of the short cuts; the byte-wise definitions (PNG specification,
section 9) remain for the outlines. Where only the mask is wanted, two rows are held and each is packed to bits at
once, so that the picture itself is never written to memory.
"""

from __future__ import annotations

import numpy as np
from numba import int64, types, uint8, uint64

from .jit import compiled

# The C library hands freed arrays of this size back to the system, and the next picture pays for fresh pages: half of
# its decoding time. Freeing one larger block first makes glibc keep up to twice its size (its pages are never touched).
np.empty(1 << 24, np.uint8)

#: What ``unfilter`` returns for pictures of several values; below it, corrupt ones.
SEVERAL = -1

_LOW = np.uint64(0x7F7F7F7F7F7F7F7F)
_HIGH = np.uint64(0x8080808080808080)
_SPREAD = np.uint64(0x0101010101010101)
_BYTE = np.uint64(255)
_0, _7, _8, _14, _16, _28, _32, _56 = (np.uint64(n) for n in (0, 7, 8, 14, 16, 28, 32, 56))
_READ_ONLY = types.Array(uint8, 2, "C", readonly=True)


@compiled("uint64(uint64, uint64)", inner=True)
def _add_bytes(a, b):  # type: ignore[no-untyped-def]
    """Eight sums modulo 256 in one word; no carry crosses a byte."""
    return ((a & _LOW) + (b & _LOW)) ^ ((a ^ b) & _HIGH)


@compiled("void(uint64[:, ::1], uint8[:, ::1], int64, int64, int64)", inner=True)
def _undo_filter(words, rows, here, above, kind):  # type: ignore[no-untyped-def]
    """Undo the filter (1 Sub, 2 Up, 3 Average, 4 Paeth) of row ``here`` with the help of row ``above``."""
    left = corner = np.int64(0)
    if kind == 1:
        for j in range(words.shape[1]):
            x = words[here, j]
            flat = np.uint64(left) * _SPREAD
            if x != _0:
                x = _add_bytes(x, x << _8)
                x = _add_bytes(x, x << _16)
                x = _add_bytes(x, x << _32)
                flat = _add_bytes(x, flat)
                left = np.int64(flat >> _56)
            words[here, j] = flat
    elif kind == 2:
        for j in range(words.shape[1]):
            words[here, j] = _add_bytes(words[here, j], words[above, j])
    elif kind == 3:
        for j in range(words.shape[1]):
            flat = np.uint64(left) * _SPREAD
            if words[here, j] == _0 and words[above, j] == flat:
                words[here, j] = flat
                continue
            for i in range(8 * j, 8 * j + 8):
                left = (np.int64(rows[here, i]) + ((left + np.int64(rows[above, i])) >> 1)) & 255
                rows[here, i] = left
    else:
        for j in range(words.shape[1]):
            if words[here, j] == _0:
                if left == corner:  # the predictor is then the pixel above, all along the word
                    words[here, j] = words[above, j]
                    left = corner = np.int64(words[above, j] >> _56)
                    continue
                if words[above, j] == np.uint64(corner) * _SPREAD:  # above equals the corner: the predictor is left
                    words[here, j] = np.uint64(left) * _SPREAD
                    continue
            for i in range(8 * j, 8 * j + 8):
                up = np.int64(rows[above, i])
                to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
                if to_left <= to_up and to_left <= to_corner:
                    predicted = left
                elif to_up <= to_corner:
                    predicted = up
                else:
                    predicted = corner
                left = (np.int64(rows[here, i]) + predicted) & 255
                corner = up
                rows[here, i] = left


@compiled(int64(_READ_ONLY, uint64[:, ::1], uint8[:, ::1], uint8[:, ::1]))
def unfilter(stored, words, rows, bits):  # type: ignore[no-untyped-def]
    """Undo the PNG row filters, and pack the pixels that are not 0.

    Args:
        stored: uint8 (H, 1 + n), the filter type of each row and its filtered bytes; read-only.
        words: uint64 (R, n / 8 rounded up), its first row zeros. Row y goes to row (y + 1) % R: all of them stay
            where R is H + 1, the last two where R is 2. Bytes beyond n are 0.
        rows: the same memory as bytes.
        bits: zeros (H, at least the words of a row), receives a bit for each byte that is not 0, bit x % 8 of byte
            x // 8 for pixel x; without rows, nothing is packed.

    Returns:
        Where bits are packed, the one value besides 0 (0 where there is none) or SEVERAL; -2 - y where the filter
        type of row y is none of 0 to 4.
    """
    n, padded, last = stored.shape[1] - 1, rows.shape[1], rows.shape[0] - 1
    wanted = bits.shape[0] > 0
    value = others = _0  # the first value found, in every byte; bits of pixels that are neither it nor 0
    here = 0
    for y in range(stored.shape[0]):
        above = here
        here = here + 1 if here < last else 0
        kind = np.int64(stored[y, 0])
        if kind > 4:
            return -2 - y
        for i in range(n):
            rows[here, i] = stored[y, i + 1]
        for i in range(n, padded):
            rows[here, i] = 0
        if kind != 0:
            _undo_filter(words, rows, here, above, kind)
            for i in range(n, padded):
                rows[here, i] = 0
        if not wanted:
            continue
        seen = _0
        for j in range(words.shape[1]):
            seen |= words[here, j]
        if seen == _0:
            continue
        if value == _0:
            seen |= seen >> _32
            seen |= seen >> _16
            seen |= seen >> _8
            value = (seen & _BYTE) * _SPREAD
        for j in range(words.shape[1]):
            x = words[here, j]
            high = (((x & _LOW) + _LOW) | x) & _HIGH  # the highest bit of every byte that is not 0
            others |= x ^ (value & (high | (high - (high >> _7))))
            x = high >> _7
            x |= x >> _7
            x |= x >> _14
            x |= x >> _28
            bits[y, j] = np.uint8(x & _BYTE)
    return SEVERAL if others != _0 else np.int64(value & _BYTE)
