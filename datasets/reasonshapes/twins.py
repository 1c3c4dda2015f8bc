"""Counterfactual twins: four videos and pairs of sentences in which every shortcut is right exactly half of the time.

A *quartet* is made of one cast of things. The videos are

    ``a``  as made
    ``r``  ``a`` played backwards: the same frames in the opposite order
    ``s``  ``a`` with the events swapped: every path is the same, but the things exchange when, or whether, they act
    ``t``  ``s`` played backwards

A sentence about the order of events is asked only where it has one plain answer in each of the four, and where that
answer changes from a video to its reversed and to its swapped twin. Its *minimal pair*, the same sentence with one word
exchanged (first and last, starts and stops), is asked beside it and has another answer. So of the two answers that a
pair of twins has, a predictor that cannot tell the twins apart is right for one:

    blind to the order of frames      a and r, s and t have the same frames
    sees the first or last frame only a and s, r and t begin and end alike
    blind to the video                all four get the same sentence
    blind to the sentence             the minimal pair has the same video

Where two things collide, their places in the last frame tell who was pushed, so swapped twins of collisions share the
first frame alone, and only ``a`` and ``s`` are marked as such twins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import isqrt
from typing import Literal

from .choreography import (
    MARGIN,
    Look,
    Point,
    Stage,
    Way,
    make_background,
    make_camera,
)
from .facts import Facts, Measurements
from .prng import Stream
from .programs import Does, Ids, Program, Ranks, Undecided, execute
from .questions import has_double, make_scopes, reads_otherwise, relations, well_seen
from .scene import COLOURS, RADII, UNIT, Scene, Thing, Trajectory, Waypoint
from .shapes import SHAPES

Family = Literal["appearance-unique", "look-alike"]
FAMILIES: tuple[Family, ...] = ("appearance-unique", "look-alike")
THEMES = ("stop", "cross", "reverse", "turn", "switch", "strike")
"""What the actors of a quartet do: two stop and two start; two come and two go; all turn back; all turn off; one stops
and one starts; one bumps into the other."""
HELD_OUT = {
    "stop": ("red", "cyan"),
    "switch": ("red", "cyan"),
    "cross": ("blue", "yellow"),
    "reverse": ("green", "white"),
    "turn": ("purple", "orange"),
    "strike": ("orange", "white"),
}
"""The colours in which nobody acts so, except in the test of new combinations, where everybody who acts has one."""
_ALSO = {"cross": "stop", "strike": "stop"}
"""What else the actors of a theme do: who comes in stops there, who strikes stops and sets going."""
VIEWS = ("a", "r", "s", "t")
REVERSED = (("a", "r"), ("s", "t"))
SWAPPED = (("a", "s"), ("r", "t"))
_EVENTS = {
    "stop": ("stop",),
    "cross": ("enter", "exit"),
    "reverse": ("reverse",),
    "turn": ("turn",),
}
SHORTEST = 10
"""Frames below which nothing can plainly happen before something else."""
_TRIES = 60


@dataclass(frozen=True)
class Quartet:
    """Four scenes of one cast and the sentences that they share.

    Attributes:
        theme: one of ``THEMES``.
        family: whether the actors look alike.
        scenes: by view, one of ``VIEWS``.
        pairs: (program, its minimal partner).
    """

    theme: str
    family: Family
    scenes: dict[str, Scene]
    pairs: tuple[tuple[Program, Program], ...]

    @property
    def swapped(self) -> tuple[tuple[str, str], ...]:
        """Pairs of views that begin alike."""
        return SWAPPED[:1] if self.theme == "strike" else SWAPPED


@dataclass(frozen=True)
class Actor:
    """A thing that acts: how it moves as made and in the swapped video."""

    look: Look
    way: Way
    swapped: Way


def make_quartet(
    seed: int,
    family: Family,
    *,
    height: int,
    width: int,
    n_frames: int,
    n_bystanders: tuple[int, int] = (0, 2),
    patterns: Sequence[str],
    combinations_held_out: bool = False,
    n_pairs: int = 2,
    keep: Callable[[Program], bool] = lambda program: True,
) -> Quartet:
    """The quartet of a seed; casts are tried until one has a sentence to ask.

    Args:
        seed: any integer.
        family: whether the actors look alike, and with them the target and another thing.
        height, width: nominal size, which fixes the aspect ratio.
        n_frames: at least ``SHORTEST``.
        n_bystanders: the least and greatest number of things that do not act.
        patterns: textures to choose from.
        combinations_held_out: the actors have colours of ``HELD_OUT``; otherwise they never have.
        n_pairs: so many sentences with their partners.
        keep: which programs may be asked.
    """
    stream = Stream(seed)
    stage = Stage(width * UNIT // height, n_frames)
    background = make_background(stream.fork("background"), patterns)
    camera = make_camera(stream.fork("camera"), n_frames)
    themes = stream.fork("theme").shuffled(THEMES)
    attempt = 0
    while True:
        # The theme of the seed first; others only where it finds no room.
        theme = themes[attempt // _TRIES % len(themes)]
        cast = _cast(stream.fork(f"cast {attempt}"), theme, family, stage, n_bystanders, combinations_held_out)
        attempt += 1
        if cast is None:
            continue
        made, swapped = (Scene(seed, height, width, n_frames, background, tuple(things), camera) for things in cast)
        scenes = {"a": made, "r": made.reversed(), "s": swapped, "t": swapped.reversed()}
        pairs = _pairs(theme, family, scenes, stream.fork(f"pairs {attempt}"), n_pairs, keep)
        if len(pairs) == n_pairs:
            return Quartet(theme, family, scenes, pairs)


# The cast -------------------------------------------------------------------------------------------------------------


def _cast(
    stream: Stream, theme: str, family: Family, stage: Stage, n_bystanders: tuple[int, int], held_out: bool
) -> tuple[list[Thing], list[Thing]] | None:
    """The things as made and as swapped, in one random order of ids and depths; None where there was no room."""
    looks = _looks(stream.fork("looks"), theme, family, held_out)
    actors = _actors(stream.fork("actors"), theme, looks, stage)
    if actors is None:
        return None
    # Two actors alone would make every sentence a choice between two.
    for k in range(stream.fork("bystanders").between(*n_bystanders) + (len(actors) == 2)):
        idle = _bystander(stream.fork(f"bystander {k}"), actors, stage)
        if idle is None:
            return None
        actors.append(idle)
    depths = stream.fork("depths").shuffled(range(1, len(actors) + 1))
    order = stream.fork("ids").shuffled(range(len(actors)))
    things = [_thing(number, actors[k], depths[k]) for number, k in enumerate(order, start=1)]
    return [a for a, _ in things], [b for _, b in things]


def _thing(number: int, actor: Actor, depth: int) -> tuple[Thing, Thing]:
    size, colour, shape = actor.look
    made = Thing(number, shape, colour, size, depth, Trajectory(actor.way))
    return made, replace(made, trajectory=Trajectory(actor.swapped))


def _n_actors(theme: str, stream: Stream) -> int:
    if theme in ("stop", "cross"):
        return 4
    return stream.between(2, 4) if theme in ("reverse", "turn") else 2


def _looks(stream: Stream, theme: str, family: Family, held_out: bool) -> list[Look]:
    """One look for all actors, or a different one for each; of colours that are free for the theme or held out."""
    n = _n_actors(theme, stream)
    colours = stream.shuffled(HELD_OUT[theme] if held_out else common_colours(theme))
    shapes = stream.shuffled(list(SHAPES))
    size = "small" if n > 2 or stream.chance(1, 2) else "large"
    if family == "look-alike":
        return [(size, colours[0], shapes[0])] * n
    pool = [(size, colour, shape) for colour in colours[:2] for shape in shapes[:3]]
    return stream.shuffled(pool)[:n]


def common_colours(theme: str) -> list[str]:
    """The colours in which things act so outside the test of new combinations."""
    rare = {*HELD_OUT[theme], *HELD_OUT[_ALSO.get(theme, theme)]}
    return [colour for colour in COLOURS if colour not in rare]


def _actors(stream: Stream, theme: str, looks: Sequence[Look], stage: Stage) -> list[Actor] | None:
    if theme == "strike":
        return _collision(stream, looks, stage)
    roles = _roles(stream.fork("roles"), theme, len(looks), stage)
    actors: list[Actor] = []
    if len(roles) < len(looks):
        return None
    for k, (look, (as_made, as_swapped)) in enumerate(zip(looks, roles, strict=True)):
        tries = (_acting(stream.fork(f"way {k} {t}"), look, as_made, as_swapped, stage) for t in range(_TRIES))
        actor = next((a for a in tries if _clear_of(a, actors, stage)), None)
        if actor is None:
            return None
        actors.append(actor)
    return actors


Role = tuple[str, int]


def _roles(stream: Stream, theme: str, n: int, stage: Stage) -> list[tuple[Role, Role]]:
    """For every actor what it does and when, as made and as swapped; fewer where there is no time for all."""
    if theme == "switch":
        stop, start = ("stop", stream.choice(stage.cues())), ("start", stream.choice(stage.cues()))
        return [(stop, start), (start, stop)]
    if theme in ("stop", "cross"):
        kinds = ("stop", "start") if theme == "stop" else ("enter", "exit")
        out = []
        for kind in kinds:
            cues = stream.shuffled(stage.cues()) if theme == "stop" else _crossing_cues(stream, kind, stage)
            early, late = sorted(cues[:2]) if len(cues) > 1 else (0, 0)
            out += [((kind, early), (kind, late)), ((kind, late), (kind, early))] if late else []
        return out
    cues = sorted(stream.shuffled(stage.cues())[:n])
    mirrored = cues[::-1]
    return stream.shuffled([((theme, a), (theme, b)) for a, b in zip(cues, mirrored, strict=True)])


def _crossing_cues(stream: Stream, kind: str, stage: Stage) -> list[int]:
    """Moments to come or go that lie on one side of the middle, so that the middle frame does not tell their order.

    A frame between the two moments shows one of the things and not the other; that cannot be helped.
    """
    before = [cue for cue in stage.cues() if cue + _crossing_time(stage) <= (stage.last - 1) // 2]
    after = [cue for cue in stage.cues() if cue > stage.last // 2 + stage.last % 2]
    cues = stream.shuffled(before if stream.chance(1, 2) else after)
    return cues if kind == "enter" else [stage.last - cue for cue in cues]


def _crossing_time(stage: Stage) -> int:
    """Frames that a thing needs to come in or go out."""
    return max(2, stage.n_frames // 8)


def _acting(stream: Stream, look: Look, as_made: Role, as_swapped: Role, stage: Stage) -> Actor:
    """A path, and the ways along it at the times of both roles."""
    path = _path(stream, as_made[0], stage, RADII[look[0]])
    return Actor(look, _timed(path, as_made, stage), _timed(path, as_swapped, stage))


def _path(stream: Stream, kind: str, stage: Stage, radius: int) -> tuple[Point, ...]:
    """Where a thing goes, whenever it does: two points, or three for a way with a bend."""
    pad = radius + MARGIN
    if kind in ("enter", "exit"):
        axis, from_low = stream.below(2), stream.chance(1, 2)
        inward = pad + stream.between(UNIT // 8, stage.size(axis) // 3)
        along = stream.between(pad, stage.size(1 - axis) - pad)
        outside, inside = (-pad, inward) if from_low else (stage.size(axis) + pad, stage.size(axis) - inward)
        ends = [(v, along) if axis == 0 else (along, v) for v in (outside, inside)]
        return tuple(ends if kind == "enter" else ends[::-1])
    first = (stream.between(pad, stage.width - pad), stream.between(pad, UNIT - pad))
    directions = [(1, 0), (-1, 0), (0, 1), (0, -1)]
    direction = stream.choice(directions)
    there = stream.between(UNIT * 3 // 10, UNIT * 6 // 10)
    second = _moved(first, direction, there)
    if kind in ("stop", "start"):
        return _inside(stage, pad, (first, second))
    onward = stream.between(UNIT * 3 // 10, UNIT * 6 // 10)
    if kind == "reverse":
        back = (-direction[0], -direction[1])
    else:
        back = stream.choice([d for d in directions if d[0] * direction[0] + d[1] * direction[1] == 0])
    return _inside(stage, pad, (first, second, _moved(second, back, onward)))


def _moved(point: Point, direction: Point, length: int) -> Point:
    return point[0] + direction[0] * length, point[1] + direction[1] * length


def _inside(stage: Stage, pad: int, points: tuple[Point, ...]) -> tuple[Point, ...]:
    """The path moved as a whole until it lies in the frame; empty where it is too long for that."""
    shift = []
    for axis in (0, 1):
        values = [p[axis] for p in points]
        low, high = pad - min(values), stage.size(axis) - pad - max(values)
        if low > high:
            return ()
        shift.append(max(low, min(high, 0)))
    return tuple((x + shift[0], y + shift[1]) for x, y in points)


def _timed(path: tuple[Point, ...], role: Role, stage: Stage) -> Way:
    """The way along the path whose event is at the role's frame; empty for an empty path."""
    kind, cue = role
    if not path:
        return ()
    if kind == "stop":
        return (Waypoint(0, *path[0]), Waypoint(cue, *path[1]))
    if kind == "enter":
        return (Waypoint(0, *path[0]), Waypoint(cue, *path[0]), Waypoint(cue + _crossing_time(stage), *path[1]))
    if kind == "exit":
        return (Waypoint(0, *path[0]), Waypoint(cue - _crossing_time(stage), *path[0]), Waypoint(cue, *path[1]))
    if kind == "start":
        return (Waypoint(0, *path[0]), Waypoint(cue, *path[0]), Waypoint(stage.last, *path[1]))
    return (Waypoint(0, *path[0]), Waypoint(cue, *path[1]), Waypoint(stage.last, *path[2]))


def _collision(stream: Stream, looks: Sequence[Look], stage: Stage) -> list[Actor] | None:
    """Two things on a line: as made the first strikes the second, as swapped the second the first."""
    radii = [RADII[look[0]] for look in looks]
    pad = max(radii) + MARGIN
    touch = sum(radii) * 19 // 20
    gap = touch + stream.between(UNIT // 5, UNIT * 3 // 10)
    push = stream.between(UNIT // 5, UNIT * 3 // 10)
    axis = 0 if stream.chance(2, 3) else 1
    room = stage.size(axis) - 2 * (pad + push) - gap
    if room < 0:
        return None
    low = pad + push + stream.below(room + 1)
    across = stream.between(pad, stage.size(1 - axis) - pad)
    places = [low, low + gap]
    cues = stage.cues()
    cue = stream.choice(cues[len(cues) // 4 : -(len(cues) // 4) or None])
    ways = [_collision_ways(places, striker, touch, push, cue, axis, across, stage) for striker in (0, 1)]
    actors = [Actor(look, ways[0][k], ways[1][k]) for k, look in enumerate(looks)]
    return stream.shuffled(actors)


def _collision_ways(
    places: Sequence[int], striker: int, touch: int, push: int, cue: int, axis: int, across: int, stage: Stage
) -> list[Way]:
    """The ways of both things where the one of this number strikes."""
    sign = 1 if striker == 0 else -1
    other = 1 - striker

    def at(frame: int, value: int) -> Waypoint:
        return Waypoint(frame, *((value, across) if axis == 0 else (across, value)))

    ways: list[Way] = [(), ()]
    ways[striker] = (at(0, places[striker]), at(cue, places[other] - sign * touch))
    ways[other] = (at(0, places[other]), at(cue, places[other]), at(stage.last, places[other] + sign * push))
    return ways


def _bystander(stream: Stream, actors: Sequence[Actor], stage: Stage) -> Actor | None:
    """A thing that rests, or moves all the time, with another look than every actor."""
    taken = {actor.look for actor in actors}
    shapes = [actors[0].look[2], *SHAPES]
    for t in range(_TRIES):
        draw = stream.fork(f"try {t}")
        size = "small" if draw.chance(1, 2) else "large"
        look = (size, draw.choice(list(COLOURS)), draw.choice(shapes))
        radius = RADII[size]
        pad = radius + MARGIN
        place = (draw.between(pad, stage.width - pad), draw.between(pad, UNIT - pad))
        way: Way = (Waypoint(0, *place),)
        if draw.chance(1, 3):
            path = _inside(
                stage, pad, (place, _moved(place, draw.choice([(1, 0), (-1, 0), (0, 1), (0, -1)]), UNIT // 2))
            )
            if not path:
                continue
            way = (Waypoint(0, *path[0]), Waypoint(stage.last, *path[1]))
        idle = Actor(look, way, way)
        if look not in taken and _clear_of(idle, actors, stage):
            return idle
    return None


def _clear_of(actor: Actor, others: Sequence[Actor], stage: Stage) -> bool:
    """Whether the actor has a way and keeps a distance to the others in both videos."""
    if not actor.way:
        return False
    for one, pick in ((actor.way, "way"), (actor.swapped, "swapped")):
        own = Trajectory(one).positions(stage.n_frames)
        for other in others:
            theirs = Trajectory(getattr(other, pick)).positions(stage.n_frames)
            nearest = isqrt(int(((own - theirs) ** 2).sum(axis=1).min()))
            if nearest * 10 < (RADII[actor.look[0]] + RADII[other.look[0]]) * 11:
                return False
    return True


# The sentences --------------------------------------------------------------------------------------------------------


def _pairs(
    theme: str, family: Family, scenes: dict[str, Scene], stream: Stream, n: int, keep: Callable[[Program], bool]
) -> tuple[tuple[Program, Program], ...]:
    """Programs with their partners that are controlled in all four videos, plain ones and those that build on them."""
    facts = {view: Facts(Measurements(scene)) for view, scene in scenes.items()}
    scopes = make_scopes(facts["a"])
    plain = [p for scope in scopes.values() for p in _about_events(theme, scope)]
    sound = [p for p in plain if _controlled(p, theme, family, facts)]
    nested = [
        q
        for p in sound
        for scope in scopes.values()
        for q in relations(scope, [p])
        if partner(q) != q and _controlled(q, theme, family, facts)
    ]
    pools = [[p for p in pool if keep(p) and keep(partner(p))] for pool in (sound, nested)]
    chosen: list[Program] = []
    for k in range(n):
        pool = pools[k % 2] or pools[1 - k % 2]
        fresh = [p for p in pool if p not in chosen and partner(p) not in chosen]
        if fresh:
            step = stream.choice(sorted({type(p).__name__ for p in fresh}))
            chosen.append(stream.choice([p for p in fresh if type(p).__name__ == step]))
    return tuple((p, partner(p)) for p in chosen)


def _about_events(theme: str, scope: Program) -> Iterator[Program]:
    """Sentences about what the theme's actors do, one of each minimal pair."""
    if theme == "switch":
        yield Does("stop", scope)
    elif theme == "strike":
        yield Does("strike", scope)
    else:
        yield from (Ranks(event, "first", scope) for event in _EVENTS[theme])


_OPPOSITES = {
    "first": "last",
    "last": "first",
    "stop": "start",
    "start": "stop",
    "strike": "struck",
    "struck": "strike",
}


def partner(program: Program) -> Program:
    """The program with the word about order exchanged, wherever in it that is; itself where there is none."""
    changes: dict[str, object] = {}
    if isinstance(program, Ranks):
        changes["rank"] = _OPPOSITES[program.rank]
    elif isinstance(program, Does) and program.event in _OPPOSITES:
        changes["event"] = _OPPOSITES[program.event]
    for part in ("of", "anchor"):
        inner = getattr(program, part, None)
        if inner is not None:
            changes[part] = partner(inner)
    return replace(program, **changes) if changes else program  # type: ignore[type-var]


def _controlled(program: Program, theme: str, family: Family, facts: dict[str, Facts]) -> bool:
    """Whether a sentence and its partner have one answer in all four videos and every twin another answer."""
    answers = []
    for p in (program, partner(program)):
        given = {view: _one(p, family, f) for view, f in facts.items()}
        if any(answer is None for answer in given.values()):
            return False
        answers.append(given)
    if any(answers[0][view] == answers[1][view] for view in VIEWS):
        return False
    twins = REVERSED + (SWAPPED[:1] if theme == "strike" else SWAPPED)
    return all(given[x] != given[y] for given in answers for x, y in twins)


def _one(program: Program, family: Family, facts: Facts) -> Ids | None:
    """The one thing of the family that the sentence means in a video, if it can be seen and cannot be misread."""
    try:
        answer = execute(program, facts)
    except Undecided:
        return None
    if len(answer) != 1 or not well_seen(facts, answer) or reads_otherwise(program, answer, facts):
        return None
    alike = has_double(facts.scene, facts.present, answer)
    return answer if alike == (family == "look-alike") else None
