"""The benchmark ReasonShapes: its splits, each a stream of quartets of twin videos and of single videos.

Twelve videos repeat: a quartet whose actors all look different (see ``twins``), two single videos, a quartet whose
actors look alike, two single videos. Sentences about the order of events are asked in quartets alone; all other kinds
everywhere. A video depends on its split, seed and number, never on how many are made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UnknownNameError, UsageError
from .choreography import make_scene
from .facts import Facts, Measurements, beginnings
from .generate import GeneratedSample, GeneratedVideo, make_sample
from .language import Form, say
from .prng import Stream
from .programs import (
    MOMENTS,
    UNSEEN_USES,
    Everything,
    Program,
    Usable,
    With,
    depth,
    execute,
    ordered,
    steps,
    to_json,
)
from .questions import KINDS, Question, ask, kind_of, well_seen
from .render import NEW_PATTERNS, PATTERNS
from .scene import Scene
from .twins import FAMILIES, HELD_OUT, REVERSED, SHORTEST, VIEWS, Quartet, make_quartet

VERSION = "reasonshapes@1"
HEIGHT, WIDTH, N_FRAMES = 96, 128, 16
"""The nominal size. The same scenes render at any height, e.g. 480."""
FROZEN_SEED = 0
"""The seed of the frozen data. From ``FIRST_YEAR`` on a seed is the year of a fresh test set, drawn when it begins."""
FIRST_YEAR = 2027
PERIOD = 12
_QUARTET_AT = {0: 0, 6: 1}
_OTHER_KINDS = tuple(kind for kind in KINDS if kind not in ("temporal", "no-target"))
_SEEDS_PER_SPLIT, _VIDEOS_PER_SEED = 1 << 40, 1 << 24
_FIRST_SPLIT = 16  # seeds below belong to ``generate``


@dataclass(frozen=True)
class Rule:
    """What a split holds.

    Attributes:
        n_videos: in the frozen split.
        n_frames: per video.
        depth: least and greatest depth of its programs.
        things: least and greatest number of things that single videos are made of.
        bystanders: least and greatest number of things that do not act, in quartets.
        patterns: its textures.
        unseen_knowledge: whether sentences may ask for uses that train does not know.
        held_out_combinations: whether all actors, rather than none, have colours that train never shows acting so.
        held_out_phrasings: whether all wordings, rather than none, are unknown to train.
    """

    n_videos: int
    n_frames: int = N_FRAMES
    depth: tuple[int, int] = (1, 3)
    things: tuple[int, int] = (4, 6)
    bystanders: tuple[int, int] = (0, 2)
    patterns: tuple[str, ...] = PATTERNS
    unseen_knowledge: bool = True
    held_out_combinations: bool = False
    held_out_phrasings: bool = False


SPLITS: Mapping[str, Rule] = {
    "train": Rule(1200, unseen_knowledge=False),
    "valid": Rule(60, unseen_knowledge=False),
    "test": Rule(120),
    "test-combinations": Rule(60, held_out_combinations=True),
    "test-depth": Rule(60, depth=(4, 12)),
    "test-phrasings": Rule(60, held_out_phrasings=True),
    "test-distractors": Rule(60, things=(8, 10), bystanders=(4, 6)),
    "test-long": Rule(60, n_frames=48),
    "test-textures": Rule(60, patterns=NEW_PATTERNS),
}


def make_videos(
    split: str,
    n_videos: int | None = None,
    *,
    first: int = 0,
    seed: int = FROZEN_SEED,
    height: int = HEIGHT,
    width: int = WIDTH,
    n_frames: int | None = None,
    render_height: int | None = None,
) -> Iterator[GeneratedVideo]:
    """Videos number ``first`` and following of a split, one at a time.

    Args:
        split: a key of ``SPLITS``.
        n_videos: how many; by default those of the frozen split.
        first: number of the first.
        seed: 0 for the frozen data; a year from 2027 on for that year's fresh set.
        height, width: nominal size, which fixes the aspect ratio and with it the scenes.
        n_frames: per video; by default the split's.
        render_height: in pixels; by default ``height``.

    Raises:
        UnknownNameError: an unknown split.
        UsageError: a number out of range.
    """
    if split not in SPLITS:
        raise UnknownNameError("split of reasonshapes", split, SPLITS)
    rule = SPLITS[split]
    count = rule.n_videos if n_videos is None else n_videos
    if not 0 <= seed < 1 << 16 or first < 0 or count < 0 or first + count > _VIDEOS_PER_SEED:
        raise UsageError(f"ReasonShapes has seeds 0 to 65535 with {_VIDEOS_PER_SEED} videos each; found seed {seed}.")
    rule = replace(rule, n_frames=n_frames or rule.n_frames)
    if rule.n_frames < SHORTEST:
        raise UsageError(f"ReasonShapes needs at least {SHORTEST} frames a video, found {rule.n_frames}.")
    maker = _Maker(split, rule, seed, height, width, render_height or height)
    number = first
    while number < first + count:
        for video in maker.group(number):
            yield video
            number += 1
            if number == first + count:
                return


@dataclass(frozen=True)
class _Maker:
    """Makes the videos of one split."""

    split: str
    rule: Rule
    seed: int
    height: int
    width: int
    render_height: int

    def group(self, number: int) -> Iterator[GeneratedVideo]:
        """The video of this number and those of its quartet that follow it."""
        slot = number % PERIOD
        begin = next((b for b in _QUARTET_AT if b <= slot < b + len(VIEWS)), None)
        if begin is None:
            yield self._single(number)
            return
        views = VIEWS[slot - begin :]
        yield from self._quartet(number - slot + begin, FAMILIES[_QUARTET_AT[begin]], views)

    def _scene_seed(self, number: int) -> int:
        split = _FIRST_SPLIT + list(SPLITS).index(self.split)
        return split * _SEEDS_PER_SPLIT + self.seed * _VIDEOS_PER_SEED + number

    def _id(self, number: int, view: str = "") -> str:
        year = f"{self.seed}-" if self.seed else ""
        return f"{self.split}-{year}{number:06d}{view}"

    def _kept(self, program: Program) -> bool:
        low, high = self.rule.depth
        uses = {step.use for step in steps(program) if isinstance(step, Usable)}
        known = self.rule.unseen_knowledge or not uses & set(UNSEEN_USES)
        return known and low <= depth(program) <= high

    def _kept_without_twins(self, program: Program) -> bool:
        return self._kept(program) and not ordered(program)

    # Single videos ------------------------------------------------------------------------------------------------

    def _single(self, number: int) -> GeneratedVideo:
        seed = self._scene_seed(number)
        stream = Stream(seed)
        for attempt in range(1 << 20):
            scene = self._scene(stream.fork(f"scene {attempt}").draw(), icons=number % PERIOD != 4)
            watched = beginnings(Measurements(scene))
            if not self.rule.held_out_combinations and _acts_in_rare_colour(watched[-1]):
                continue
            samples = self._others(watched, stream.fork(f"questions {attempt}"), 5, 0)
            if samples:
                samples = _paired(self._id(number), samples)
                samples += self._absence(number, watched, stream.fork(f"absence {attempt}"), len(samples))
                return self._video(number, "", scene, samples)
        raise AssertionError(f"No scene of {self.split} number {number} has a sentence.")

    def _scene(self, seed: int, icons: bool) -> Scene:
        low, high = self.rule.things
        return make_scene(
            seed,
            self.height,
            self.width,
            self.rule.n_frames,
            high,
            min_things=low,
            patterns=self.rule.patterns,
            icons=icons,
            shaken=True,
        )

    def _others(self, watched: list[Facts], stream: Stream, n: int, first_id: int) -> list[GeneratedSample]:
        """Sentences of all kinds that need no twins."""
        asked = ask(
            watched[-1],
            stream,
            n,
            _OTHER_KINDS,
            keep=self._kept_without_twins,
            held_out=self.rule.held_out_phrasings,
        )
        return [
            _tagged(make_sample(str(first_id + k), question, form == "long", wording, watched))
            for k, (question, form, wording) in enumerate(asked)
        ]

    def _absence(self, number: int, watched: list[Facts], stream: Stream, first_id: int) -> list[GeneratedSample]:
        """A look that nothing has and one that a thing has, one word apart and in the same words.

        The words alone do not tell which of the two there is.
        """
        pairs = [pair for pair in _looks_apart(watched[-1]) if self._kept(pair[0])]
        if not pairs:
            return []
        absent, present = stream.choice(pairs)
        form: Form = "short" if stream.chance(9, 20) else "long"
        twin = {"twin_minimal": f"{self._id(number)}.absence"}
        samples = []
        for k, program in enumerate(stream.shuffled([absent, present])):
            wording = say(program, form, stream.fork("wording"), held_out=self.rule.held_out_phrasings)
            targets = execute(program, watched[-1])
            question = Question(program, targets, kind_of(program, len(targets)))
            made = make_sample(str(first_id + k), question, form == "long", wording, watched)
            samples.append(_tagged(made, twin))
        return samples

    def _video(self, number: int, view: str, scene: Scene, samples: list[GeneratedSample]) -> GeneratedVideo:
        return GeneratedVideo(self._id(number, view), scene, tuple(samples), self.render_height)

    # Quartets -----------------------------------------------------------------------------------------------------

    def _quartet(self, number: int, family: Any, views: tuple[str, ...]) -> Iterator[GeneratedVideo]:
        seed = self._scene_seed(number)
        quartet = make_quartet(
            seed,
            family,
            height=self.height,
            width=self.width,
            n_frames=self.rule.n_frames,
            n_bystanders=self.rule.bystanders,
            patterns=self.rule.patterns,
            combinations_held_out=self.rule.held_out_combinations,
            keep=self._kept,
        )
        for view in views:
            scene = quartet.scenes[view]
            watched = beginnings(Measurements(scene))
            samples = self._twin_sentences(number, quartet, view, watched)
            samples += self._others(watched, Stream(seed).fork(f"others {view}"), 2, len(samples))
            yield self._video(number, view, scene, samples)

    def _twin_sentences(self, number: int, quartet: Quartet, view: str, watched: list[Facts]) -> list[GeneratedSample]:
        """Every pair of sentences in words, the same words in all four videos."""
        samples = []
        for k, pair in enumerate(quartet.pairs):
            stream = Stream(self._scene_seed(number)).fork(f"words {k}")
            form: Form = "short" if stream.chance(9, 20) else "long"
            for which, program in enumerate(pair):
                wording = say(program, form, stream.fork("wording"), held_out=self.rule.held_out_phrasings)
                targets = execute(program, watched[-1])
                question = Question(program, targets, kind_of(program, len(targets)))
                sample = make_sample(str(2 * k + which), question, form == "long", wording, watched)
                sentence = f"{self._id(number)}.{2 * k + which}"
                twins = {
                    "theme": quartet.theme,
                    "twin_reversed": f"{sentence}.{_pair(view, REVERSED)}",
                    "twin_minimal": f"{self._id(number, view)}.{k}",
                }
                if _pair(view, quartet.swapped):
                    twins["twin_swapped"] = f"{sentence}.{_pair(view, quartet.swapped)}"
                samples.append(_tagged(sample, twins))
        return samples


def _pair(view: str, pairs: tuple[tuple[str, str], ...]) -> str:
    """The pair of views that a view belongs to, e.g. ``ar``; "" where it has no twin of this sort."""
    return next(("".join(pair) for pair in pairs if view in pair), "")


def _tagged(sample: GeneratedSample, more: Mapping[str, str] | None = None) -> GeneratedSample:
    """The sample with the tags of the benchmark: whether order matters, its event, what one has to know."""
    tags = dict(sample.tags)
    tags["about_order"] = ordered(sample.program)
    uses = [step.use for step in steps(sample.program) if isinstance(step, Usable)]
    if uses:
        tags["use"] = uses[0]
        tags["knowledge"] = "unseen" if uses[0] in UNSEEN_USES else "seen"
    return replace(sample, tags={**tags, **(more or {})})


def _looks_apart(facts: Facts) -> list[tuple[Program, Program]]:
    """Pairs of a colour and shape that nothing has and, with one of them exchanged, that one thing has."""
    looks = Counter((facts.scene.thing(i).colour, facts.scene.thing(i).shape) for i in facts.present)
    colours, shapes = (sorted({look[part] for look in looks}) for part in (0, 1))
    absent = [(c, s) for c in colours for s in shapes if (c, s) not in looks]
    single = [look for look, count in sorted(looks.items()) if count == 1]

    def program(look: tuple[str, str]) -> Program:
        return With("colour", look[0], With("shape", look[1], Everything()))

    pairs = [(program(a), program(b)) for a in absent for b in single if (a[0] == b[0]) != (a[1] == b[1])]
    return [(a, b) for a, b in pairs if well_seen(facts, execute(b, facts))]


def _acts_in_rare_colour(facts: Facts) -> bool:
    """Whether a thing acts as things of its colour do in the test of new combinations alone."""
    themes = {"start": "stop", "stop": "stop", "enter": "cross", "exit": "cross", "struck": "strike"}
    for i in facts.present:
        history, colour = facts.history(i), facts.scene.thing(i).colour
        acts = [event for event in MOMENTS if getattr(history, event) is not None]
        if any(colour in HELD_OUT[themes.get(event, event)] for event in acts):
            return True
    return False


def _paired(video_id: str, samples: list[GeneratedSample]) -> list[GeneratedSample]:
    """The samples; two whose programs differ in one word and mean different things are marked as minimal pairs."""
    out = list(samples)
    for i, one in enumerate(out):
        for j in range(i + 1, len(out)):
            other = out[j]
            fresh = "twin_minimal" not in out[i].tags and "twin_minimal" not in other.tags
            if fresh and one.object_ids != other.object_ids and _words_apart(one.program, other.program) == 1:
                pair = {"twin_minimal": f"{video_id}.{i}-{j}"}
                out[i], out[j] = (replace(s, tags={**s.tags, **pair}) for s in (out[i], other))
    return out


def _words_apart(one: Program, other: Program) -> int:
    """In how many arguments two programs of the same steps differ; many where their steps differ."""
    a, b = (list(_leaves(to_json(program))) for program in (one, other))
    if [name for name, _ in a] != [name for name, _ in b]:
        return max(len(a), len(b)) + 1
    return sum(x != y for (_, x), (_, y) in zip(a, b, strict=True))


def _leaves(program: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in program.items():
        if isinstance(value, str):
            yield (f"{path}.{name}={value}" if name == "step" else f"{path}.{name}", value)
        else:
            yield from _leaves(value, f"{path}.{name}")


__all__ = ["FIRST_YEAR", "FROZEN_SEED", "SPLITS", "VERSION", "Rule", "make_videos"]
