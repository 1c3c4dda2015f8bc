"""From a scene to pixels and masks, with integers only.

A thing is drawn once as a sprite and stamped at whole pixels, so the same arithmetic gives the same frames on every
system, and a frame costs a few array copies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .prng import mix
from .scene import COLOURS, UNIT, Background, Scene, Thing
from .shapes import DARK, LIGHT, OUTSIDE, SILHOUETTES

PATTERNS = ("clouds", "stripes", "tiles", "speckle")
NEW_PATTERNS = ("bricks", "waves")
"""Textures of the test of generalisation to new textures alone."""


@dataclass(frozen=True, eq=False)
class Sprite:
    """A thing drawn alone: tones uint8 (k, k), colours uint8 (k, k, 3), k odd with the centre in the middle."""

    mask: NDArray[np.bool_]
    colours: NDArray[np.uint8]

    @property
    def reach(self) -> int:
        return len(self.mask) // 2

    @cached_property
    def area(self) -> int:
        return int(self.mask.sum())


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """One frame.

    Attributes:
        rgb: uint8 (H, W, 3).
        labels: uint8 (H, W); 0 is background, otherwise the id of the thing that is seen there.
    """

    rgb: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def visible(self, thing_id: int) -> NDArray[np.bool_]:
        """Where the thing is seen, bool (H, W)."""
        return self.labels == thing_id


class Renderer:
    """Draws a scene at one resolution.

    Args:
        scene: what to draw.
        height: in pixels; the scene's nominal height by default. The width follows from the aspect ratio.
    """

    def __init__(self, scene: Scene, height: int | None = None) -> None:
        self.scene = scene
        self.height, self.width = scene.size_at(height or scene.height)
        if len(scene.things) > 254:
            raise UsageError(f"A scene holds at most 254 things (8-bit labels), found {len(scene.things)}.")
        self._shake = _pixels(np.array(scene.camera or [(0, 0)] * scene.n_frames, np.int64), self.height)
        self._centres = _pixels(scene.positions, self.height) + self._shake
        self._margin = int(np.abs(self._shake).max(initial=0))
        self._order = sorted(range(len(scene.things)), key=lambda i: scene.things[i].depth)
        self._sprites = [_sprite(thing, self.height) for thing in scene.things]

    @cached_property
    def backdrop(self) -> NDArray[np.uint8]:
        """The background alone, uint8 (H + 2m, W + 2m, 3) with a margin m on all sides that the camera may show."""
        return texture(self.scene.background, self.height, self.width, self._margin)

    def background(self, t: int) -> NDArray[np.uint8]:
        """The part of the backdrop that is in the picture, uint8 (H, W, 3)."""
        left, top = (self._margin - int(v) for v in self._shake[t])
        return self.backdrop[top : top + self.height, left : left + self.width]

    def frame(self, t: int) -> RenderedFrame:
        rgb = self.background(t).copy()
        labels = np.zeros((self.height, self.width), np.uint8)
        for i in self._order:
            window, part = self._place(i, t)
            inside = self._sprites[i].mask[part]
            rgb[window][inside] = self._sprites[i].colours[part][inside]
            labels[window][inside] = self.scene.things[i].id
        return RenderedFrame(rgb, labels)

    def frames(self) -> Iterator[RenderedFrame]:
        """All frames in order, one in memory at a time."""
        return (self.frame(t) for t in range(self.scene.n_frames))

    def labels(self, t: int) -> NDArray[np.uint8]:
        """The id of the thing seen at every pixel, uint8 (H, W), without drawing colours."""
        labels = np.zeros((self.height, self.width), np.uint8)
        for i in self._order:
            window, part = self._place(i, t)
            labels[window][self._sprites[i].mask[part]] = self.scene.things[i].id
        return labels

    def amodal(self, thing_id: int, t: int) -> NDArray[np.bool_]:
        """The thing's pixels as if nothing hid it, cut at the frame's border, bool (H, W)."""
        mask = np.zeros((self.height, self.width), bool)
        window, part = self._place(thing_id - 1, t)
        mask[window] = self._sprites[thing_id - 1].mask[part]
        return mask

    def amodal_area(self, thing_id: int, t: int) -> int:
        """Pixels of ``amodal``."""
        _, part = self._place(thing_id - 1, t)
        return int(np.count_nonzero(self._sprites[thing_id - 1].mask[part]))

    def full_area(self, thing_id: int) -> int:
        """Pixels of the whole thing, as if nothing hid or cut it."""
        return self._sprites[thing_id - 1].area

    def sha256(self) -> str:
        """Over the RGB bytes and then the label bytes of every frame, in order."""
        digest = hashlib.sha256()
        for frame in self.frames():
            digest.update(frame.rgb.tobytes())
            digest.update(frame.labels.tobytes())
        return digest.hexdigest()

    def _place(self, i: int, t: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The window of the frame and the part of the sprite that lies in it; both empty outside the frame."""
        cx, cy = (int(v) for v in self._centres[i, t])
        reach = self._sprites[i].reach
        rows, part_rows = _clip(cy - reach, 2 * reach + 1, self.height)
        columns, part_columns = _clip(cx - reach, 2 * reach + 1, self.width)
        return (rows, columns), (part_rows, part_columns)


def _pixels(units: NDArray[np.int64], height: int) -> NDArray[np.int64]:
    """Rounded to the nearest pixel, in integers."""
    return (units * height + UNIT // 2) // UNIT


def _clip(start: int, length: int, limit: int) -> tuple[slice, slice]:
    low, high = min(max(start, 0), limit), min(max(start + length, 0), limit)
    return slice(low, high), slice(low - start, high - start)


def _sprite(thing: Thing, height: int) -> Sprite:
    reach = thing.radius * height // UNIT + 1
    offsets = np.arange(-reach, reach + 1, dtype=np.int64)
    # Symmetric rounding: a shape that is symmetric on the grid stays so in pixels.
    scaled = np.sign(offsets) * (np.abs(offsets) * (1024 * UNIT) // (height * thing.radius))
    v, u = np.meshgrid(scaled, scaled, indexing="ij")
    tones = SILHOUETTES[thing.shape](u, v)
    mask = tones != OUTSIDE
    return Sprite(mask, _colours(tones, _rim(mask, height), COLOURS[thing.colour]))


def _rim(mask: NDArray[np.bool_], height: int) -> NDArray[np.bool_]:
    """The border of a sprite; none where it would leave too little of the thing's colour to be named."""
    core = _eroded(mask, max(1, height // 100))
    thick = core.sum() * 5 >= mask.sum() * 2
    return mask & ~core if thick else np.zeros_like(mask)


def _eroded(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    for _ in range(steps):
        padded = np.pad(mask, 1)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def _colours(tones: NDArray[np.uint8], rim: NDArray[np.bool_], rgb: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The thing's colour with a darker rim of the same hue and the icons' dark and light details."""
    body = np.array(rgb, np.int64)
    colours = np.empty((*tones.shape, 3), np.uint8)
    colours[:] = body.astype(np.uint8)
    colours[tones == DARK] = (body * 7 // 16).astype(np.uint8)
    colours[tones == LIGHT] = ((body + 3 * 255) // 4).astype(np.uint8) if min(rgb) < 200 else (150, 150, 150)
    colours[rim] = (colours[rim].astype(np.int64) * 5 // 8).astype(np.uint8)
    return colours


def texture(background: Background, height: int, width: int, margin: int = 0) -> NDArray[np.uint8]:
    """The background at a resolution, uint8 (H + 2m, W + 2m, 3): a weight per pixel between its two colours."""
    y = np.arange(-margin, height + margin, dtype=np.int64)[:, None] * UNIT // height
    x = np.arange(-margin, width + margin, dtype=np.int64)[None, :] * UNIT // height
    weight = _weight(background, *np.broadcast_arrays(y, x))
    dark, light = np.array(background.dark, np.int64), np.array(background.light, np.int64)
    return (dark + (light - dark) * weight[..., None] // 256).astype(np.uint8)


def _weight(background: Background, y: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.int64]:
    grain, seed = background.grain, background.seed
    fine = _value_noise(y, x, max(grain // 4, 1), seed + 1)
    if background.pattern == "clouds":
        return (_value_noise(y, x, grain, seed) * 3 + fine) // 4
    if background.pattern == "stripes":
        slope = mix(seed) % 3 - 1
        return ((y + slope * x) // grain % 2) * 150 + fine * 100 // 256
    if background.pattern == "tiles":
        return ((y // grain + x // grain) % 2) * 130 + fine * 120 // 256
    if background.pattern == "speckle":
        return np.where(_lattice(y // (grain // 6), x // (grain // 6), seed) > 200, 230, fine // 2)
    if background.pattern == "bricks":
        row = y * 2 // grain
        mortar = (y * 2 % grain < grain // 5) | ((x + row % 2 * (grain // 2)) % grain < grain // 10)
        return np.where(mortar, 230, fine * 130 // 256)
    if background.pattern == "waves":
        crest = np.abs((x + seed % grain) % (2 * grain) - grain) // 2
        return ((y + crest) * 4 // grain % 4) * 50 + fine * 90 // 256
    known = ", ".join(PATTERNS + NEW_PATTERNS)
    raise UsageError(f"Unknown background pattern '{background.pattern}'. Known: {known}.")


def _value_noise(y: NDArray[np.int64], x: NDArray[np.int64], cell: int, seed: int) -> NDArray[np.int64]:
    """Random values 0-255 on a lattice of this spacing, bilinear between, all in integers."""
    row, column = y // cell, x // cell
    fy, fx = y - row * cell, x - column * cell
    top = _lattice(row, column, seed) * (cell - fx) + _lattice(row, column + 1, seed) * fx
    bottom = _lattice(row + 1, column, seed) * (cell - fx) + _lattice(row + 1, column + 1, seed) * fx
    return (top * (cell - fy) + bottom * fy) // (cell * cell)


def _lattice(row: NDArray[np.int64], column: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A hash 0-255 of lattice points; 64-bit products wrap, which is defined for unsigned arrays."""
    h = row.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + column.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    h ^= np.uint64(mix(seed))
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (h >> np.uint64(56)).astype(np.int64)
