"""Choosing what to ask about a scene: every program that has one plain answer there, then a balanced few of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from .facts import Facts
from .language import Form, Wording, say
from .prng import Stream
from .programs import (
    EXTREMES,
    HEADINGS,
    MOMENTS,
    SIDES,
    USES,
    WHENS,
    Beside,
    Both,
    Does,
    Everything,
    Heads,
    Ids,
    Outermost,
    Passes,
    Program,
    Ranks,
    Same,
    Travels,
    Undecided,
    Usable,
    With,
    chain,
    execute,
    steps,
)
from .scene import Scene

KINDS = ("attribute", "spatial", "motion", "temporal", "world-knowledge", "multi-step", "multi-object", "no-target")
_WEIGHTS = {"Ranks": 5, "Passes": 4, "Does": 3, "Heads": 2, "Travels": 2, "With": 3}
_SHORTEST_SIGHT = 12
"""Pixels, on the raster of facts, from which on a thing counts as seen in a frame."""


@dataclass(frozen=True)
class Question:
    """A program with its answer in this scene."""

    program: Program
    targets: Ids
    kind: str

    @property
    def many(self) -> bool:
        return len(self.targets) > 1


def ask(
    facts: Facts,
    stream: Stream,
    n: int,
    kinds: Sequence[str] = KINDS[:-1],
    *,
    keep: Callable[[Program], bool] = lambda program: True,
    held_out: bool = False,
) -> list[tuple[Question, Form, Wording]]:
    """Up to ``n`` questions of different kinds about different things, each in words.

    Args:
        facts: of the whole video.
        stream: makes every choice.
        n: how many at most; fewer where the scene has fewer.
        kinds: those wanted; ``no-target`` is asked only where it is named here.
        keep: which programs may be asked.
        held_out: use the held-out wordings.
    """
    pools = _by_kind([q for q in questions(facts) if keep(q.program)], kinds)
    if "no-target" in kinds:
        pools["no-target"] = [q for q in _unanswerable(facts) if keep(q.program)]
    chosen = _balanced({kind: pool for kind, pool in pools.items() if pool}, stream.fork("choice"), n)
    words = stream.fork("words")
    out: list[tuple[Question, Form, Wording]] = []
    for question in chosen:
        form: Form = "short" if words.chance(9, 20) else "long"
        out.append((question, form, say(question.program, form, words, len(question.targets), held_out=held_out)))
    return out


def questions(facts: Facts) -> list[Question]:
    """Every question with an answer that the grammar can ask of this scene, none with a word too many."""
    scopes = make_scopes(facts)
    names = _names(scopes)
    plain = [_question(program, ids) for ids, program in scopes.items()]
    clauses = list(_clauses(scopes, names, facts))
    events = {
        q.targets: q.program for q in clauses if isinstance(q.program, (Does, Heads, Ranks, Travels)) and not q.many
    }
    nested = list(_clauses(scopes, list(events.values()), facts, anchored=True))
    pairs = [
        Question(Both(a, b), execute(a, facts) | execute(b, facts), "multi-object") for a, b in combinations(names, 2)
    ]
    chained = list(_chained(clauses, facts))
    found = [
        q for q in (*plain, *clauses, *nested, *chained, *pairs) if q.targets and len(q.targets) < len(facts.present)
    ]
    return [q for q in found if well_seen(facts, q.targets)]


def disambiguation_frame(program: Program, targets: Ids, watched: Sequence[Facts]) -> int:
    """The first frame by which the sentence has its answer and after which it never has another.

    Args:
        program: what is asked.
        targets: its answer in the whole video.
        watched: ``facts.beginnings`` of the video.
    """
    first = len(watched) - 1
    for t in reversed(range(len(watched))):
        answer = _answer(program, watched[t])
        if answer is None:
            continue
        if answer != targets:
            break
        first = t
    return first


def kind_of(program: Program, n_targets: int) -> str:
    """Which kind of reasoning the program needs (one of ``KINDS``)."""
    if n_targets == 0:
        return "no-target"
    if n_targets > 1:
        return "multi-object"
    hard = [step.kind for step in steps(program) if step.kind not in ("none", "attribute")]
    comparisons = sum(isinstance(step, Same) for step in steps(program))
    if len(hard) + comparisons > 1:
        return "multi-step"
    return hard[0] if hard else "attribute"


# The programs of a scene ---------------------------------------------------------------------------------------------


def _question(program: Program, targets: Ids) -> Question:
    return Question(program, targets, kind_of(program, len(targets)))


def make_scopes(facts: Facts) -> dict[Ids, Program]:
    """For every set of things that attributes single out, its shortest description."""
    scopes: dict[Ids, Program] = {facts.present: Everything()}
    looks = sorted({facts.scene.thing(i).look for i in facts.present})
    for n_words in (1, 2, 3):
        for attributes in combinations(("shape", "colour", "size"), n_words):
            for look in looks:
                values = dict(zip(("size", "colour", "shape"), look, strict=True))
                program: Program = Everything()
                for attribute in attributes:
                    program = With(attribute, values[attribute], program)
                scopes.setdefault(execute(program, facts), program)
    return scopes


def _names(scopes: dict[Ids, Program]) -> list[Program]:
    """The shortest descriptions of single things by their looks."""
    return [program for ids, program in scopes.items() if len(ids) == 1]


def _clauses(
    scopes: dict[Ids, Program], anchors: Sequence[Program], facts: Facts, *, anchored: bool = False
) -> Iterator[Question]:
    """Questions whose last step is a clause about a scope of at least two things.

    Args:
        scopes, facts: of the scene.
        anchors: what relations may refer to.
        anchored: relations alone.
    """
    for ids, scope in scopes.items():
        if len(ids) < 2:
            continue
        makers = relations(scope, anchors) if anchored else [*_actions(scope, facts), *relations(scope, anchors)]
        for program in makers:
            answer = _selected(program, ids, facts)
            if not answer or len(answer) == len(ids):
                continue
            if not _wordy(program, answer, facts) and not reads_otherwise(program, answer, facts):
                yield _question(program, answer)


def _chained(clauses: Sequence[Question], facts: Facts) -> Iterator[Question]:
    """Two clauses about one scope, of which neither alone gives the answer: "that turns back and that is red"."""
    filters = [q for q in clauses if isinstance(q.program, (Does, Heads, Beside, Passes))]
    for first, second in combinations(filters, 2):
        same_scope = first.program.of == second.program.of
        if not same_scope or (isinstance(first.program, Beside) and isinstance(second.program, Beside)):
            continue
        answer = first.targets & second.targets
        if answer and answer not in (first.targets, second.targets):
            program = replace(second.program, of=first.program)  # type: ignore[type-var]
            if _answer(program, facts) == answer:
                yield _question(program, answer)


def _actions(scope: Program, facts: Facts) -> Iterator[Program]:
    """Every last step that refers to no other thing."""
    yield from (Does(event, scope) for event in (*MOMENTS, "still"))
    yield from (Heads(heading, scope) for heading in HEADINGS)
    yield from (Ranks(event, rank, scope) for event in MOMENTS for rank in ("first", "last"))
    yield from (Travels(rank, scope) for rank in ("most", "least"))
    yield from (Outermost(side, when, scope) for side in EXTREMES for when in WHENS)
    yield from (Usable(use, scope) for use, (icons, _) in USES.items() if icons & _shapes(facts))


def _shapes(facts: Facts) -> frozenset[str]:
    return frozenset(facts.scene.thing(i).shape for i in facts.present)


def relations(scope: Program, anchors: Iterable[Program]) -> Iterator[Program]:
    """Every last step that relates a scope to one of the anchors."""
    for anchor in anchors:
        yield from (Beside(side, when, anchor, scope) for side in SIDES for when in WHENS)
        yield from (Passes(where, anchor, scope) for where in ("behind", "in front of"))
        # "Of the same colour as the red one" says red already.
        named = {step.attribute for step in (*chain(scope), *chain(anchor)) if isinstance(step, With)}
        yield from (Same(attribute, anchor, scope) for attribute in ("colour", "shape") if attribute not in named)


def _selected(program: Program, ids: Ids, facts: Facts) -> Ids | None:
    """What the last step keeps of the things that are left before it; None where that is undecided."""
    try:
        return program.select(ids, facts)
    except Undecided:
        return None


def _answer(program: Program, facts: Facts) -> Ids | None:
    try:
        return execute(program, facts)
    except Undecided:
        return None


def _wordy(program: Program, answer: Ids, facts: Facts) -> bool:
    """Whether one of the scope's words could be left out, or the clause asks for what its words already say."""
    *scope, last = chain(program)
    words = [step for step in scope if isinstance(step, With)]
    if isinstance(last, Usable) and any(word.attribute == "shape" for word in words):
        return True
    if isinstance(last, Outermost | Beside) and last.when == "at last" and _known_at_first(last, answer, facts):
        return True
    return any(_answer(_without(program, word), facts) == answer for word in words)


def reads_otherwise(program: Program, answer: Ids, facts: Facts) -> bool:
    """Whether the last clause, taken to be about the thing asked for and not about the anchor, has another answer.

    "The star above the circle that stops first" may be heard as "the star that is above the circle and stops first".
    """
    anchor = getattr(program, "anchor", None)
    if anchor is None or anchor.of is None or isinstance(anchor, With):
        return False
    plainly = replace(program, anchor=anchor.of)  # type: ignore[type-var]
    heard = _answer(replace(anchor, of=plainly), facts)
    return bool(heard) and heard != answer


def _known_at_first(last: Outermost | Beside, answer: Ids, facts: Facts) -> bool:
    """Whether asking for the end is no question about time, because the beginning has the same answer."""
    return _answer(replace(last, when="at first"), facts) == answer


def _without(program: Program, word: Program) -> Program:
    """The program with one step of its chain left out."""
    kept = [step for step in chain(program) if step is not word]
    shorter = kept[0]
    for step in kept[1:]:
        shorter = replace(step, of=shorter)  # type: ignore[type-var]
    return shorter


def _unanswerable(facts: Facts) -> Iterator[Question]:
    """Questions that fit nothing: a look that nothing has, or an action that nothing of that look does."""
    looks = [facts.scene.thing(i).look for i in facts.present]
    colours, shapes = (sorted({look[part] for look in looks}) for part in (1, 2))
    absent: list[Program] = [
        With("colour", colour, With("shape", shape, Everything())) for colour in colours for shape in shapes
    ]
    absent += [Does(event, scope) for scope in make_scopes(facts).values() for event in MOMENTS]
    yield from (_question(program, frozenset()) for program in absent if _answer(program, facts) == frozenset())


def well_seen(facts: Facts, targets: Ids) -> bool:
    """Whether every target is in plain view for at least an eighth of the video."""
    enough = max(1, facts.n_frames // 8)
    return all(int((facts.measured.seen[i - 1] >= _SHORTEST_SIGHT).sum()) >= enough for i in targets)


def has_double(scene: Scene, present: Ids, targets: Ids) -> bool:
    """Whether something that is not meant looks like something that is."""
    looks = {scene.thing(i).look for i in targets}
    return any(scene.thing(i).look in looks for i in present - targets)


# A balanced choice ---------------------------------------------------------------------------------------------------


def _by_kind(found: Sequence[Question], kinds: Sequence[str]) -> dict[str, list[Question]]:
    return {kind: [q for q in found if q.kind == kind] for kind in kinds}


def _balanced(pools: dict[str, list[Question]], stream: Stream, n: int) -> list[Question]:
    """Kinds in turn, the temporal kind and knowledge twice as often, because they need certain scenes."""
    chosen: list[Question] = []
    asked: Counter[Ids] = Counter()
    turns = stream.shuffled([*pools, *(kind for kind in ("temporal", "world-knowledge") if kind in pools)])
    while any(pools.values()) and len(chosen) < n:
        for kind in turns:
            if pools[kind] and len(chosen) < n:
                question = _pick(pools[kind], asked, stream)
                chosen.append(question)
                asked[question.targets] += 1
                pools[kind] = [q for q in pools[kind] if q.program != question.program]
    return chosen


def _pick(pool: list[Question], asked: Counter[Ids], stream: Stream) -> Question:
    """A type of last step first, since some types fit many scenes in many ways; then a target asked for least."""
    types = sorted({type(q.program).__name__ for q in pool})
    step = stream.choice([name for name in types for _ in range(_WEIGHTS.get(name, 1))])
    pool = [q for q in pool if type(q.program).__name__ == step]
    least = min(asked[q.targets] for q in pool)
    return stream.choice([q for q in pool if asked[q.targets] == least])
