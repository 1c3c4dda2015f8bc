"""Functional programs: what a sentence means, executed on the facts of a scene.

A program is a chain of steps, each narrowing the set of things that the step before it leaves; the sentence is about
the set that remains. Where a fact that a step needs is too close to call, execution raises ``Undecided``, and the
sentence is not asked about that video.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import UsageError
from .facts import CLEAR_MOVE, CLEAR_OFFSET, UNCLEAR, Facts, Unclear

Ids = frozenset[int]

MOMENTS = ("start", "stop", "enter", "exit", "reverse", "turn", "strike", "struck")
ORDERED = ("start", "stop", "enter", "exit", "strike", "struck")
"""Events that are others, or none, when the video is played backwards."""
HEADINGS = ("right", "left", "down", "up")
SIDES = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
EXTREMES = {"leftmost": (0, -1), "rightmost": (0, 1), "topmost": (1, -1), "lowest": (1, 1)}
WHENS = ("throughout", "at first", "at last")
USES: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "eat": (frozenset({"apple"}), frozenset({"fish"})),
    "drink from": (frozenset({"cup"}), frozenset()),
    "open a door": (frozenset({"key"}), frozenset()),
    "keep off the rain": (frozenset({"umbrella"}), frozenset({"house", "car"})),
    "live in": (frozenset({"house"}), frozenset({"boat", "car"})),
    "swim": (frozenset({"fish"}), frozenset({"boat"})),
    "drive on a road": (frozenset({"car"}), frozenset()),
    "cross a lake": (frozenset({"boat"}), frozenset({"fish"})),
    "pick from a tree": (frozenset({"apple"}), frozenset()),
    "put on a saucer": (frozenset({"cup"}), frozenset({"apple", "fish"})),
    "lose and be locked out": (frozenset({"key"}), frozenset()),
    "fold up after a shower": (frozenset({"umbrella"}), frozenset()),
    "wipe one's feet before": (frozenset({"house"}), frozenset({"boat", "car"})),
    "catch with a rod": (frozenset({"fish"}), frozenset()),
    "stop at a red light": (frozenset({"car"}), frozenset()),
    "moor in a harbour": (frozenset({"boat"}), frozenset()),
}
"""Knowledge about icons: for each use the icons that surely have it and those about which people may differ."""
UNSEEN_USES = tuple(USES)[8:]
"""Uses that no sentence of train or valid speaks of; every icon has one use of each sort."""


class Undecided(Exception):
    """The facts do not settle what the program asks: an outcome of asking, not a fault of the input."""


class Program(Protocol):
    """A step with everything before it."""

    @property
    def of(self) -> Program | None:
        """The step before this one."""
        ...

    @property
    def kind(self) -> str:
        """What kind of reasoning this step alone needs."""
        ...

    def select(self, ids: Ids, facts: Facts) -> Ids:
        """The things that this step keeps. Raises Undecided."""
        ...


@dataclass(frozen=True)
class Everything:
    """All things seen so far."""

    of = None
    kind = "none"

    def select(self, ids: Ids, facts: Facts) -> Ids:
        return facts.present


@dataclass(frozen=True)
class With:
    """Things with a value of an attribute: ``shape``, ``colour`` or ``size``."""

    attribute: str
    value: str
    of: Program
    kind = "attribute"

    def select(self, ids: Ids, facts: Facts) -> Ids:
        return frozenset(i for i in ids if getattr(facts.scene.thing(i), self.attribute) == self.value)


@dataclass(frozen=True)
class Usable:
    """Things for a use that one has to know about (a key of ``USES``)."""

    use: str
    of: Program
    kind = "world-knowledge"

    def select(self, ids: Ids, facts: Facts) -> Ids:
        surely, perhaps = USES[self.use]
        shapes = {i: facts.scene.thing(i).shape for i in ids}
        return _those(ids, lambda i: UNCLEAR if shapes[i] in perhaps else shapes[i] in surely)


@dataclass(frozen=True)
class Does:
    """Things to which something happens: one of ``MOMENTS``, or ``still``."""

    event: str
    of: Program

    @property
    def kind(self) -> str:
        return "temporal" if self.event in ORDERED else "motion"

    def select(self, ids: Ids, facts: Facts) -> Ids:
        if self.event == "still":
            return _those(ids, lambda i: facts.history(i).still)
        moments = {i: getattr(facts.history(i), self.event) for i in ids}
        return _those(ids, lambda i: UNCLEAR if moments[i] is UNCLEAR else moments[i] is not None)


@dataclass(frozen=True)
class Heads:
    """Things whose way leads to one side: one of ``HEADINGS``."""

    heading: str
    of: Program
    kind = "motion"

    def select(self, ids: Ids, facts: Facts) -> Ids:
        headings = {i: facts.history(i).heading for i in ids}
        return _those(ids, lambda i: UNCLEAR if headings[i] is UNCLEAR else headings[i] == self.heading)


@dataclass(frozen=True)
class Ranks:
    """The thing to which something happens ``first`` or ``last`` among those to which it happens."""

    event: str
    rank: str
    of: Program
    kind = "temporal"

    def select(self, ids: Ids, facts: Facts) -> Ids:
        if self.event == "start" and any(_starts_otherwise(facts, i) for i in ids):
            raise Undecided
        moments = {i: getattr(facts.history(i), self.event) for i in ids}
        happened = {i: moment for i, moment in moments.items() if isinstance(moment, int)}
        if self.rank == "first" and not facts.whole and happened:
            return self._first_so_far(happened, facts)
        if any(moment is UNCLEAR for moment in moments.values()):
            raise Undecided
        return _outermost(happened, facts.clear_gap, lowest=self.rank == "first")

    def _first_so_far(self, happened: dict[int, int], facts: Facts) -> Ids:
        """Who was first is known soon after it happened, whatever the others do later."""
        first = min(happened, key=lambda i: happened[i])
        if happened[first] + facts.clear_gap >= facts.n_frames:
            raise Undecided
        return frozenset({first})


@dataclass(frozen=True)
class Travels:
    """The thing with the longest (``most``) or shortest (``least``) way in view, by a factor of at least 3/2."""

    rank: str
    of: Program
    kind = "motion"

    def select(self, ids: Ids, facts: Facts) -> Ids:
        travels = {i: facts.history(i).travel for i in ids}
        if self.rank == "least" and min(travels.values(), default=0) < CLEAR_MOVE:
            raise Undecided
        found = _outermost(travels, CLEAR_MOVE, lowest=self.rank == "least")
        first, second = sorted(travels.values(), reverse=self.rank == "most")[:2]
        if max(first, second) * 2 < min(first, second) * 3:
            raise Undecided
        return found


@dataclass(frozen=True)
class Outermost:
    """The thing furthest to one side (a key of ``EXTREMES``): ``throughout``, ``at first`` or ``at last``."""

    side: str
    when: str
    of: Program
    kind = "spatial"

    def select(self, ids: Ids, facts: Facts) -> Ids:
        axis, sign = EXTREMES[self.side]
        reaches = {i: _reach(facts, i, axis, sign, self.when) for i in ids}
        if len(reaches) < 2:
            raise Undecided
        best = max(reaches, key=lambda i: reaches[i][0])
        if any(reaches[best][0] - reaches[i][1] < CLEAR_OFFSET for i in ids if i != best):
            raise Undecided
        return frozenset({best})


@dataclass(frozen=True)
class Beside:
    """Things on one side (a key of ``SIDES``) of another thing."""

    side: str
    when: str
    anchor: Program
    of: Program
    kind = "spatial"

    def select(self, ids: Ids, facts: Facts) -> Ids:
        axis, sign = SIDES[self.side]
        anchor = only(self.anchor, facts)
        low, high = _reach(facts, anchor, axis, sign, self.when)
        others = ids - {anchor}
        reaches = {i: _reach(facts, i, axis, sign, self.when) for i in others}
        return _those(others, lambda i: _beyond(reaches[i], (low, high)))


@dataclass(frozen=True)
class Passes:
    """Things that pass ``behind`` or ``in front of`` another thing that lies still."""

    where: str
    anchor: Program
    of: Program
    kind = "motion"

    def select(self, ids: Ids, facts: Facts) -> Ids:
        anchor = only(self.anchor, facts)
        ask = facts.goes_behind if self.where == "behind" else facts.passes_in_front
        return _those(ids - {anchor}, lambda i: ask(i, anchor))


@dataclass(frozen=True)
class Same:
    """The other things that share an attribute with a thing."""

    attribute: str
    anchor: Program
    of: Program
    kind = "attribute"

    def select(self, ids: Ids, facts: Facts) -> Ids:
        anchor = only(self.anchor, facts)
        value = getattr(facts.scene.thing(anchor), self.attribute)
        return frozenset(i for i in ids - {anchor} if getattr(facts.scene.thing(i), self.attribute) == value)


@dataclass(frozen=True)
class Both:
    """The things that two programs select together."""

    one: Program
    other: Program
    of = None
    kind = "none"

    def select(self, ids: Ids, facts: Facts) -> Ids:
        return execute(self.one, facts) | execute(self.other, facts)


STEPS = (Everything, With, Usable, Does, Heads, Ranks, Travels, Outermost, Beside, Passes, Same, Both)


def execute(program: Program, facts: Facts) -> Ids:
    """The ids of the things that the program selects; empty where nothing fits. Raises Undecided."""
    before = execute(program.of, facts) if program.of is not None else frozenset()
    return program.select(before, facts)


def only(program: Program, facts: Facts) -> int:
    """The one thing that the program selects. Raises Undecided where there are none or several."""
    if program not in facts.answers:
        facts.answers[program] = execute(program, facts)
    ids = facts.answers[program]
    if len(ids) != 1:
        raise Undecided
    return next(iter(ids))


def chain(program: Program) -> list[Program]:
    """The steps from the first to the last."""
    before = chain(program.of) if program.of is not None else []
    return [*before, program]


def steps(program: Program) -> Iterator[Program]:
    """Every step of the program and of the programs that it refers to."""
    for step in chain(program):
        yield step
        for part in ("anchor", "one", "other"):
            inner = getattr(step, part, None)
            if inner is not None:
                yield from steps(inner)


def depth(program: Program) -> int:
    """How many steps of reasoning a sentence needs: everything but "look at all things" and "take both"."""
    return sum(step.kind != "none" for step in steps(program))


def ordered(program: Program) -> bool:
    """Whether the sentence is about the order of events, so that the video must not be played backwards for it."""
    return any(step.kind == "temporal" for step in steps(program))


def narrowing(program: Program, facts: Facts) -> list[int]:
    """How many things are left after each step of the chain: the target and those that match so far."""
    left: list[int] = []
    ids: Ids = frozenset()
    for step in chain(program):
        ids = step.select(ids, facts)
        left.append(len(ids))
    return left


def to_json(program: Program) -> dict[str, Any]:
    """The program as plain JSON values, ``{"step": …, argument: value or program}``."""
    out: dict[str, Any] = {"step": type(program).__name__.lower()}
    for name in getattr(type(program), "__dataclass_fields__", {}):
        value = getattr(program, name)
        out[name] = value if isinstance(value, str) else to_json(value)
    return out


def from_json(data: Mapping[str, Any]) -> Program:
    """The program that ``to_json`` wrote. Raises UsageError for a step that there is not."""
    kinds: dict[str, Any] = {step.__name__.lower(): step for step in STEPS}
    if data.get("step") not in kinds:
        raise UsageError(f"No step '{data.get('step')}' of a program. Known: {', '.join(kinds)}.")
    arguments = {k: from_json(v) if isinstance(v, Mapping) else v for k, v in data.items() if k != "step"}
    program: Program = kinds[data["step"]](**arguments)
    return program


def show(program: Program) -> str:
    """The program in one line, innermost step first to be done."""
    arguments = []
    for name in getattr(type(program), "__dataclass_fields__", {}):
        value = getattr(program, name)
        arguments.append(value if isinstance(value, str) else show(value))
    return f"{type(program).__name__.lower()}({', '.join(arguments)})"


def _those(ids: Ids, holds: Any) -> Ids:
    answers: dict[int, bool | Unclear] = {i: holds(i) for i in ids}
    if any(answer is UNCLEAR for answer in answers.values()):
        raise Undecided
    return frozenset(i for i, answer in answers.items() if answer)


def _outermost(values: dict[int, int], gap: int, *, lowest: bool) -> Ids:
    """The one with the lowest or highest value. Raises Undecided where fewer than two compete or two are too near."""
    if len(values) < 2:
        raise Undecided
    ranked = sorted(values, key=lambda i: values[i], reverse=not lowest)
    if abs(values[ranked[0]] - values[ranked[1]]) < gap:
        raise Undecided
    return frozenset({ranked[0]})


def _starts_otherwise(facts: Facts, thing_id: int) -> bool:
    """It moves from the first frame on or only comes in later, so a person may count that as its start."""
    history = facts.history(thing_id)
    return history.moves_at_once or history.enter is not None


def _reach(facts: Facts, thing_id: int, axis: int, sign: int, when: str) -> tuple[int, int]:
    """(least, greatest) position along a signed axis."""
    span = facts.place(thing_id, axis, when)
    if span is UNCLEAR:
        raise Undecided
    low, high = sorted(sign * value for value in span)
    return low, high


def _beyond(reach: tuple[int, int], anchor: tuple[int, int]) -> bool | Unclear:
    if reach[0] - anchor[1] >= CLEAR_OFFSET:
        return True
    return False if reach[1] - anchor[0] <= -CLEAR_OFFSET // 3 else UNCLEAR
