"""Silhouettes of shapes and icons as integer inequalities on a grid.

A silhouette is asked about points (u, v), int64 arrays in units of 1/1024 of the thing's radius with v downwards, and
answers with a tone per point: ``OUTSIDE``, ``BODY`` (the thing's colour), ``DARK`` or ``LIGHT`` (details of icons).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.int64]
Inside = NDArray[np.bool_]
Silhouette = Callable[[Grid, Grid], NDArray[np.uint8]]
OUTSIDE, BODY, DARK, LIGHT = 0, 1, 2, 3

# fmt: off
_STAR = (
    (0, -1024), (253, -348), (974, -316), (409, 133), (602, 828),
    (0, 430), (-602, 828), (-409, 133), (-974, -316), (-253, -348),
)
# fmt: on


def disk(u: Grid, v: Grid, radius: int, cu: int = 0, cv: int = 0) -> Inside:
    return (u - cu) ** 2 + (v - cv) ** 2 <= radius * radius


def box(u: Grid, v: Grid, left: int, top: int, right: int, bottom: int) -> Inside:
    return (u >= left) & (u <= right) & (v >= top) & (v <= bottom)


def polygon(u: Grid, v: Grid, corners: Sequence[tuple[int, int]]) -> Inside:
    """Even-odd rule with exact integer edge tests."""
    inside = np.zeros(u.shape, bool)
    for (u0, v0), (u1, v1) in zip(corners, [*corners[1:], corners[0]], strict=True):
        spans = (v0 <= v) != (v1 <= v)
        right_of_edge = (u - u0) * (v1 - v0) > (u1 - u0) * (v - v0)
        inside ^= spans & (right_of_edge if v1 > v0 else (u - u0) * (v1 - v0) < (u1 - u0) * (v - v0))
    return inside


def paint(*layers: tuple[int, Inside]) -> NDArray[np.uint8]:
    """Tones of layers painted one over the other."""
    tones = np.zeros(layers[0][1].shape, np.uint8)
    for tone, inside in layers:
        tones[inside] = tone
    return tones


def circle(u: Grid, v: Grid) -> NDArray[np.uint8]:
    return paint((BODY, disk(u, v, 980)))


def square(u: Grid, v: Grid) -> NDArray[np.uint8]:
    return paint((BODY, box(u, v, -870, -870, 870, 870)))


def triangle(u: Grid, v: Grid) -> NDArray[np.uint8]:
    return paint((BODY, polygon(u, v, ((0, -1000), (1024, 800), (-1024, 800)))))


def diamond(u: Grid, v: Grid) -> NDArray[np.uint8]:
    return paint((BODY, np.abs(u) * 1024 + np.abs(v) * 720 <= 720 * 1024))


def star(u: Grid, v: Grid) -> NDArray[np.uint8]:
    return paint((BODY, polygon(u, v, _STAR)))


def cross(u: Grid, v: Grid) -> NDArray[np.uint8]:
    return paint((BODY, box(u, v, -330, -980, 330, 980) | box(u, v, -980, -330, 980, 330)))


def ring(u: Grid, v: Grid) -> NDArray[np.uint8]:
    return paint((BODY, disk(u, v, 1000) & ~disk(u, v, 500)))


def apple(u: Grid, v: Grid) -> NDArray[np.uint8]:
    body = disk(u, v, 640, -300, 230) | disk(u, v, 640, 300, 230)
    stem = box(u, v, -90, -900, 90, -250)
    leaf = polygon(u, v, ((90, -560), (380, -980), (900, -960), (600, -560)))
    return paint((BODY, body), (DARK, stem), (LIGHT, leaf))


def cup(u: Grid, v: Grid) -> NDArray[np.uint8]:
    handle = disk(u, v, 470, 480, -20) & ~disk(u, v, 240, 480, -20)
    body = polygon(u, v, ((-850, -800), (520, -800), (380, 860), (-710, 860)))
    rim = box(u, v, -850, -800, 520, -600)
    return paint((DARK, handle), (BODY, body), (LIGHT, rim & body))


def key(u: Grid, v: Grid) -> NDArray[np.uint8]:
    bow = disk(u, v, 620, -400, 0) & ~disk(u, v, 250, -400, 0)
    shaft = box(u, v, 100, -170, 1020, 170)
    teeth = box(u, v, 400, 100, 620, 620) | box(u, v, 800, 100, 1020, 620)
    return paint((BODY, bow | shaft | teeth))


def umbrella(u: Grid, v: Grid) -> NDArray[np.uint8]:
    canopy = disk(u, v, 980, 0, 40) & (v <= 40)
    stripe = canopy & (np.abs(u) <= 250)
    handle = box(u, v, -90, 40, 90, 850) | box(u, v, -420, 700, 90, 880)
    return paint((DARK, handle), (BODY, canopy), (LIGHT, stripe))


def house(u: Grid, v: Grid) -> NDArray[np.uint8]:
    roof = polygon(u, v, ((0, -980), (1000, -50), (-1000, -50)))
    walls = box(u, v, -740, -60, 740, 900)
    door = box(u, v, -220, 300, 220, 900)
    return paint((BODY, walls), (DARK, roof), (LIGHT, door))


def fish(u: Grid, v: Grid) -> NDArray[np.uint8]:
    body = (u - 180) ** 2 * 25 + v**2 * 49 <= 800 * 800 * 25
    tail = polygon(u, v, ((-420, 0), (-1000, -560), (-1000, 560)))
    eye = disk(u, v, 140, 600, -130)
    return paint((DARK, tail), (BODY, body), (LIGHT, eye))


def car(u: Grid, v: Grid) -> NDArray[np.uint8]:
    cabin = polygon(u, v, ((-560, -80), (-340, -620), (330, -620), (640, -80)))
    body = box(u, v, -1000, -130, 1000, 440)
    window = polygon(u, v, ((-380, -90), (-250, -480), (250, -480), (450, -90)))
    wheels = disk(u, v, 270, -540, 450) | disk(u, v, 270, 540, 450)
    return paint((BODY, cabin | body), (LIGHT, window), (DARK, wheels))


def boat(u: Grid, v: Grid) -> NDArray[np.uint8]:
    hull = polygon(u, v, ((-1000, 330), (1000, 330), (640, 880), (-640, 880)))
    mast = box(u, v, -80, -980, 60, 340)
    sail = polygon(u, v, ((120, -920), (860, 220), (120, 220)))
    return paint((DARK, mast), (BODY, hull), (LIGHT, sail))


SHAPES: dict[str, Silhouette] = {f.__name__: f for f in (circle, square, triangle, diamond, star, cross, ring)}
ICONS: dict[str, Silhouette] = {f.__name__: f for f in (apple, cup, key, umbrella, house, fish, car, boat)}
SILHOUETTES: dict[str, Silhouette] = {**SHAPES, **ICONS}
