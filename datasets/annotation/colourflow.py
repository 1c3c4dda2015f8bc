"""A propagator that needs no training, no weights and no torch: masks follow what looks like them from frame to frame.

For each object: where it went as a whole (the shift under which its pixels change least), then for every pixel around
it a vote of the pixels it resembles in the frame before (patches, within a few pixels of that shift; label propagation
as in Jabri et al., "Space-Time Correspondence as a Contrastive Random Walk", 2020, on colours instead of features),
weighed with how object and surroundings were coloured in the frame that a person drew, and aligned with the image's
edges (guided filter, He et al., 2010).

It follows objects that keep their look over small motions. It loses those that are hidden for long, turn into another
colour, or cross their like; what it gives is marked as propagated and wants a person's eye.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..types import BoolMask, Video

Image = NDArray[np.float32]
Shift = tuple[int, int]

#: longer side of the image that is worked on, in pixels
_SIDE = 480
#: farthest an object may move between frames, in pixels of that image
_REACH = 28
#: pixels of an object that are compared to find its shift
_SAMPLED = 400
#: pixels around the shift in which a patch looks for its like, and half the side of a patch
_SEARCH, _PATCH = 3, 1
#: mean squared difference of colours (0 to 1) at which a match counts 1/e
_TEMPERATURE = 0.004
#: what a pixel that would leave the picture counts as
_OUTSIDE = 0.05
_BINS = 12
_COLOUR_WEIGHT = 0.6
#: an object that shrinks below this share of its drawn area from one frame to the next has gone
_GONE = 0.04


@dataclass
class _Track:
    """What is remembered of an object.

    Attributes:
        share: float32 (h, w), how much of each pixel of the frame before was the object.
        odds: log-odds of object against surroundings by colour bin, of the drawn frame.
        area: of the drawn mask, in pixels.
        velocity: the last shift, (dy, dx).
    """

    share: Image
    odds: Image
    area: float
    velocity: Shift = (0, 0)


class ColourFlow:
    """Propagates masks by colour and motion; see the module."""

    id = "colour-flow@1"
    name = "Colour and motion (no weights)"

    def start(self, video: Video, frame: int, masks: Mapping[str, BoolMask]) -> Following:
        """Begin at a frame with drawn masks, bool (H, W) by object."""
        following = Following(video, frame)
        for name, mask in masks.items():
            following.draw(name, mask)
        return following


class Following:
    """Objects on their way through a video, one frame at a time."""

    def __init__(self, video: Video, frame: int) -> None:
        self.video = video
        self._tracks: dict[str, _Track] = {}
        self._load(frame)

    def draw(self, name: str, mask: BoolMask) -> None:
        """A person's mask of the current frame, bool (H, W), from which the object is followed on."""
        share = _resized(mask.astype(np.float32), self._image.shape[:2])
        self._tracks[name] = _Track(share, _colour_odds(self._bins, share), float(share.sum()))

    def drop(self, name: str) -> None:
        """Stop following an object."""
        self._tracks.pop(name, None)

    def step(self, frame: int) -> dict[str, BoolMask]:
        """Go to a neighbouring frame. Gives the masks there, bool (H, W); all False where an object is gone."""
        before = self._image
        self._load(frame)
        size = self.video.size
        return {name: self._follow(track, before, size) for name, track in self._tracks.items()}

    def _load(self, frame: int) -> None:
        pixels = self.video.frame(frame)
        scale = min(1.0, _SIDE / max(pixels.shape[:2]))
        shape = (max(1, round(pixels.shape[0] * scale)), max(1, round(pixels.shape[1] * scale)))
        self._image = _resized((pixels / np.float32(255)).astype(np.float32), shape)
        quantised = np.minimum((self._image * _BINS).astype(np.intp), _BINS - 1)
        self._bins = (quantised[..., 0] * _BINS + quantised[..., 1]) * _BINS + quantised[..., 2]

    def _follow(self, track: _Track, before: Image, size: tuple[int, int]) -> BoolMask:
        if not (track.share > 0.5).any():
            return np.zeros(size, bool)
        track.velocity = _shift(before, self._image, track.share, track.velocity)
        window = _window(track.share, track.velocity)
        share = _vote(before, self._image, track.share, track.velocity, window)
        share = _weighed(share, track.odds[self._bins[window]])
        share = _aligned(share, self._image[window].mean(axis=2))
        track.share = np.zeros_like(track.share)
        track.share[window] = share
        if (track.share > 0.5).sum() < max(1.0, _GONE * track.area):
            track.share[:] = 0
        return _resized(track.share, size) > 0.5


def _shift(before: Image, after: Image, share: Image, last: Shift) -> Shift:
    """(dy, dx) under which the object's pixels change least; of equal ones the nearest to the last shift."""
    y, x = np.nonzero(share > 0.5)
    chosen = np.linspace(0, len(y) - 1, min(len(y), _SAMPLED)).astype(int)
    y, x = y[chosen], x[chosen]
    colours = before[y, x]
    best = last
    for step, reach in ((4, _REACH), (2, 4), (1, 2)):
        offsets = np.arange(-reach, reach + 1, step)
        shifts = np.stack(np.meshgrid(best[0] + offsets, best[1] + offsets, indexing="ij"), axis=-1).reshape(-1, 2)
        costs = _changes(after, y, x, colours, shifts) + 1e-5 * np.hypot(*(shifts - last).T)
        best = (int(shifts[costs.argmin()][0]), int(shifts[costs.argmin()][1]))
    return best


def _changes(
    after: Image, y: NDArray[np.intp], x: NDArray[np.intp], colours: Image, shifts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Per shift the mean squared change of the pixels that stay in the picture; others count as a middling one."""
    height, width = after.shape[:2]
    rows, columns = y[None] + shifts[:, :1], x[None] + shifts[:, 1:]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    there = after[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    squares = np.where(inside, np.square(there - colours[None]).sum(axis=2), _OUTSIDE)
    return np.asarray(np.where(inside.any(axis=1), squares.mean(axis=1), np.inf), np.float64)


def _window(share: Image, shift: Shift) -> tuple[slice, slice]:
    """The part of the new frame in which the object can be."""
    y, x = np.nonzero(share > 0.05)
    margin = _SEARCH + 2 * _PATCH + 4
    height, width = share.shape
    top, bottom = y.min() + shift[0] - margin, y.max() + shift[0] + margin + 1
    left, right = x.min() + shift[1] - margin, x.max() + shift[1] + margin + 1
    rows = slice(int(np.clip(top, 0, height - 1)), int(np.clip(bottom, 1, height)))
    columns = slice(int(np.clip(left, 0, width - 1)), int(np.clip(right, 1, width)))
    return rows, columns


def _vote(before: Image, after: Image, share: Image, shift: Shift, window: tuple[slice, slice]) -> Image:
    """For every pixel of the window the mean of the shares of the pixels before, weighed by likeness of patches."""
    from scipy.ndimage import uniform_filter

    rows, columns = np.arange(window[0].start, window[0].stop), np.arange(window[1].start, window[1].stop)
    now = after[window]
    total = np.zeros(now.shape[:2], np.float32)
    weights = np.full_like(total, 1e-12)
    for dy in range(-_SEARCH, _SEARCH + 1):
        y = np.clip(rows - shift[0] + dy, 0, before.shape[0] - 1)
        for dx in range(-_SEARCH, _SEARCH + 1):
            x = np.clip(columns - shift[1] + dx, 0, before.shape[1] - 1)
            place = np.ix_(y, x)
            squares = np.square(now - before[place]).sum(axis=2)
            cost = uniform_filter(squares, 2 * _PATCH + 1, mode="nearest")
            weight = np.exp(-cost / _TEMPERATURE - 0.02 * (dy * dy + dx * dx))
            total += weight * share[place]
            weights += weight
    return total / weights


def _weighed(share: Image, odds: Image) -> Image:
    """Shares with the colours' say added: as log-odds, where the votes leave doubt."""
    kept = np.clip(share, 1e-3, 1 - 1e-3)
    return (1 / (1 + np.exp(-(np.log(kept / (1 - kept)) + _COLOUR_WEIGHT * odds)))).astype(np.float32)


def _colour_odds(bins: NDArray[np.intp], share: Image) -> Image:
    """log of how much likelier each colour bin is inside the object than around it; 0 where neither was seen."""
    from scipy.ndimage import binary_dilation, gaussian_filter

    inside = share > 0.5
    around = binary_dilation(inside, iterations=24) & ~binary_dilation(inside, iterations=1)
    counts = []
    for where in (inside, around):
        cube = np.bincount(bins[where], minlength=_BINS**3).reshape((_BINS,) * 3).astype(np.float32)
        cube = gaussian_filter(cube, 0.6, mode="nearest")
        counts.append((cube / max(1.0, cube.sum()) + 1e-4).ravel())
    return np.clip(np.log(counts[0] / counts[1]), -3, 3).astype(np.float32)


def _aligned(share: Image, grey: Image, radius: int = 2, epsilon: float = 1e-4) -> Image:
    """Guided filter: the map that is locally linear in the image's brightness and closest to ``share``."""
    from scipy.ndimage import uniform_filter

    def mean(values: Image) -> Image:
        return uniform_filter(values, 2 * radius + 1, mode="nearest")

    mean_grey, mean_share = mean(grey), mean(share)
    slope = (mean(grey * share) - mean_grey * mean_share) / (mean(grey * grey) - mean_grey**2 + epsilon)
    return np.clip(mean(slope) * grey + mean(mean_share - slope * mean_grey), 0, 1)


def _resized(values: Image, shape: tuple[int, int]) -> Image:
    """Bilinear (with averaging where it shrinks), float32 (h, w) or (h, w, 3)."""
    from PIL import Image as Pillow

    if values.shape[:2] == shape:
        return values
    channels = [values] if values.ndim == 2 else [values[..., c] for c in range(values.shape[2])]
    method = Pillow.Resampling.BILINEAR
    parts = [np.asarray(Pillow.fromarray(c).resize((shape[1], shape[0]), method), np.float32) for c in channels]
    return parts[0] if values.ndim == 2 else np.stack(parts, axis=2)
