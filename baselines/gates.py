"""Gates: predictors that are blind to something, fitted as well as they can be, and what they must not solve.

Each gate scores every thing of a scene as an answer to a sentence. What it sees of the thing is read off the scene
graph, which is more than any network would get from the pixels, and the sentence comes parsed. It is fitted on
``train`` by conditional logistic regression: the log-odds of a thing are linear in what is seen of it, with
coefficients of their own for every word of the sentence.

    text-only        the sentence, and where on the picture a thing is at any time (a network that answers with a place)
    object-prior     everything about the things over time, no sentence
    single-frame     the sentence and the first, the middle or the last frame
    frame-shuffled   the sentence and all frames without their order

On sentences about the order of events (``about_order``) each of them must be at chance: of the target and the answer
of the sentence's twin it must prefer the target half of the time. The twin is the one that the gate is blind to (see
``rvos.datasets.reasonshapes.twins``): the reversed video for text-only and frame-shuffled, the swapped video for
single-frame, the minimal pair for object-prior. A gate holds where the 95 % interval of that preference does not lie
above one half.

    python -m rvos.baselines.gates --write docs/reasonshapes-gates.md
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..benchmarks.intervals import Interval, clustered_interval
from ..benchmarks.results import Table, shown
from ..datasets.reasonshapes.benchmark import VERSION, make_videos
from ..datasets.reasonshapes.facts import Facts, Measurements
from ..datasets.reasonshapes.generate import GeneratedSample, GeneratedVideo, generate
from ..datasets.reasonshapes.programs import MOMENTS, Everything, Program, With, chain, execute, steps
from ..datasets.reasonshapes.scene import COLOURS, UNIT

Vector = NDArray[np.float64]
Look = Callable[["Seen"], Vector]

CHANCE = 0.5
_ROUNDS, _RATE, _RIDGE = 250, 0.05, 1e-3


@dataclass(frozen=True)
class Seen:
    """What there is to see of a video: per thing and frame."""

    facts: Facts
    rows: tuple[int, ...]

    @classmethod
    def of(cls, video: GeneratedVideo) -> Seen:
        facts = Facts(Measurements(video.scene))
        return cls(facts, tuple(sorted(i - 1 for i in facts.present)))

    def places(self) -> Vector:
        """Centres in frame heights, float64 (things, frames, 2)."""
        return self.facts.scene.positions[list(self.rows)] / UNIT

    def in_view(self) -> Vector:
        """Share of every thing inside the frame, float64 (things, frames)."""
        return self.facts.measured.in_frame[list(self.rows)] / 1000

    def looks(self) -> Vector:
        """Size and colour, float64 (things, 1 + colours)."""
        things = [self.facts.scene.things[r] for r in self.rows]
        colours = [[float(t.colour == colour) for colour in COLOURS] for t in things]
        return np.concatenate([np.array([[float(t.size == "large")] for t in things]), np.array(colours)], axis=1)


# What the gates see ---------------------------------------------------------------------------------------------------


def whereabouts(seen: Seen) -> Vector:
    """The box that a thing is in at any time: the same however the video is played."""
    places = seen.places()
    low, high = places.min(axis=1), places.max(axis=1)
    return _with_ranks(np.concatenate([low, high, (low + high) / 2], axis=1))


def everything(seen: Seen) -> Vector:
    """All events with their times, travel, rest, looks and places at the beginning and the end."""
    length = seen.facts.n_frames
    events = []
    for row in seen.rows:
        history = seen.facts.history(row + 1)
        moments = [getattr(history, name) for name in MOMENTS]
        times = [m / length if isinstance(m, int) else 0.0 for m in moments]
        events.append([*(float(isinstance(m, int)) for m in moments), *times, history.travel / UNIT])
    places = seen.places()
    return _with_ranks(np.concatenate([np.array(events), places[:, 0], places[:, -1], seen.looks()], axis=1))


def unordered(seen: Seen) -> Vector:
    """Statistics of places and visibility over frames that do not depend on their order."""
    places, view = np.sort(seen.places(), axis=1), np.sort(seen.in_view(), axis=1)
    rest = _most_frequent(seen.facts.scene.positions[list(seen.rows)])
    parts = [places.min(axis=1), places.max(axis=1), np.median(places, axis=1), places.std(axis=1), rest]
    sights = [view.mean(axis=1), view.min(axis=1), (view > 0).mean(axis=1)]
    return _with_ranks(np.concatenate([*parts, np.stack(sights, axis=1), seen.looks()], axis=1))


def frame(which: float) -> Look:
    """What one frame shows, from 0 for the first to 1 for the last: places, visibility, distances, looks."""

    def look(seen: Seen) -> Vector:
        t = round(which * (seen.facts.n_frames - 1))
        places, view = seen.places()[:, t], seen.in_view()[:, t]
        width = seen.facts.scene.world_width / UNIT
        border = np.minimum.reduce([places[:, 0], width - places[:, 0], places[:, 1], 1 - places[:, 1]])
        gaps = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(len(places))
        centre = np.linalg.norm(places - [width / 2, 0.5], axis=1)
        columns = np.stack([view, border, gaps.min(axis=1), centre, border**2, centre**2], axis=1)
        return _with_ranks(np.concatenate([places, places**2, columns, seen.looks()], axis=1))

    return look


def _with_ranks(features: Vector) -> Vector:
    """The features and each one's rank among the scene's things: what "furthest" means is a rank."""
    values = features.round(9)
    below = (values[None] < values[:, None]).sum(axis=1) + (values[None] == values[:, None]).sum(axis=1) / 2
    return np.concatenate([features, below / len(features)], axis=1)


def _most_frequent(positions: NDArray[np.int64]) -> Vector:
    """The share of frames that a thing spends at the place where it is most often, float64 (things, 1)."""
    shares = [np.unique(p, axis=0, return_counts=True)[1].max() / len(p) for p in positions]
    return np.array(shares)[:, None]


@dataclass(frozen=True)
class Gate:
    """A blind predictor: what it sees, whether it reads, and the twin that it cannot tell apart."""

    name: str
    look: Look
    reads: bool
    twin: str


GATES = (
    Gate("text-only", whereabouts, True, "twin_reversed"),
    Gate("object-prior", everything, False, "twin_minimal"),
    Gate("single-frame, first", frame(0.0), True, "twin_swapped"),
    Gate("single-frame, middle", frame(0.5), True, "twin_swapped"),
    Gate("single-frame, last", frame(1.0), True, "twin_swapped"),
    Gate("frame-shuffled", unordered, True, "twin_reversed"),
)
#: The same looks with eyes open: it must solve what the gates must not, or the gates prove nothing.
SIGHTED = Gate("sighted", everything, True, "twin_reversed")


# Questions ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A sentence with one target, as a gate meets it.

    Attributes:
        sample: the sentence.
        video_id, cluster: its video, and the quartet or video that intervals cluster by.
        candidates: ids of the things that are there.
        target: the id of the one that is meant.
        fits: per candidate, whether its looks fit the words about looks.
        words: the parsed sentence as words.
    """

    sample: GeneratedSample
    video_id: str
    cluster: str
    candidates: tuple[int, ...]
    target: int
    fits: tuple[bool, ...]
    words: frozenset[str]
    seen: Seen = field(repr=False, compare=False)


def cases(videos: Iterable[GeneratedVideo]) -> list[Case]:
    """All sentences about the order of events that mean one thing."""
    out = []
    for video in videos:
        seen = Seen.of(video)
        for sample in video.samples:
            if len(sample.object_ids) == 1 and _about_order(sample):
                out.append(_case(video, sample, seen))
    return out


def _about_order(sample: GeneratedSample) -> bool:
    return any(step.kind == "temporal" for step in steps(sample.program))


def _case(video: GeneratedVideo, sample: GeneratedSample, seen: Seen) -> Case:
    ids = tuple(row + 1 for row in seen.rows)
    scope = execute(_looks_of(sample.program), seen.facts)
    return Case(
        sample,
        video.id,
        video.id.rstrip("arst"),
        ids,
        sample.object_ids[0],
        tuple(i in scope for i in ids),
        frozenset(_words(sample.program)),
        seen,
    )


def _looks_of(program: Program) -> Program:
    """The steps about looks at the head of the chain."""
    out: Program = Everything()
    for step in chain(program):
        if isinstance(step, With):
            out = With(step.attribute, step.value, out)
    return out


def _words(program: Program) -> Iterator[str]:
    """Every step that is not about looks, with its arguments."""
    for step in steps(program):
        if not isinstance(step, (With, Everything)):
            names = getattr(type(step), "__dataclass_fields__", {})
            values = [v for v in (getattr(step, n) for n in names) if isinstance(v, str)]
            yield f"{type(step).__name__}:{':'.join(values)}"


# Fitting --------------------------------------------------------------------------------------------------------------


class Fitted:
    """A gate after fitting: scores every candidate of a case."""

    def __init__(self, gate: Gate, train: Sequence[Case]) -> None:
        self.gate = gate
        self.words = sorted({w for case in train for w in case.words}) if gate.reads else []
        raw = [self._raw(case) for case in train]
        stacked = np.concatenate(raw)
        self.mean, self.scale = stacked.mean(axis=0), stacked.std(axis=0) + 1e-6
        designs = [self._design(case, r) for case, r in zip(train, raw, strict=True)]
        self.weights = _fit(designs, [case.candidates.index(case.target) for case in train])

    def scores(self, case: Case) -> Vector:
        """float64 (candidates,); rounded, so that what looks the same scores the same."""
        return np.round(self._design(case, self._raw(case)) @ self.weights, 7)

    def _raw(self, case: Case) -> Vector:
        return self.gate.look(case.seen)

    def _design(self, case: Case, raw: Vector) -> Vector:
        """The features, and once more for every word that the sentence has."""
        base = np.clip((raw - self.mean) / self.scale, -4, 4)
        if not self.gate.reads:
            return base
        base = np.concatenate([base, np.array(case.fits, float)[:, None]], axis=1)
        blocks = [base] + [base if word in case.words else np.zeros_like(base) for word in self.words]
        return np.concatenate(blocks, axis=1)


def _fit(designs: Sequence[Vector], targets: Sequence[int]) -> Vector:
    """Weights of a conditional logistic regression (McFadden 1974) by Adam on the whole data, with a ridge."""
    counts = [len(d) for d in designs]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    X = np.concatenate(designs).astype(np.float32)
    owner = np.repeat(np.arange(len(counts)), counts)
    y = np.zeros(len(X), np.float32)
    y[starts + np.array(targets)] = 1
    w, m, v = (np.zeros(X.shape[1], np.float32) for _ in range(3))
    for k in range(1, _ROUNDS + 1):
        z = X @ w
        z = np.exp(z - np.maximum.reduceat(z, starts)[owner])
        p = z / np.add.reduceat(z, starts)[owner]
        gradient = X.T @ (p - y) / len(counts) + _RIDGE * w
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w = w - _RATE * (m / (1 - 0.9**k)) / (np.sqrt(v / (1 - 0.999**k)) + 1e-8)
    return w.astype(np.float64)


# Measuring ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """How a gate did.

    Attributes:
        preference: share of cases whose target scores above its foil, 0-1; ties count half. The foil is the answer of
            the twin; without twins every other thing that the sentence's words about looks fit.
        accuracy: share of cases whose target scores highest.
        guess: what choosing at random among the things gives.
        pairs: share of pairs of twins with both answers right; None without twins.
    """

    gate: str
    preference: Interval
    accuracy: Interval
    guess: float
    pairs: float | None

    @property
    def holds(self) -> bool:
        """Whether the preference is not above chance: one half, within the interval."""
        value, half = self.preference.value, self.preference.half_width
        return value is not None and half is not None and value - half <= CHANCE + 1e-9


def read(fitted: Fitted, test: Sequence[Case], twins: bool = True) -> Reading:
    """How a fitted gate does on ``test``, with the twins' answers as foils or, without twins, with things at random."""
    chosen = [c for c in test if fitted.gate.twin in c.sample.tags] if twins else list(test)
    by_pair: dict[str, list[Case]] = {}
    for case in chosen if twins else ():
        by_pair.setdefault(str(case.sample.tags[fitted.gate.twin]), []).append(case)
    preferences, hits, clusters, right = [], [], [], {}
    for case in chosen:
        foils = _twin_answer(case, by_pair, fitted.gate) if twins else _others(case)
        if not foils:
            continue
        scores = dict(zip(case.candidates, fitted.scores(case), strict=True))
        own = scores.pop(case.target)
        preferences.append(float(np.mean([(own > scores[f]) + 0.5 * (own == scores[f]) for f in foils])))
        best = max(scores.values(), default=-np.inf)
        ties = sum(s == own for s in scores.values())
        hits.append(0.0 if own < best else 1 / (1 + ties))
        clusters.append(case.cluster)
        right[id(case)] = own > best
    pairs = [all(right.get(id(c), False) for c in pair) for pair in by_pair.values() if len(pair) == 2]
    guess = float(np.mean([1 / len(c.candidates) for c in chosen]))
    return Reading(
        fitted.gate.name,
        clustered_interval(preferences, clusters),
        clustered_interval(hits, clusters),
        guess,
        float(np.mean(pairs)) if pairs else None,
    )


def _twin_answer(case: Case, by_pair: dict[str, list[Case]], gate: Gate) -> list[int]:
    """What the twin's sentence means, as a thing of this video."""
    pair = by_pair[str(case.sample.tags[gate.twin])]
    return [c.target for c in pair if c is not case and c.target in case.candidates]


def _others(case: Case) -> list[int]:
    """Every other thing that the words about looks fit."""
    return [i for i, fits in zip(case.candidates, case.fits, strict=True) if fits and i != case.target]


def measure(
    train: Sequence[Case], test: Sequence[Case], gates: Sequence[Gate] = GATES, twins: bool = True
) -> list[Reading]:
    """Fit every gate on ``train`` and read it on ``test``."""
    return [read(Fitted(gate, train), test, twins) for gate in gates]


def uncontrolled(split: str, n_videos: int, first: int = 0) -> list[Case]:
    """Sentences about the order of events as the plain generator asks them, one video each and no twins."""
    return cases(generate(split, n_videos, first=first, height=96, width=128))


# The page -------------------------------------------------------------------------------------------------------------


def report(n_train: int, n_test: int) -> str:
    """The tables of the documentation as Markdown."""
    train = cases(make_videos("train", n_train))
    test = cases(make_videos("test", n_test))
    families = {
        family: [c for c in test if c.sample.tags["family"] == family] for family in ("appearance-unique", "look-alike")
    }
    fitted = [Fitted(gate, train) for gate in (*GATES, SIGHTED)]
    tables = [_table(f"All sentences about order ({len(test)})", [read(f, test) for f in fitted])]
    for family, chosen in families.items():
        tables.append(_table(f"{family} ({len(chosen)})", [read(f, chosen) for f in fitted]))
    plain = uncontrolled("train", n_train), uncontrolled("test", n_test)
    bare = _table(f"Without twins ({len(plain[1])})", measure(*plain, (*GATES, SIGHTED), twins=False))
    return _PAGE.format(
        version=VERSION,
        n_train=n_train,
        n_cases=len(train),
        n_test=n_test,
        tables="\n\n".join(t.to_markdown() for t in tables),
        bare=bare.to_markdown(),
    )


def _table(title: str, readings: Sequence[Reading]) -> Table:
    rows = tuple(
        (
            r.gate,
            shown(r.preference),
            "not blind" if r.gate == SIGHTED.name else "holds" if r.holds else "**fails**",
            shown(r.accuracy),
            f"{100 * r.guess:.2f}",
            "–" if r.pairs is None else f"{100 * r.pairs:.2f}",
        )
        for r in readings
    )
    return Table(title, ("gate", "prefers the target", "at 50?", "accuracy", "at random", "both twins right"), rows)


_PAGE = """# What shortcuts reach on ReasonShapes

`{version}`. This page is written by `python -m rvos.baselines.gates --write docs/reasonshapes-gates.md`.

Every predictor below is blind to something and fitted on {n_cases} sentences about the order of events in the first
{n_train} videos of `train`; it is read on the first {n_test} videos of `test`. It sees scene graphs and parsed
sentences, which is more than a network gets. *Prefers the target* is how often it scores the target above the answer
of the twin that it cannot tell apart: 50 is chance. *Accuracy* is how often the target scores highest of all things in
the video; a blind predictor may leave out things that do not act, so its limit is one half, not the random choice.
*Both twins right* must be 0 for twins that look the same to it. Intervals are 95 %, clustered by quartet. The last row
sees everything: it shows that the sentences can be solved from what the others are denied.

{tables}

## The same without twins

The plain generator asks about single videos and controls nothing. Here the foils are the other things that the words
about looks fit, and chance is again 50. Every predictor beats it, so these sentences would reward shortcuts.

{bare}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Fit the gates and print or write the table of their scores.")
    parser.add_argument("--write", type=Path, help="Markdown file to write; printed without it")
    parser.add_argument("--train", type=int, default=600, help="videos of train to fit on")
    parser.add_argument(
        "--test", type=int, default=480, help="videos of test to read on, of which the first are the frozen ones"
    )
    arguments = parser.parse_args()
    page = report(arguments.train, arguments.test)
    if arguments.write is None:
        print(page)
    else:
        arguments.write.write_text(page, encoding="utf-8")
        print(arguments.write)


if __name__ == "__main__":
    main()
