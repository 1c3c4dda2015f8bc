"""Making a scene from a seed: who is there, how they look, and who does what when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from ..errors import RvosError, UsageError
from .prng import Stream
from .render import PATTERNS
from .scene import COLOURS, RADII, UNIT, Background, Scene, Thing, Trajectory, Waypoint
from .shapes import ICONS, SHAPES

Look = tuple[str, str, str]
THEMES = ("start", "stop", "enter", "exit", "reverse", "turn", "travel", "pass", "calm", "mixed")
"""What most of a scene is about, so that a video holds several things that do the same at different times."""
SHORTEST_ACTION = 8
"""A video with fewer frames shows things that lie still: nothing could be seen to happen before something else."""

MARGIN = UNIT // 40
_SOLID = ("circle", "square", "house")
_TINTS = ((128, 122, 112), (112, 124, 116), (116, 120, 132), (132, 120, 116), (122, 122, 122))


class SceneError(RvosError):
    """A scene that cannot be made as asked."""


@dataclass(frozen=True)
class Stage:
    """Where and how long things may move, in units and frames."""

    width: int
    n_frames: int

    @property
    def cue_gap(self) -> int:
        """Frames between the moments at which two things act, so that their order is plain to see."""
        return max(2, self.n_frames // 8)

    def cues(self) -> list[int]:
        """The moments at which something may happen, ``cue_gap`` apart and not too near either end."""
        edge = max(3, self.n_frames // 6)
        return list(range(edge, self.n_frames - edge, self.cue_gap))

    @property
    def last(self) -> int:
        """The last frame."""
        return self.n_frames - 1

    def size(self, axis: int) -> int:
        return self.width if axis == 0 else UNIT

    def pace(self, n_frames: int) -> int:
        """How far a thing goes in so many frames: four fifths of the frame's height in the whole video."""
        return UNIT * 4 * n_frames // (5 * max(self.n_frames - 1, 1))


def make_scene(
    seed: int,
    height: int = 64,
    width: int = 64,
    n_frames: int = 16,
    max_things: int = 6,
    *,
    min_things: int = 4,
    patterns: Sequence[str] = PATTERNS,
    icons: bool | None = None,
    shaken: bool = False,
) -> Scene:
    """The scene of a seed.

    Args:
        seed: any integer; the other arguments belong to the scene's identity too.
        height, width: nominal size in pixels, which fixes the aspect ratio.
        n_frames: at least 1.
        max_things: at least 2.
        min_things: fewer are not tried, but fewer may find room.
        patterns: the textures to choose from.
        icons: whether there are icons; by default in one scene of three.
        shaken: whether the camera may shake, as it does in one scene of four.

    Raises:
        UsageError: an argument out of range.
    """
    if min(height, width) < 16 or n_frames < 1 or max_things < 2:
        raise UsageError(
            f"A scene needs height and width >= 16, n_frames >= 1 and max_things >= 2; found {height}x{width}, "
            f"{n_frames} frames, {max_things} things."
        )
    stream = Stream(seed)
    stage = Stage(width * UNIT // height, n_frames)
    background = make_background(stream.fork("background"), patterns)
    camera = make_camera(stream.fork("camera"), n_frames) if shaken else ()
    for attempt in range(64):
        things = _cast(stream.fork(f"attempt {attempt}"), stage, min_things, max_things, icons)
        if len(things) >= 2:
            return Scene(seed, height, width, n_frames, background, tuple(things), camera)
    raise SceneError(f"No room for two things in a scene of {height}x{width}; use a wider or higher frame.")


def make_camera(stream: Stream, n_frames: int) -> tuple[tuple[int, int], ...]:
    """Offsets of a hand-held camera in one scene of four, none in the others; small enough to hide no thing."""
    if not stream.chance(1, 4):
        return ()
    reach = MARGIN * 4 // 5
    return tuple((stream.between(-reach, reach), stream.between(-reach, reach)) for _ in range(n_frames))


def make_background(stream: Stream, patterns: Sequence[str] = PATTERNS) -> Background:
    """A texture in two close greys."""
    tint = stream.choice(_TINTS)
    contrast = stream.between(14, 30)
    return Background(
        pattern=stream.choice(patterns),
        dark=(tint[0] - contrast, tint[1] - contrast, tint[2] - contrast),
        light=(tint[0] + contrast, tint[1] + contrast, tint[2] + contrast),
        grain=stream.between(UNIT // 8, UNIT // 3),
        seed=stream.draw(),
    )


@dataclass(frozen=True)
class Role:
    """How a thing looks, what it does, and the frame at which it does it."""

    look: Look
    kind: str
    cue: int


def _cast(stream: Stream, stage: Stage, min_things: int, max_things: int, icons: bool | None) -> list[Thing]:
    """The things that found room, in random order of ids and depths."""
    theme = stream.choice(THEMES) if stage.n_frames >= SHORTEST_ACTION else "calm"
    looks = _looks(stream.fork("looks"), stream.between(min(min_things, max_things), max_things), icons)
    roles = _roles(stream.fork("roles"), theme, looks, stage)
    crowding = stream.choice((8, 10, 11, 12))
    placed: list[tuple[Role, Thing]] = []
    for k, role in enumerate(roles):
        thing = _find_room(stream.fork(f"room {k}"), role, [t for _, t in placed], stage, crowding)
        if thing is not None:
            placed.append((role, thing))
    depths = _depths(stream.fork("depths"), [role for role, _ in placed])
    order = stream.fork("ids").shuffled(range(len(placed)))
    return [replace(placed[k][1], id=number, depth=depths[k]) for number, k in enumerate(order, start=1)]


def _looks(stream: Stream, n: int, icons: bool | None) -> list[Look]:
    """Looks from a few colours and shapes, so that one word seldom suffices; a group of doubles in most scenes."""
    colours = stream.shuffled(list(COLOURS))[:3]
    shapes = stream.shuffled(list(SHAPES))[:3]
    drawn = stream.chance(1, 3)
    if drawn if icons is None else icons:
        shapes = stream.shuffled(list(ICONS))[:3] + shapes[:1]
    doubles = min(stream.choice((0, 2, 2, 3)), n)
    first = _look(stream, colours, shapes)
    looks = [first] * doubles
    while len(looks) < n:
        look = _look(stream, colours, shapes)
        if not doubles or look != first:
            looks.append(look)
    return looks


def _look(stream: Stream, colours: Sequence[str], shapes: Sequence[str]) -> Look:
    """Icons are large, for their details."""
    shape = stream.choice(shapes)
    large = stream.chance(1, 2) or shape in ICONS
    return ("large" if large else "small", stream.choice(colours), shape)


def _roles(stream: Stream, theme: str, looks: Sequence[Look], stage: Stage) -> list[Role]:
    """Who does what when. The doubles are the first of ``looks``, so they mostly do the theme's action."""
    if stage.n_frames < SHORTEST_ACTION:
        return [Role(look, "still", 0) for look in looks]
    kinds = _kinds(stream, theme, len(looks))
    if theme == "pass":
        looks = _fitted_to_pass(stream, looks)
    cues = stream.shuffled(stage.cues())
    return [Role(look, kind, cues[k % len(cues)]) for k, (look, kind) in enumerate(zip(looks, kinds, strict=True))]


def _fitted_to_pass(stream: Stream, looks: Sequence[Look]) -> list[Look]:
    """The first is large, without holes and of its own colour, to hide things plainly; the next two are small."""
    _, _, shape = looks[0]
    free = [colour for colour in COLOURS if colour not in {look[1] for look in looks[1:]}]
    screen = ("large", stream.choice(free), shape if shape in _SOLID else stream.choice(_SOLID))
    return [screen, *(("small", look[1], look[2]) for look in looks[1:3]), *looks[3:]]


def _kinds(stream: Stream, theme: str, n: int) -> list[str]:
    if theme == "calm":
        return stream.shuffled([*(["still"] * (n - 1)), stream.choice(("cruise", "stop", "reverse"))])
    if theme == "pass":
        return ["screen", "behind", "before", *(stream.choice(("still", "cruise")) for _ in range(n))][:n]
    if theme == "mixed":
        some = stream.shuffled(["start", "stop", "enter", "exit", "reverse", "turn", "cruise", "still"])
        return [*some, *["still", "cruise"] * n][:n]
    if theme == "travel":
        return [*(["cruise"] * max(2, n - 1)), "still"][:n]
    actors = stream.between(2, max(2, n - 1))
    return [theme] * actors + [stream.choice(("still", "still", "cruise")) for _ in range(n - actors)]


def _find_room(stream: Stream, role: Role, placed: Sequence[Thing], stage: Stage, crowding: int) -> Thing | None:
    """A thing whose way keeps clear of the others', or None where none was found in 60 tries."""
    screen, others = (placed[:1], placed[1:]) if role.kind in ("behind", "before") else ((), placed)
    for _ in range(60):
        if screen:
            waypoints = _past(stream, stage, RADII[role.look[0]], screen[0])
        else:
            waypoints = RECIPES[role.kind](stream, stage, RADII[role.look[0]], role.cue)
        size, colour, shape = role.look
        thing = Thing(0, shape, colour, size, 0, Trajectory(waypoints))
        if _keeps_clear(thing, others, stage, crowding):
            return thing
    return None


def _keeps_clear(thing: Thing, others: Sequence[Thing], stage: Stage, crowding: int) -> bool:
    own = thing.trajectory.positions(stage.n_frames)
    return all(
        _nearest(own, other.trajectory.positions(stage.n_frames)) >= (thing.radius + other.radius) * crowding // 10
        for other in others
    )


def _nearest(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    return isqrt(int(((a - b) ** 2).sum(axis=1).min()))


def _depths(stream: Stream, roles: Sequence[Role]) -> list[int]:
    """Random depths, except that who passes behind is far and who passes in front is near."""
    shift = {"behind": -1000, "before": 1000}
    keys = [
        rank + shift.get(role.kind, 0) for rank, role in zip(stream.shuffled(range(len(roles))), roles, strict=True)
    ]
    return [sorted(keys).index(key) + 1 for key in keys]


# Ways through the stage ---------------------------------------------------------------------------------------------

Point = tuple[int, int]
Way = tuple[Waypoint, ...]
Recipe = Callable[[Stream, Stage, int, int], Way]


def _still(stream: Stream, stage: Stage, radius: int, cue: int) -> Way:
    a, _ = _line(stream, stage, radius, 0)
    return (Waypoint(0, *a),)


def _cruise(stream: Stream, stage: Stage, radius: int, cue: int) -> Way:
    a, b = _line(stream, stage, radius, stage.pace(stage.last) * stream.choice((30, 50, 75, 110)) // 100)
    return (Waypoint(0, *a), Waypoint(stage.last, *b))


def _start(stream: Stream, stage: Stage, radius: int, cue: int) -> Way:
    a, b = _line(stream, stage, radius, stage.pace(stage.last - cue))
    return (Waypoint(0, *a), Waypoint(cue, *a), Waypoint(stage.last, *b))


def _stop(stream: Stream, stage: Stage, radius: int, cue: int) -> Way:
    a, b = _line(stream, stage, radius, stage.pace(cue))
    return (Waypoint(0, *a), Waypoint(cue, *b))


def _reverse(stream: Stream, stage: Stage, radius: int, cue: int) -> Way:
    there, back = stage.pace(cue), stage.pace(stage.last - cue)
    far, near = _line(stream, stage, radius, max(there, back))
    short, long = min(there, back), max(there, back)
    between = (near[0] + (far[0] - near[0]) * short // long, near[1] + (far[1] - near[1]) * short // long)
    a, c = (far, between) if there >= back else (between, far)
    return (Waypoint(0, *a), Waypoint(cue, *near), Waypoint(stage.last, *c))


def _turn(stream: Stream, stage: Stage, radius: int, cue: int) -> Way:
    a, b = _line(stream, stage, radius, stage.pace(cue))
    length = max(isqrt((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2), 1)
    onward, side = stage.pace(stage.last - cue), stream.choice((-1, 1))
    across = (-(b[1] - a[1]) * onward * side // length, (b[0] - a[0]) * onward * side // length)
    c = (b[0] + across[0], b[1] + across[1])
    if not _holds(stage, radius, c):
        c = (b[0] - across[0], b[1] - across[1])
    return (Waypoint(0, *a), Waypoint(cue, *b), Waypoint(stage.last, *_pulled_in(stage, radius, c)))


def _enter(stream: Stream, stage: Stage, radius: int, cue: int) -> Way:
    outside, inside = _crossing(stream, stage, radius, stage.pace(stage.last - cue) // 2)
    waypoints = [Waypoint(0, *outside), Waypoint(cue - 1, *outside), Waypoint(stage.last, *inside)]
    return tuple(waypoints)


def _exit(stream: Stream, stage: Stage, radius: int, cue: int) -> Way:
    outside, inside = _crossing(stream, stage, radius, stage.pace(cue) // 2)
    return (Waypoint(0, *inside), Waypoint(cue, *outside))


def _past(stream: Stream, stage: Stage, radius: int, screen: Thing) -> Way:
    """A way through the centre of a thing that lies still, from one side of it to the other."""
    x, y = screen.trajectory.waypoints[0].x, screen.trajectory.waypoints[0].y
    ux, uy = _direction(stream)
    clear = radius + screen.radius + MARGIN
    before, after = (clear + stream.below(UNIT // 5) for _ in range(2))
    a = (x - ux * before // 1024, y - uy * before // 1024)
    b = (x + ux * after // 1024, y + uy * after // 1024)
    return (Waypoint(0, *_pulled_in(stage, radius, a)), Waypoint(stage.last, *_pulled_in(stage, radius, b)))


def _screen(stream: Stream, stage: Stage, radius: int, cue: int) -> Way:
    """Near the middle, so that there is room to pass on both sides."""
    return (Waypoint(0, *(stage.size(axis) * stream.between(40, 60) // 100 for axis in (0, 1))),)


RECIPES: dict[str, Recipe] = {
    "still": _still,
    "cruise": _cruise,
    "start": _start,
    "stop": _stop,
    "reverse": _reverse,
    "turn": _turn,
    "enter": _enter,
    "exit": _exit,
    "screen": _screen,
    "behind": _cruise,
    "before": _cruise,
}


def _direction(stream: Stream) -> Point:
    """A direction of length 1024: along an axis in three of four cases, so that it has a plain name."""
    if stream.chance(3, 4):
        return stream.choice(((1024, 0), (-1024, 0), (0, 1024), (0, -1024)))
    return stream.choice(((724, 724), (-724, 724), (724, -724), (-724, -724)))


def _line(stream: Stream, stage: Stage, radius: int, length: int) -> tuple[Point, Point]:
    """Two points inside the frame, ``length`` apart in a random direction where there is room, nearer otherwise."""
    pad = radius + MARGIN
    start, end = [], []
    for axis, part in enumerate(_direction(stream)):
        room = stage.size(axis) - 2 * pad
        shift = max(-room, min(room, part * length // 1024))
        start.append(stream.between(pad + max(0, -shift), pad + room - max(0, shift)))
        end.append(start[-1] + shift)
    return (start[0], start[1]), (end[0], end[1])


def _crossing(stream: Stream, stage: Stage, radius: int, inward: int) -> tuple[Point, Point]:
    """A point just outside the frame and one inside, straight in from it by the thing's own size and ``inward``."""
    pad = radius + MARGIN
    axis, from_low = stream.below(2), stream.chance(1, 2)
    depth = min(pad + inward, stage.size(axis) - pad)
    along = stream.between(pad, stage.size(1 - axis) - pad)
    ends = (-pad, depth) if from_low else (stage.size(axis) + pad, stage.size(axis) - depth)
    outside, inside = (((end, along) if axis == 0 else (along, end)) for end in ends)
    return outside, inside


def _holds(stage: Stage, radius: int, point: Point) -> bool:
    return point == _pulled_in(stage, radius, point)


def _pulled_in(stage: Stage, radius: int, point: Point) -> Point:
    """The nearest place at which a thing lies wholly inside the frame."""
    pad = radius + MARGIN
    return max(pad, min(stage.width - pad, point[0])), max(pad, min(UNIT - pad, point[1]))
