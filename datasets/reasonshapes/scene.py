"""The scene graph: what there is in a ReasonShapes video, before a pixel is drawn or a word is said.

Lengths and positions are integers in units of 1/4096 of the frame height, so one scene renders at any resolution and
identically on every system. x grows to the right, y downwards; (0, 0) is the upper left corner of the frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

UNIT = 4096
RADII = {"small": 310, "large": 550}
COLOURS = {
    "red": (222, 38, 42),
    "green": (38, 168, 62),
    "blue": (44, 88, 228),
    "yellow": (248, 222, 40),
    "purple": (150, 52, 188),
    "orange": (250, 136, 22),
    "cyan": (60, 210, 226),
    "white": (246, 246, 246),
}


@dataclass(frozen=True)
class Waypoint:
    """Where a thing's centre is at a frame."""

    frame: int
    x: int
    y: int


@dataclass(frozen=True)
class Leg:
    """The straight way between two waypoints; a rest where both are the same place."""

    first: int
    last: int
    dx: int
    dy: int

    @property
    def moves(self) -> bool:
        return bool(self.dx or self.dy)


@dataclass(frozen=True)
class Trajectory:
    """Waypoints from frame 0 on, joined by straight legs of constant speed; after the last one the thing rests."""

    waypoints: tuple[Waypoint, ...]

    def __post_init__(self) -> None:
        frames = [w.frame for w in self.waypoints]
        if not frames or frames[0] != 0 or sorted(set(frames)) != frames:
            raise UsageError(f"A trajectory needs waypoints at frame 0 and then at growing frames, found {frames}.")

    @classmethod
    def resting(cls, x: int, y: int) -> Trajectory:
        return cls((Waypoint(0, x, y),))

    @property
    def legs(self) -> tuple[Leg, ...]:
        return tuple(Leg(a.frame, b.frame, b.x - a.x, b.y - a.y) for a, b in pairwise(self.waypoints))

    def positions(self, n_frames: int) -> NDArray[np.int64]:
        """The centre at every frame, int64 (T, 2) as (x, y) in units."""
        out = np.empty((n_frames, 2), np.int64)
        out[:] = (self.waypoints[-1].x, self.waypoints[-1].y)
        for a, b in pairwise(self.waypoints):
            t = np.arange(a.frame, min(b.frame, n_frames), dtype=np.int64)
            out[t, 0] = _between(a.x, b.x, t - a.frame, b.frame - a.frame)
            out[t, 1] = _between(a.y, b.y, t - a.frame, b.frame - a.frame)
        return out

    def reversed(self, n_frames: int) -> Trajectory:
        """The same way run backwards; waypoints lie between the same frames, seen from the end."""
        last = n_frames - 1
        waypoints = [Waypoint(last - w.frame, w.x, w.y) for w in reversed(self.waypoints)]
        if waypoints[0].frame > 0:
            waypoints.insert(0, Waypoint(0, waypoints[0].x, waypoints[0].y))
        return Trajectory(tuple(waypoints))


def _between(start: int, end: int, step: NDArray[np.int64], n_steps: int) -> NDArray[np.int64]:
    """Integer interpolation, rounded towards the lower end, so that a way run backwards has the same places."""
    if end >= start:
        return start + (end - start) * step // n_steps
    return end + (start - end) * (n_steps - step) // n_steps


@dataclass(frozen=True)
class Thing:
    """An object of the scene.

    Attributes:
        id: from 1; the label of its pixels in indexed masks.
        shape: a key of ``shapes.SHAPES`` or ``shapes.ICONS``.
        colour: a key of ``COLOURS``.
        size: ``small`` or ``large``.
        depth: the larger is nearer and hides the smaller; unique in the scene.
        trajectory: where it is over time, outside the frame too.
    """

    id: int
    shape: str
    colour: str
    size: str
    depth: int
    trajectory: Trajectory

    @property
    def radius(self) -> int:
        """Half the side of the box that the shape is drawn into, in units."""
        return RADII[self.size]

    @property
    def look(self) -> tuple[str, str, str]:
        """What tells things apart in a single frame."""
        return (self.size, self.colour, self.shape)


@dataclass(frozen=True)
class Background:
    """A texture: its pattern, its two colours (RGB, 0-255), the size of its grain in units and its seed."""

    pattern: str
    dark: tuple[int, int, int]
    light: tuple[int, int, int]
    grain: int
    seed: int


@dataclass(frozen=True)
class Scene:
    """A whole scene.

    Attributes:
        seed: the seed it was made from, which with the nominal size and length determines everything.
        height: nominal height in pixels; any other may be rendered.
        width: nominal width in pixels; fixes the aspect ratio.
        n_frames: length of the video.
        background: the texture behind everything.
        things: the objects, ids 1..N in order.
        camera: how far the shaking camera moves the whole picture in each frame, (x, y) in units; empty for a camera
            at rest. What is true of the scene is measured without it.
    """

    seed: int
    height: int
    width: int
    n_frames: int
    background: Background
    things: tuple[Thing, ...]
    camera: tuple[tuple[int, int], ...] = ()

    @property
    def world_width(self) -> int:
        """Width of the frame in units; its height is ``UNIT``."""
        return self.width * UNIT // self.height

    def size_at(self, height: int) -> tuple[int, int]:
        """(height, width) in pixels of a rendering of this height."""
        return height, (self.width * height + self.height // 2) // self.height

    def thing(self, thing_id: int) -> Thing:
        return self.things[thing_id - 1]

    @cached_property
    def positions(self) -> NDArray[np.int64]:
        """The centres of all things, int64 (N, T, 2) as (x, y) in units."""
        return np.stack([thing.trajectory.positions(self.n_frames) for thing in self.things])

    def reversed(self) -> Scene:
        """The scene played backwards: the same unordered frames, another order of events."""
        things = tuple(replace(t, trajectory=t.trajectory.reversed(self.n_frames)) for t in self.things)
        return replace(self, things=things, camera=self.camera[::-1])

    def graph(self) -> dict[str, Any]:
        """The scene graph as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_graph(cls, graph: Mapping[str, Any]) -> Scene:
        """The scene of a graph, also of one that was written as JSON and read again."""
        things = tuple(
            Thing(**{**t, "trajectory": Trajectory(tuple(Waypoint(**w) for w in t["trajectory"]["waypoints"]))})
            for t in graph["things"]
        )
        background = graph["background"]
        colours = {name: tuple(background[name]) for name in ("dark", "light")}
        camera = tuple((int(x), int(y)) for x, y in graph["camera"])
        return cls(
            **{**graph, "background": Background(**{**background, **colours}), "things": things, "camera": camera}
        )
