"""The outline of a mask as polygons along pixel edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..types import BoolMask

#: x, y, x, y, …; closed; fill even-odd
Polygon = list[int]

#: a mask with more edges than this is traced at half its size: it is noise, and the page must stay able to draw it
_MOST_EDGES = 20_000


def outlines(mask: BoolMask) -> list[Polygon]:
    """Polygons around the pixels of ``mask``, bool (H, W), in pixel-corner coordinates (x 0 to W, y 0 to H).

    Filled even-odd they give the mask back exactly, holes included, unless it was too ragged and had to be halved.
    """
    scale = 1
    edges = _edges(mask)
    while len(edges) > _MOST_EDGES:
        mask, scale = mask[::2, ::2], 2 * scale
        edges = _edges(mask)
    return [[scale * value for value in loop] for loop in _loops(edges)]


def _edges(mask: BoolMask) -> NDArray[np.int64]:
    """Directed edges (x0, y0, x1, y1) with the object at their right hand (y points down)."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    top, bottom = inside & ~padded[:-2, 1:-1], inside & ~padded[2:, 1:-1]
    left, right = inside & ~padded[1:-1, :-2], inside & ~padded[1:-1, 2:]
    parts = []
    for where, (x0, y0, x1, y1) in (
        (top, (0, 0, 1, 0)),
        (right, (1, 0, 1, 1)),
        (bottom, (1, 1, 0, 1)),
        (left, (0, 1, 0, 0)),
    ):
        y, x = np.nonzero(where)
        parts.append(np.stack([x + x0, y + y0, x + x1, y + y1], axis=1))
    return np.concatenate(parts)


def _loops(edges: NDArray[np.int64]) -> list[Polygon]:
    """Join edges end to end into closed loops; a vertex is kept where the direction changes."""
    after: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for x0, y0, x1, y1 in edges.tolist():
        after.setdefault((x0, y0), []).append((x1, y1))
    loops = []
    for start in list(after):
        while after[start]:
            loops.append(_loop(start, after))
    return loops


def _loop(start: tuple[int, int], after: dict[tuple[int, int], list[tuple[int, int]]]) -> Polygon:
    points = [start]
    here = after[start].pop()
    while here != start:
        points.append(here)
        here = after[here].pop()
    corners: Polygon = []
    for number, (x, y) in enumerate(points):
        before, behind = points[number - 1], points[(number + 1) % len(points)]
        if (x - before[0], y - before[1]) != (behind[0] - x, behind[1] - y):
            corners += [x, y]
    return corners
