"""What is true of a scene, and what is too close to call.

Facts are three-valued: a property holds, does not hold, or is ``UNCLEAR`` because a person watching could argue. They
are measured on a raster of fixed height, so a scene has the same facts at every rendered size, and they can be asked
of the beginning of a video alone, which tells from which frame on a sentence has its answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from itertools import pairwise, permutations
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from .render import Renderer
from .scene import UNIT, Leg, Scene, Thing


class Unclear(Enum):
    """A property that a person could argue about either way."""

    UNCLEAR = "unclear"


UNCLEAR = Unclear.UNCLEAR
Moment = int | Unclear | None
"""The frame at which something happens; None where it never does."""

FACTS_HEIGHT = 96
CLEAR_MOVE = UNIT // 10
CLEAR_OFFSET = UNIT // 9
CLEAR_DIRECTION = UNIT // 6
INSIDE, SEEN, HIDDEN = 900, 500, 500
"""Per mille of a thing's area: wholly in the frame; clearly in view; clearly behind something."""


@dataclass(frozen=True)
class History:
    """What a thing does, as far as the video has been watched. Frames count from 0.

    Attributes:
        start: it lay still from frame 0 on and starts to move at this frame.
        stop: it comes to rest in view at this frame and stays so.
        enter: it is outside at frame 0 and comes into view at this frame.
        exit: it is gone from this frame on, having left the picture.
        reverse: it goes back the way it came from this frame on.
        turn: it turns off by about a right angle at this frame.
        strike: it comes to rest at another thing at this frame and sets that in motion.
        struck: another thing does so to it at this frame.
        travel: length of its way in view, in units.
        still: it never moves while in view.
        heading: ``right``, ``left``, ``down`` or ``up`` where its whole way has one direction; None where it is still.
        moves_at_once: it is in view and moves from frame 0 on.
    """

    start: Moment
    stop: Moment
    enter: Moment
    exit: Moment
    reverse: Moment
    turn: Moment
    strike: Moment
    struck: Moment
    travel: int
    still: bool | Unclear
    heading: str | Unclear | None
    moves_at_once: bool


class Measurements:
    """Areas of the things of a scene over time, at the fixed raster.

    Attributes:
        in_frame: int (N, T), per mille of a thing's area that lies inside the frame.
        seen: int (N, T), pixels that are seen.
        raster: (height, width) of the raster.
        hidden: int (N, T), per mille of the pixels inside the frame that others hide.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._renderer = Renderer(scene, FACTS_HEIGHT)
        self.raster = (self._renderer.height, self._renderer.width)
        n, length = len(scene.things), scene.n_frames
        self._areas = np.zeros((n, length), np.int64)
        self.seen = np.zeros((n, length), np.int64)
        full = np.array([self._renderer.full_area(thing.id) for thing in scene.things], np.int64)
        for t in range(length):
            self._areas[:, t] = [self._renderer.amodal_area(thing.id, t) for thing in scene.things]
            self.seen[:, t] = np.bincount(self._renderer.labels(t).ravel(), minlength=n + 1)[1 : n + 1]
        self.in_frame = self._areas * 1000 // full[:, None]
        self.hidden = (self._areas - self.seen) * 1000 // np.maximum(self._areas, 1)
        self._covers: dict[tuple[int, int], NDArray[np.int64]] = {}

    @cached_property
    def collisions(self) -> dict[tuple[int, int], int | Unclear]:
        """For (who strikes, who is struck) the frame; UNCLEAR for both ways where two meet in another manner."""
        found: dict[tuple[int, int], int | Unclear] = {}
        for a, b in permutations(self.scene.things, 2):
            gap = self.scene.positions[a.id - 1] - self.scene.positions[b.id - 1]
            reach = a.radius + b.radius
            nearest = isqrt(int((gap**2).sum(axis=1).min()))
            frame = _handed_over(a, b)
            if frame is not None and isqrt(int((gap[frame] ** 2).sum())) * 10 <= reach * 11:
                found[a.id, b.id] = frame
            elif nearest * 10 < reach * 9 and (b.id, a.id) not in found:
                found[a.id, b.id] = UNCLEAR
        return {(i, j): m for (i, j), m in found.items() if m is not UNCLEAR or not isinstance(found.get((j, i)), int)}

    def covered_by(self, hidden_id: int, nearer_id: int) -> NDArray[np.int64]:
        """int (T,), per mille of a thing's pixels inside the frame that lie under another, nearer thing."""
        key = (hidden_id, nearer_id)
        if key not in self._covers:
            self._covers[key] = self._measure_cover(hidden_id, nearer_id)
        return self._covers[key]

    def _measure_cover(self, hidden_id: int, nearer_id: int) -> NDArray[np.int64]:
        out = np.zeros(self.scene.n_frames, np.int64)
        far, near = self.scene.thing(hidden_id), self.scene.thing(nearer_id)
        if far.depth > near.depth:
            return out
        gap = np.abs(self.scene.positions[hidden_id - 1] - self.scene.positions[nearer_id - 1]).max(axis=1)
        for t in np.flatnonzero(gap <= far.radius + near.radius + UNIT // 40):
            both = self._renderer.amodal(hidden_id, int(t)) & self._renderer.amodal(nearer_id, int(t))
            out[t] = np.count_nonzero(both) * 1000 // max(int(self._areas[hidden_id - 1, t]), 1)
        return out


def beginnings(measured: Measurements) -> list[Facts]:
    """The facts after each frame, the last entry being those of the whole video."""
    return [Facts(measured, watched) for watched in range(1, measured.scene.n_frames + 1)]


class Facts:
    """The facts of a scene as known after watching frames 0 … n_frames - 1.

    Args:
        measured: the scene's measurements.
        n_frames: how much of the video has been watched; all of it by default.
    """

    def __init__(self, measured: Measurements, n_frames: int | None = None) -> None:
        self.measured = measured
        self.scene = measured.scene
        self.n_frames = n_frames or self.scene.n_frames
        self.clear_gap = max(2, self.scene.n_frames // 10)
        """Frames that two moments must lie apart so that their order is plain to see."""
        self.answers: dict[object, frozenset[int]] = {}
        """What programs that others refer to have been found to select."""
        self._histories: dict[int, History] = {}
        self._places: dict[tuple[int, int, str], tuple[int, int] | Unclear] = {}

    @property
    def whole(self) -> bool:
        """Whether the video has been watched to its end."""
        return self.n_frames == self.scene.n_frames

    @cached_property
    def present(self) -> frozenset[int]:
        """The ids of things that have been seen so far."""
        seen = self.measured.seen[:, : self.n_frames].max(axis=1)
        return frozenset(thing.id for thing in self.scene.things if seen[thing.id - 1] > 0)

    def history(self, thing_id: int) -> History:
        if thing_id not in self._histories:
            self._histories[thing_id] = self._follow(thing_id)
        return self._histories[thing_id]

    def goes_behind(self, thing_id: int, other_id: int) -> bool | Unclear:
        """Whether a moving thing passes behind another that lies still."""
        cover = self.measured.covered_by(thing_id, other_id)[: self.n_frames]
        if cover.max() <= 80:
            return False
        passes = cover.max() >= HIDDEN and cover[0] <= 100
        moves = self.history(thing_id).still is False and self.history(other_id).still is True
        return True if passes and moves else UNCLEAR

    def passes_in_front(self, thing_id: int, other_id: int) -> bool | Unclear:
        """Whether a moving thing passes in front of another that lies still."""
        cover = self.measured.covered_by(other_id, thing_id)[: self.n_frames]
        if cover.max() <= 30:
            return False
        passes = cover.max() >= 250 and cover[0] <= 50
        moves = self.history(thing_id).still is False and self.history(other_id).still is True
        return True if passes and moves else UNCLEAR

    def place(self, thing_id: int, axis: int, when: str) -> tuple[int, int] | Unclear:
        """The least and greatest x (axis 0) or y (axis 1) of a thing ``at first``, ``at last`` or ``throughout``.

        UNCLEAR where the thing is not wholly in view at that time.
        """
        key = (thing_id, axis, when)
        if key not in self._places:
            self._places[key] = self._measure_place(thing_id, axis, when)
        return self._places[key]

    def _measure_place(self, thing_id: int, axis: int, when: str) -> tuple[int, int] | Unclear:
        span = {"at first": slice(0, 1), "at last": slice(self.n_frames - 1, self.n_frames)}
        frames = span.get(when, slice(0, self.n_frames))
        if self.measured.in_frame[thing_id - 1, frames].min() < INSIDE:
            return UNCLEAR
        values = self.scene.positions[thing_id - 1, frames, axis]
        return int(values.min()), int(values.max())

    # How a history is told ----------------------------------------------------------------------------------------

    def _follow(self, thing_id: int) -> History:
        in_frame = self.measured.in_frame[thing_id - 1, : self.n_frames]
        legs = self._legs_in_view(thing_id, in_frame)
        travel = sum(isqrt(leg.dx * leg.dx + leg.dy * leg.dy) for leg in legs)
        starts_inside = in_frame[0] >= INSIDE
        bends = _bends(legs)
        return History(
            start=self._start(legs) if starts_inside else None,
            stop=self._stop(legs, in_frame),
            enter=_enter(in_frame),
            exit=_exit(in_frame),
            reverse=bends["reverse"],
            turn=bends["turn"],
            strike=self._collision({j: m for (i, j), m in self.measured.collisions.items() if i == thing_id}),
            struck=self._collision({i: m for (i, j), m in self.measured.collisions.items() if j == thing_id}),
            travel=travel,
            still=True if travel == 0 else (False if travel >= CLEAR_MOVE else UNCLEAR),
            heading=_heading(legs, travel),
            moves_at_once=bool(starts_inside and legs and legs[0].moves),
        )

    def _legs_in_view(self, thing_id: int, in_frame: NDArray[np.int64]) -> list[Leg]:
        """The legs so far, a final rest among them, cut to the steps to or from a frame that shows the thing."""
        positions = self.scene.positions[thing_id - 1]
        trajectory = self.scene.thing(thing_id).trajectory
        ends = [(leg.first, leg.last) for leg in trajectory.legs]
        ends.append((trajectory.waypoints[-1].frame, self.n_frames - 1))
        shown = np.flatnonzero(in_frame > 0)
        if not len(shown):
            return []
        low, high = max(int(shown[0]) - 1, 0), min(int(shown[-1]) + 1, self.n_frames - 1)
        cut = [(max(first, low), min(last, high)) for first, last in ends]
        return [Leg(a, b, *(int(v) for v in positions[b] - positions[a])) for a, b in cut if b > a]

    def _collision(self, moments: dict[int, int | Unclear]) -> Moment:
        """The moment of the one collision seen so far; UNCLEAR where there may be others."""
        if any(moment is UNCLEAR for moment in moments.values()):
            return UNCLEAR
        frames = [moment for moment in moments.values() if isinstance(moment, int) and moment + 2 <= self.n_frames]
        return UNCLEAR if len(frames) > 1 else next(iter(frames), None)

    def _start(self, legs: list[Leg]) -> Moment:
        moving = [leg for leg in legs if leg.moves]
        if not moving or legs[0].moves:
            return None
        first = moving[0]
        return first.first if first.first >= 2 and _length(first) >= CLEAR_MOVE else UNCLEAR

    def _stop(self, legs: list[Leg], in_frame: NDArray[np.int64]) -> Moment:
        moving = [k for k, leg in enumerate(legs) if leg.moves]
        if not moving or in_frame[-1] == 0:
            return None
        last = moving[-1]
        if any(not leg.moves for leg in legs[moving[0] : last]):
            return UNCLEAR
        if last == len(legs) - 1:
            return None
        plain = self.n_frames - 1 - legs[last].last >= 2 and _length(legs[last]) >= CLEAR_MOVE
        return legs[last].last if plain and in_frame[-1] >= INSIDE else UNCLEAR


def _handed_over(a: Thing, b: Thing) -> int | None:
    """The frame at which one thing comes to rest for good and another moves for the first time."""
    moving = [leg for leg in a.trajectory.legs if leg.moves]
    pushed = b.trajectory.legs
    if not moving or len(pushed) < 2 or pushed[0].moves or not pushed[1].moves:
        return None
    return moving[-1].last if moving[-1].last == pushed[0].last else None


def _length(leg: Leg) -> int:
    return isqrt(leg.dx * leg.dx + leg.dy * leg.dy)


def _enter(in_frame: NDArray[np.int64]) -> Moment:
    if in_frame[0] > 0:
        return None if in_frame[0] >= INSIDE else UNCLEAR
    shown = np.flatnonzero(in_frame > 0)
    if not len(shown):
        return None
    return int(shown[0]) if in_frame.max() >= SEEN else UNCLEAR


def _exit(in_frame: NDArray[np.int64]) -> Moment:
    shown = np.flatnonzero(in_frame > 0)
    if not len(shown):
        return None
    if in_frame[-1] > 0:
        return None if in_frame[-1] >= INSIDE or in_frame[-1] == in_frame.max() else UNCLEAR
    gone = int(shown[-1]) + 1
    whole = gone - int(shown[0]) == len(shown) and in_frame.max() >= SEEN
    return gone if whole else UNCLEAR


def _bends(legs: list[Leg]) -> dict[str, Moment]:
    """The one reversal or right-angle turn of a way; UNCLEAR for both where it bends twice or by another angle."""
    bends: dict[str, Moment] = {"reverse": None, "turn": None}
    moving = [leg for leg in legs if leg.moves]
    found = [(_bend(a, b), b.first) for a, b in pairwise(moving)]
    found = [(kind, frame) for kind, frame in found if kind != "straight"]
    if not found:
        return bends
    kind, frame = found[0]
    if len(found) > 1 or kind == "other" or any(_length(leg) < CLEAR_MOVE for leg in moving):
        return {"reverse": UNCLEAR, "turn": UNCLEAR}
    bends[kind] = frame
    return bends


def _bend(a: Leg, b: Leg) -> str:
    along = a.dx * b.dx + a.dy * b.dy
    across = abs(a.dx * b.dy - a.dy * b.dx)
    if across * 4 <= abs(along):
        return "straight" if along > 0 else "reverse"
    return "turn" if abs(along) * 4 <= across else "other"


def _heading(legs: list[Leg], travel: int) -> str | Unclear | None:
    dx, dy = sum(leg.dx for leg in legs), sum(leg.dy for leg in legs)
    if travel == 0:
        return None
    straight = isqrt(dx * dx + dy * dy) * 20 >= travel * 19
    if not straight or max(abs(dx), abs(dy)) < CLEAR_DIRECTION or min(abs(dx), abs(dy)) * 3 > max(abs(dx), abs(dy)):
        return UNCLEAR
    if abs(dx) > abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"
