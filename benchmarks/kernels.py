"""Compiled loops of the metrics, on masks packed 64 pixels a word; imported when the first mask is scored.

Pixel x of a row is bit ``x % 64`` of word ``x // 64``. Shifts of whole rows then move 64 pixels at once, and every
loop below runs over long flat arrays, so that the compiler vectorises it. Exactness needs no argument beyond set
algebra: the results are counts of pixels, in integers.
"""

from __future__ import annotations

import numpy as np

from ..datasets.jit import compiled

_0, _1, _2, _4, _56, _63, _64 = (np.uint64(n) for n in (0, 1, 2, 4, 56, 63, 64))
_TOP = np.uint64(1 << 63)
_PAIRS = np.uint64(0x5555555555555555)
_NIBBLES = np.uint64(0x3333333333333333)
_BYTES = np.uint64(0x0F0F0F0F0F0F0F0F)
_SPREAD = np.uint64(0x0101010101010101)


@compiled("int64(uint64)", inner=True)
def _ones(word):  # type: ignore[no-untyped-def]
    """The number of set bits (the compiler knows this idiom and uses the machine's instruction)."""
    word = word - ((word >> _1) & _PAIRS)
    word = (word & _NIBBLES) + ((word >> _2) & _NIBBLES)
    return np.int64((((word + (word >> _4)) & _BYTES) * _SPREAD) >> _56)


@compiled("UniTuple(int64, 5)(uint64[:, ::1])")
def extent(words):  # type: ignore[no-untyped-def]
    """(area, top, bottom, left, right) of the object, the last two exclusive like slices; all 0 where it is empty."""
    height, n = words.shape
    columns = np.zeros(n, np.uint64)
    area = top = bottom = 0
    for y in range(height):
        before = area
        for j in range(n):
            area += _ones(words[y, j])
            columns[j] |= words[y, j]
        if area > before:
            top = y if before == 0 else top
            bottom = y + 1
    if area == 0:
        return 0, 0, 0, 0, 0
    first, last = 0, n - 1
    while columns[first] == _0:
        first += 1
    while columns[last] == _0:
        last -= 1
    left, right = 64 * first, 64 * last + 64
    leftmost, rightmost = columns[first], columns[last]  # copies: both may be the same word
    while (leftmost & _1) == _0:
        leftmost >>= _1
        left += 1
    while (rightmost & _TOP) == _0:
        rightmost <<= _1
        right -= 1
    return area, top, bottom, left, right


@compiled("int64(uint64[::1], uint64[::1], int64, int64, int64, int64)", inner=True)
def _boundary(padded, out, rows, stride, n, width):  # type: ignore[no-untyped-def]
    """Pixels that differ from their right, lower or lower-right neighbour; returns their number.

    Args:
        padded: the mask's rows and one row more, ``stride`` words each, and one word more.
        out: the boundary's rows.
        n, width: words and pixels of a row that mean something.
    """
    size = rows * stride
    here, after = padded[:size], padded[1 : size + 1]
    under, under_after = padded[stride : stride + size], padded[stride + 1 : stride + 1 + size]
    for i in range(size):
        pixel, below = here[i], under[i]
        right = (pixel >> _1) | (after[i] << _63)
        below_right = (below >> _1) | (under_after[i] << _63)
        out[i] = (pixel ^ right) | (pixel ^ below) | (pixel ^ below_right)
    inside = (_1 << np.uint64(width & 63)) - _1 if width & 63 else ~_0
    count = 0
    for start in range(0, rows * stride, stride):
        out[start + n - 1] &= inside
        for i in range(start + n, start + stride):
            out[i] = _0
    for i in range(size):
        count += _ones(out[i])
    return count


@compiled("void(uint64[::1], uint64[::1], int64)", inner=True)
def _widen(wide, wider, step):  # type: ignore[no-untyped-def]
    """Every pixel of ``wide`` and its neighbours at the distance ``step`` (1 to 63) to the left and right."""
    shift, back = np.uint64(step), np.uint64(64 - step)
    for i in range(1, wide.size - 1):
        word = wide[i]
        wider[i] = word | (word << shift) | (word >> shift) | (wide[i - 1] >> back) | (wide[i + 1] << back)


@compiled("void(uint64[::1], uint64[::1])", inner=True)
def _add(out, more):  # type: ignore[no-untyped-def]
    for i in range(out.size):
        out[i] |= more[i]


@compiled("void(uint64[::1], uint64[::1], int64, int64)", inner=True)
def _dilate(source, out, stride, radius):  # type: ignore[no-untyped-def]
    """Dilate by the disk dx² + dy² <= radius²: widen every row as far as the disk is wide at dy, then add it there."""
    wide = np.zeros(source.size + 2, np.uint64)
    wider = np.zeros(source.size + 2, np.uint64)
    for i in range(source.size):
        wide[i + 1] = source[i]
    reached = 0
    for dy in range(radius, -1, -1):
        half_width = np.int64(np.sqrt(radius * radius - dy * dy))
        while reached < half_width:
            step = min(2 * reached + 1, half_width - reached, 63)
            _widen(wide, wider, step)
            wide, wider = wider, wide
            reached += step
        offset = dy * stride
        if offset < out.size:
            _add(out[offset:], wide[1:])
            _add(out[: out.size - offset], wide[1 + offset :])


@compiled("int64(uint64[:, ::1], int64, int64, int64, int64, int64, uint64[:, ::1])")
def prepare(words, width, radius, top, first, n, planes):  # type: ignore[no-untyped-def]
    """Fill the planes of a crop: the mask, its boundary, and what lies within ``radius`` of the boundary.

    Args:
        words: the packed mask (H, W / 64 rounded up).
        width: W in pixels.
        radius: tolerance in pixels, Euclidean, inclusive.
        top, first, n: first row, first word and words per row of the crop. It holds the object with ``radius + 1``
            pixels around it, except where the image ends.
        planes: zeros (3, rows * (n + radius // 64 + 1)). The words beyond n at the end of each row keep what is
            shifted out of a row from the next one; their content means nothing.

    Returns:
        The number of boundary pixels.
    """
    mask, boundary, reach = planes[0], planes[1], planes[2]
    stride = n + (radius >> 6) + 1
    rows = mask.size // stride
    padded = np.zeros(mask.size + stride + 1, np.uint64)
    for y in range(rows):
        for j in range(n):
            padded[y * stride + j] = mask[y * stride + j] = words[top + y, first + j]
    # DAVIS compares the last column only with the pixel below, the last row only with the pixel to the right, and the
    # last corner with nothing: as if the pixels at the edges were repeated beyond them.
    columns = min(64 * n, width - 64 * first)
    if first + n == words.shape[1]:
        for start in range(0, rows * stride, stride):
            edge = (padded[start + ((columns - 1) >> 6)] >> np.uint64((columns - 1) & 63)) & _1
            padded[start + (columns >> 6)] |= edge << np.uint64(columns & 63)
    if top + rows == words.shape[0]:
        for i in range((rows - 1) * stride, rows * stride):
            padded[i + stride] = padded[i]
    count = _boundary(padded, boundary, rows, stride, n, columns)
    _dilate(boundary, reach, stride, radius)
    return count


@compiled("UniTuple(int64, 3)(uint64[:, ::1], int64, int64, int64, int64, uint64[:, ::1], int64, int64, int64, int64)")
def overlap(a, a_top, a_first, a_n, a_stride, b, b_top, b_first, b_n, b_stride):  # type: ignore[no-untyped-def]
    """Pixels in both masks; of a's boundary within reach of b's; of b's boundary within reach of a's.

    Args:
        a, b: planes (3, rows * stride) as ``prepare`` fills them, with first row, first word, words per row, stride.
    """
    top, bottom = max(a_top, b_top), min(a_top + a.shape[1] // a_stride, b_top + b.shape[1] // b_stride)
    first, last = max(a_first, b_first), min(a_first + a_n, b_first + b_n)
    both = a_matched = b_matched = 0
    for y in range(top, bottom):
        i, k = (y - a_top) * a_stride - a_first, (y - b_top) * b_stride - b_first
        for j in range(first, last):
            both += _ones(a[0, i + j] & b[0, k + j])
            a_matched += _ones(a[1, i + j] & b[2, k + j])
            b_matched += _ones(a[2, i + j] & b[1, k + j])
    return both, a_matched, b_matched
